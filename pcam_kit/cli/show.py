"""`pcam show`: one run on one screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.complete import run_names
from pcam_kit.cli.console import can_show, print_facts, print_json, print_lines
from pcam_kit.cli.options import Debug, Json, RunsDir, SubmissionsDir, workspace_of

if TYPE_CHECKING:
    from pcam_kit.submissions import Entry
    from pcam_kit.workflows.overview import Overview

SPARKS = 40  # characters of a curve
CURVES = {
    "loss": "loss",
    "accuracy": "accuracy",
    "valid_loss": "validation loss",
    "valid_auc": "validation AUC",
}


def show(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run folder, its name or a unique part of it. [default: the newest run]",
            show_default=False,
            autocompletion=run_names,
        ),
    ] = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """One run on one screen.

    Scores, curves, config, data, and where it was sent; complete, stopped or under way. Nothing is
    computed: pcam evaluate does that.
    """
    from pcam_kit import api

    shown = api.show(run, workspace=workspace_of(None, runs_dir, submissions_dir))
    if as_json:
        print_json(shown.to_dict())
    else:
        show_overview(shown)


def show_overview(shown: Overview) -> None:
    """A block of lines each: scores, curves, config, data, provenance, submissions, next."""
    print_lines(f"{shown.run.name}  {shown.state}")
    print_facts(
        shown.scores(),
        _curves(shown),
        shown.config(),
        shown.data() | shown.provenance(),
        {_sent(entry): _scores(entry) for entry in shown.submissions},
    )
    print_lines("")
    for command, purpose in shown.commands:
        print_lines(f"# {purpose}", command)


def _curves(shown: Overview) -> dict[str, str]:
    """A curve a line, from the first epoch to the last."""
    from pcam_kit.formatting import BARS, sparkline

    curves: dict[str, str] = {}
    for key, name in CURVES.items():
        values = [epoch[key] for epoch in shown.epochs if epoch[key] is not None]
        if len(values) > 1:
            curve = f"{sparkline(values, SPARKS)}  " if can_show(BARS, sys.stdout) else ""
            curves[name] = f"{curve}{values[0]:.4f} to {values[-1]:.4f}"
    return curves


def _sent(entry: Entry) -> str:
    return "CSV" if entry.ref is None else f"submission {entry.ref}"


def _scores(entry: Entry) -> str:
    parts = [entry.status, entry.file_name or entry.csv]
    for name, score in (("public", entry.public_score), ("private", entry.private_score)):
        if score is not None:
            parts.append(f"{name} {score:.4f}")
    return ", ".join(parts)
