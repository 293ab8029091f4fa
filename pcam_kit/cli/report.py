"""`pcam report`: a run, or several side by side, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, Runs, RunsDir, SubmissionsDir, workspace_of


def report(
    runs: Runs = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="[default: report.html in the run folder; for several runs, in the runs folder]",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Literal["train", "valid", "test"],
        typer.Option("--split", help="The patches to report on; their labels must be known."),
    ] = "valid",
    saliency: Annotated[
        bool,
        typer.Option("--saliency/--no-saliency", help="Maps of what the network looks at."),
    ] = True,
    open_it: Annotated[bool, typer.Option("--open", help="Open the file in a browser.")] = False,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run, or several side by side, as one HTML file.

    Scores with intervals, curves, a threshold to move, calibration, slides, the patches that went
    wrong and what the network looked at, stain, config, provenance and submissions.

    The file needs no network and can be sent to others. It holds patches.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    result = api.report(
        runs if runs else None,
        out,
        split=split,
        saliency=saliency,
        workspace=workspace_of(data_dir, runs_dir, submissions_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        print_lines(result.path)
    if open_it:
        import webbrowser

        webbrowser.open(result.path.resolve().as_uri())
