"""`pcam import`: predictions from elsewhere as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pcam_kit.cli.console import print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, workspace_of


def import_predictions(
    valid: Annotated[
        Path,
        typer.Option(
            "--valid", metavar="FILE", help="Probabilities of the validation patches: CSV or .npz."
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            metavar="FILE",
            help="Those of the test patches, for pcam predict.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the run is called.")] = "external",
    competition: Annotated[
        str | None,
        typer.Option(
            "--competition", help="[default: the competition fetched last]", show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a run of another program's predictions.

    A CSV has a header and two columns, id and probability; an .npz the arrays ids and
    probabilities. Every patch of the split is there once, in any order.

    The run is like one of pcam train: evaluate it, predict, combine it with others.
    """
    from pcam_kit import api

    run = api.import_predictions(
        valid, test, name=name, competition=competition, workspace=workspace_of(data_dir, runs_dir)
    )
    if as_json:
        print_json(run.training_dict())
    else:
        print_lines(run.path)
