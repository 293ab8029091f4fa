"""`pcam submit`: check a CSV, send it, wait for its score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import ask, print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, SubmissionsDir, workspace_of

if TYPE_CHECKING:
    from pcam_kit.workflows.submit import SubmissionResult


def submit(
    csv: Annotated[
        Path | None,
        typer.Argument(
            help="The CSV to send, also as .zip or .gz. [default: the one written last]",
            show_default=False,
        ),
    ] = None,
    message: Annotated[
        str,
        typer.Option(
            "-m",
            "--message",
            help="What Kaggle shows beside it. [default: runs and commit]",
            show_default=False,
        ),
    ] = "",
    competition: Annotated[
        str | None,
        typer.Option(
            "--competition",
            help="Where it goes. [default: the competition it was written for]",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the score.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds to wait for the score.")
    ] = 900.0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, send nothing; needs no account."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Send bytes that were sent, or may have been, before.")
    ] = False,
    allow_leak: Annotated[
        bool,
        typer.Option("--allow-leak", help="Send it although its run was trained on test patches."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")] = False,
    data_dir: DataDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a CSV, send it, wait for its score.

    Each step is recorded in the ledger; the same bytes are not sent twice without --again. Rows and
    columns may be in any order, and scores of any size where only their order counts.

    Stopped at any moment, the same command resumes: it asks Kaggle what had arrived.
    """
    from pcam_kit import api

    result = api.submit(
        csv,
        competition=competition,
        message=message,
        wait=wait,
        dry_run=dry_run,
        again=again,
        timeout=timeout,
        allow_leak=allow_leak,
        confirm=None if yes else ask,
        workspace=workspace_of(data_dir, None, submissions_dir),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)
    result.raise_if_refused()


def show(result: SubmissionResult) -> None:
    """The score on stdout, if there is one."""
    if result.status != "complete":
        return
    public = "not shown" if result.public_score is None else f"{result.public_score}"
    private = ""
    if result.private_score is not None:
        private = f", private score {result.private_score}"
    print_lines(f"public score {public}{private}")
