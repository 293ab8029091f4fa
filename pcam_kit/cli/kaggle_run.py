"""`pcam kaggle-run`: train at Kaggle, on its GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.complete import config_names
from pcam_kit.cli.console import print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, Overrides, RunsDir, Seed, workspace_of

if TYPE_CHECKING:
    from pcam_kit.workflows.kaggle_run.run import KaggleRunResult


def kaggle_run(
    config: Annotated[
        str,
        typer.Argument(
            help="A .yaml file or a shipped config's name.", autocompletion=config_names
        ),
    ],
    overrides: Overrides = None,
    seed: Seed = None,
    competition: Annotated[
        str | None,
        typer.Option(
            "--competition",
            help="Whose files are trained on; nothing of them is needed here. [default: the one "
            "fetched last]",
            show_default=False,
        ),
    ] = None,
    accelerator: Annotated[
        str,
        typer.Option(
            "--accelerator", metavar="t4x2|none", help="What to train on: two T4 GPUs, or none."
        ),
    ] = "t4x2",
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            min=1,
            max=100,
            help="Train N times, with seeds from the config's on; one on each GPU.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            min=2,
            max=100,
            help="Train K times, each validated on a fold the others train on.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow it to its end, bring the run home.")
    ] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Run it there once more, though it has ended.")
    ] = False,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train at Kaggle, without a GPU of your own, and bring the run home.

    Sends pcam-kit and the config as a private dataset and a private notebook, with the
    competition's files attached and the internet off. Follows its log, then downloads the run, on
    which evaluate, predict, report and submit work as on any other.

    Stopped at any moment, the same command resumes: what Kaggle has is not sent again.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    result = api.kaggle_run(
        config,
        overrides=overrides or (),
        seed=seed,
        competition=competition,
        accelerator=accelerator,
        seeds=seeds,
        folds=folds,
        wait=wait,
        again=again,
        workspace=workspace_of(data_dir, runs_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: KaggleRunResult) -> None:
    """The run folders on stdout; the notebook's address while there are none."""
    print_lines(*([run.path for run in result.runs] or [result.url]))
