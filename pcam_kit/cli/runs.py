"""`pcam runs`: all runs, best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pcam_kit.cli.console import print_json, print_table, say
from pcam_kit.cli.options import Debug, Json, RunsDir, workspace_of

if TYPE_CHECKING:
    from pcam_kit.run_folders import Run

COLUMNS = [
    "run",
    "competition",
    "state",
    "validation AUC (95%)",
    "accuracy",
    "threshold",
    "best epoch",
    "time",
    "seed",
    "fold",
    "changed",
]
# with columns of their own
SHOWN_APART = ("seed=", "competition=", "data.fold")


def runs(
    sort: Annotated[
        Literal["auc", "accuracy", "newest", "name"],
        typer.Option("--sort", help="What comes first: the best, the newest, or by name."),
    ] = "auc",
    state: Annotated[
        Literal["complete", "stopped", "running"] | None,
        typer.Option("--state", help="Only runs in this state.", show_default=False),
    ] = None,
    competition: Annotated[
        str | None,
        typer.Option(
            "--competition", metavar="SLUG", help="Only runs on its data.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="PART",
            help="Only runs with this in their name, e.g. the config's.",
            show_default=False,
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("--most", metavar="N", min=1, help="The first N only.", show_default=False),
    ] = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """All runs, best validation AUC first.

    With their seed, fold and what --set changed. A stopped one continues with pcam train --resume.
    """
    from pcam_kit import api

    listed = api.runs(
        sort=sort,
        state=state,
        competition=competition,
        name=name,
        workspace=workspace_of(None, runs_dir),
    )[:most]
    if as_json:
        print_json({"runs": [_to_dict(run) for run in listed]})
    elif listed:
        show(listed)
    elif (state, competition, name) == (None, None, None):
        say("no runs yet; train one: pcam train")
    else:
        say("no such runs; all of them: pcam runs")


def show(listed: Sequence[Run]) -> None:
    """The runs as a table; where that is too wide for the terminal, a few lines for each."""
    rows = [_row(run) for run in listed]
    print_table("", COLUMNS, rows)
    if any("stopped" in row for row in rows):
        say("resume a stopped run: pcam train --resume RUN")


def _row(run: Run) -> list[str]:
    from pcam_kit.formatting import duration, interval
    from pcam_kit.run_folders import state_of

    result, fold = run.result, run.experiment.data.fold
    scores = ["-"] * 5
    if result is not None:
        scores = [
            interval(result.valid_auc, result.valid_auc_low, result.valid_auc_high),
            f"{result.valid_accuracy:.4f}",
            f"{result.threshold:.3f}",
            f"{result.best_epoch} of {result.epochs}" if result.epochs else "-",
            duration(result.seconds),
        ]
    return [
        run.name,
        run.meta["competition"]["slug"],
        state_of(run),
        *scores,
        str(run.experiment.seed),
        "-" if fold is None else f"{fold.index} of {fold.of}",
        " ".join(change for change in _changes(run) if not change.startswith(SHOWN_APART)) or "-",
    ]


def _changes(run: Run) -> list[str]:
    """What --set changed, as it was given."""
    changes = run.meta.get("overrides")
    return [str(change) for change in changes] if isinstance(changes, list) else []


def _to_dict(run: Run) -> dict[str, Any]:
    from pcam_kit.run_folders import state_of

    fold = run.experiment.data.fold
    return run.to_dict() | {
        "started": str(run.meta["started"]),
        "state": state_of(run),
        "fold": None if fold is None else {"index": fold.index, "of": fold.of},
        "changed": _changes(run),
    }
