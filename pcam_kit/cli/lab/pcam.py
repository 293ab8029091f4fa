"""`pcam lab pcam`: the report's recipe and ours side by side on 32x32 crops."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_json, print_lines, print_table, say
from pcam_kit.cli.lab.options import Pictures
from pcam_kit.cli.options import (
    DataDir,
    Debug,
    Json,
    Overrides,
    RunsDir,
    SubmissionsDir,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.workflows.lab.crops import CropsResult


def pcam(
    competition: Annotated[
        str | None,
        typer.Argument(
            help="Slug of a fetched competition. [default: the one fetched last]",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Fetch it first from this folder or .zip, as pcam fetch --from.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, help="Train each recipe this often, with seeds 0, 1, ..."),
    ] = 1,
    overrides: Overrides = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    pictures: Pictures = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Task 3: the report's recipe and ours side by side on 32x32 crops.

    Trains lab-report and lab, scores them on the validation patches, writes their CSVs. Finished
    runs are used again, a stopped one is resumed.
    """
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.workflows.lab.crops import CropsRequest, compare_recipes

    request = CropsRequest(competition, source, seeds, tuple(overrides or ()), pictures)
    workspace = workspace_of(data_dir, runs_dir, submissions_dir)
    result = compare_recipes(request, workspace, display=ConsoleDisplay())
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: CropsResult) -> None:
    """A row a recipe, and below, apart from them, the scores that others reported."""
    from pcam_kit.formatting import duration, mean_sd
    from pcam_kit.workflows.lab.crops import REPORTED, REPORTED_ON

    splits = result.store.splits
    rows = [
        [
            recipe,
            mean_sd([run.result.valid_auc for run in runs]),
            mean_sd([run.result.valid_accuracy for run in runs]),
            str(len(runs)),
            duration(statistics.fmean(run.result.seconds for run in runs)),
        ]
        for recipe, runs in result.recipes.items()
    ]
    title = (
        f"{result.store.profile.title}: {splits['train'].n:,} training and "
        f"{splits['valid'].n:,} validation patches"
    )
    print_table(
        title, ["recipe", "validation AUC", "validation accuracy", "runs", "time a run"], rows
    )
    reported = [[name, str(score), REPORTED_ON] for name, score in REPORTED]
    print_table(
        "\nNot comparable with these: scores reported by others",
        ["", "accuracy", "what it is"],
        reported,
    )
    for runs in result.recipes.values():
        for run in runs:
            print_lines(run.csv)
    if result.store.synthetic:
        say("Synthetic tissue: these scores say nothing about real patients.")
