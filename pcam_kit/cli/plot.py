"""`pcam plot`: plots of runs as files, each with a caption."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines, say
from pcam_kit.cli.options import DataDir, Debug, Json, Runs, RunsDir, workspace_of

# workflows.plot.KINDS, which would import matplotlib for --help; a test compares them
Kind = Literal["curves", "roc", "pr", "calibration", "confusion", "errors", "samples", "slides"]


def plot(
    kind: Annotated[Kind, typer.Argument(help="What to plot.")],
    runs: Runs = None,
    split: Annotated[
        Literal["train", "valid", "test"],
        typer.Option("--split", help="The patches that are scored."),
    ] = "valid",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A name that ends in .png, .svg or .pdf. [default: KIND-RUN.png here]",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plot runs for a lab report or a paper.

    As PNG, SVG or PDF, with the caption beside it as .txt.

    curves: loss, accuracy, AUC and learning rate by epoch. roc, pr: ROC and precision-recall
    curves with the threshold; like curves they take several runs. calibration: predicted against
    observed, before and after the temperature. confusion: counts and shares. errors: the most
    confident wrong patches. samples: training patches before and after augmentation. slides: the
    accuracy of each slide.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.workflows.plot import check_format

    workspace = workspace_of(data_dir, runs_dir)
    if out is not None:
        check_format(out)  # before minutes of prediction
    chosen = [api.load_run(run, workspace=workspace) for run in runs or [None]]
    drawn = api.plot(kind, chosen, split, workspace=workspace, display=ConsoleDisplay())
    if out is None:
        names = chosen[0].name if len(chosen) == 1 else f"{len(chosen)}-runs"
        out = Path(f"{kind}-{names}.png")
    drawn.save(out)
    if as_json:
        print_json({"plot": kind, "file": str(out), "caption": drawn.caption})
        return
    print_lines(out)
    say(drawn.caption)
