"""`pcam probe`: a head on features, as a run."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, workspace_of


def probe(
    features: Annotated[
        str | None,
        typer.Argument(
            metavar="[FEATURES]",
            help="A folder, or a unique part of its name. [default: the newest]",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        Literal["logistic", "mlp"],
        typer.Option("--head", help="Logistic regression, or a network with one hidden layer."),
    ] = "logistic",
    name: Annotated[str, typer.Option("--name", help="What the run is called.")] = "probe",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="PATCHES",
            help="The most training patches. [default: all]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Draws patches, folds and weights.")
    ] = 0,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a head on features of pcam embed, in seconds.

    The run is like one of pcam train: evaluate it, predict, report, combine it with others. The
    penalty, or the number of epochs, is chosen by cross-validation among the training patches, by
    slide where slides are known.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    run = api.probe(
        features,
        head=head,
        name=name,
        limit=limit,
        seed=seed,
        workspace=workspace_of(data_dir, runs_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(run.training_dict())
    else:
        print_lines(run.path)
