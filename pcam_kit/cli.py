"""The commands as Typer sees them: each parses, calls one command, prints.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pcam_kit import __version__, cli_data, cli_kaggle, cli_lab
from pcam_kit.options import (
    DataDir,
    Debug,
    Json,
    Overrides,
    Runs,
    RunsDir,
    Seed,
    ShowConfig,
    SubmissionsDir,
    folders,
    print_config,
    print_json,
)

if TYPE_CHECKING:
    from pcam_kit.commands.folders import Folders

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # 0.11 s instead of 0.25 s for --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="PatchCamelyon from raw files to a scored submission.\n\nNew here? pcam demo needs no "
    "account and no download.",
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """PatchCamelyon from raw files to a scored submission."""
    if version:
        print(f"pcam-kit {__version__}")
        raise typer.Exit


@app.command()
def demo(
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The whole road on made-up tissue, in a minute.

    No account, no download. Writes into demo/ unless told otherwise.
    """
    from pcam_kit.commands import demo as command

    result = command.demo(folders(data_dir, runs_dir, submissions_dir, base=Path("demo")))
    if as_json:
        print_json(command.describe(result))


app.command()(cli_kaggle.fetch)
app.command()(cli_data.shift)
app.command()(cli_data.leaks)


@app.command()
def train(
    config: Annotated[
        str | None,
        typer.Argument(
            help="A .yaml file or a shipped config's name. [default: the one for the competition "
            "fetched last]",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="[RUN]",
            help="Go on with a stopped run; without RUN the newest one.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            min=1,
            help="Train N times, with seeds from the config's on.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            min=2,
            help="Train K times, each validated on a fold the others train on.",
            show_default=False,
        ),
    ] = None,
    show_config: ShowConfig = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Threads that prepare batches.")
    ] = 2,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network. Ctrl-C leaves a run that --resume goes on with.

    With --seeds or --folds several, one after another; the same command uses finished ones again
    and goes on. Folds are of the train and valid patches together.
    """
    places = folders(data_dir, runs_dir)
    changes = (*(overrides or ()), *(() if seed is None else (f"seed={seed}",)))
    if show_config:
        from pcam_kit.commands.config import resolve

        print_config(resolve(config, changes, places), as_json=as_json)
        return
    from pcam_kit.commands import train as command

    if seeds is not None or folds is not None:
        from pcam_kit.commands import series

        made = series.train_series(
            series.Request(command.Request(config, changes, resume, workers), seeds, folds), places
        )
        series.show(made)
        if as_json:
            print_json(series.describe(made))
        else:
            print(*(run.path for run in made.runs), sep="\n")
        return
    run = command.train(command.Request(config, changes, resume, workers), places)
    if as_json:
        print_json(command.describe(run))
    else:
        print(run.path)


@app.command()
def evaluate(
    runs: Runs = None,
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option("--split", help="The patches to score.")
    ] = "valid",
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score runs on patches with known labels.

    ROC AUC and accuracy with their intervals, by slide where slides are known; log loss, Brier
    score, calibration error, confusion counts. Of several runs each is compared with the first.
    """
    from pcam_kit.commands import evaluate as command

    places = folders(data_dir, runs_dir)
    scored = command.score(_chosen(runs, places), split, places)
    if as_json:
        objects = [command.describe(one) for one in scored]
        print_json(objects[0] if len(objects) == 1 else {"runs": objects})
    else:
        command.show(scored)


@app.command()
def predict(
    runs: Runs = None,
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option("--split", help="The patches to predict.")
    ] = "test",
    tta: Annotated[
        # schema.Tta, which would import pydantic for --help
        Literal["none", "d4", "shifts", "d4-shifts", "turns", "d4-turns"] | None,
        typer.Option(
            "--tta",
            help="Average over symmetries, shifts or turns. [default: as each run was measured]",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        Literal["probabilities", "logits", "ranks"] | None,
        typer.Option(
            "--mean",
            help="What is averaged over several runs. [default: logits]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Literal["equal", "fitted"] | None,
        typer.Option(
            "--weights",
            help="What each of several runs counts for. [default: equal]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="CSV",
            help="The file to write. [default: in the submissions folder]",
            show_default=False,
        ),
    ] = None,
    assume_positive: Annotated[
        float | None,
        typer.Option(
            "--assume-positive",
            metavar="SHARE",
            help="Cut so that this share is positive, e.g. 0.5.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write and check the CSV of a run, or of several combined.

    It has the competition's own format. Fitted weights have the lowest log loss on the validation
    patches, held near equal ones where these are few.

    --assume-positive is for test patches whose share of positives is known, e.g. balanced by
    construction, when their stain moved all probabilities. It uses no labels, but all the patches
    at once.
    """
    from pcam_kit.commands import predict as command

    places = folders(data_dir, runs_dir, submissions_dir)
    predicted = command.predict(
        _chosen(runs, places),
        command.Request(split, tta, mean, weights, out, assume_positive),
        places,
    )
    if as_json:
        print_json(command.describe(predicted))
    else:
        print(predicted.csv.path)


app.command()(cli_kaggle.submit)


@app.command(name="runs")
def runs_command(runs_dir: RunsDir = None, as_json: Json = False, debug: Debug = False) -> None:
    """All runs, best validation AUC first."""
    from pcam_kit.commands import listing
    from pcam_kit.commands.console import warn
    from pcam_kit.runs import list_runs

    found = list_runs(folders(None, runs_dir).runs, warn)
    if as_json:
        print_json({"runs": [listing.describe_run(run) for run in listing.best_runs_first(found)]})
    else:
        listing.show_runs(found)


app.command()(cli_kaggle.submissions)
app.command()(cli_kaggle.doctor)
app.add_typer(cli_lab.app, name="lab")


def _chosen(names: list[str] | None, folders: Folders) -> list[Any]:
    from pcam_kit.commands.console import say
    from pcam_kit.runs import find_run

    if names:
        return [find_run(folders.runs, name) for name in names]
    run = find_run(folders.runs, None)
    say(f"using {run.name}, the newest finished run")
    return [run]
