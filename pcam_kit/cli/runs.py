"""`pcam runs`: all runs, best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcam_kit.cli.console import print_json, print_table, say
from pcam_kit.cli.options import Debug, Json, RunsDir, workspace_of

if TYPE_CHECKING:
    from pcam_kit.run_folders import Run

COLUMNS = [
    "run",
    "competition",
    "validation AUC (95%)",
    "accuracy",
    "threshold",
    "best epoch",
    "time",
]


def runs(runs_dir: RunsDir = None, as_json: Json = False, debug: Debug = False) -> None:
    """All runs, best validation AUC first."""
    from pcam_kit import api

    best_first = api.runs(workspace=workspace_of(None, runs_dir))
    if as_json:
        print_json({"runs": [run.to_dict() for run in best_first]})
    else:
        show(best_first)


def show(best_first: Sequence[Run]) -> None:
    """The runs as a table."""
    if best_first:
        print_table("", COLUMNS, [_row(run) for run in best_first])
    else:
        say("no runs yet; train one: pcam train")


def _row(run: Run) -> list[str]:
    from pcam_kit.formatting import duration

    slug = run.meta["competition"]["slug"]
    result = run.result
    if result is None:
        return [run.name, slug, "-", "-", "-", "stopped (--resume)", "-"]
    return [
        run.name,
        slug,
        f"{result.valid_auc:.4f} ({result.valid_auc_low:.4f}-{result.valid_auc_high:.4f})",
        f"{result.valid_accuracy:.4f}",
        f"{result.threshold:.3f}",
        f"{result.best_epoch} of {result.epochs}",
        duration(result.seconds),
    ]
