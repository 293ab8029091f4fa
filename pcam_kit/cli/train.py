"""`pcam train`: train a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.complete import config_names, run_names
from pcam_kit.cli.console import print_config, print_json, print_lines, print_table, say
from pcam_kit.cli.options import (
    Cpus,
    DataDir,
    Debug,
    Jobs,
    Json,
    Overrides,
    Ray,
    RunsDir,
    Seed,
    ShowConfig,
    Workers,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.run_folders import Run
    from pcam_kit.workflows.evaluate import RunEvaluation
    from pcam_kit.workflows.expected_time import ConfigTime
    from pcam_kit.workflows.series import Series


def train(
    config: Annotated[
        str | None,
        typer.Argument(
            help="A .yaml file or a shipped config's name. [default: the one for the competition "
            "fetched last]",
            show_default=False,
            autocompletion=config_names,
        ),
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="[RUN]",
            help="Resume a stopped run; without RUN the newest one.",
            autocompletion=run_names,
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            min=1,
            max=10_000,
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
            max=10_000,
            help="Train K times, each validated on a fold the others train on.",
            show_default=False,
        ),
    ] = None,
    list_configs: Annotated[
        bool,
        typer.Option("--list", help="List the shipped configs, with the time to expect, and stop."),
    ] = False,
    show_config: ShowConfig = False,
    workers: Workers = None,
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            metavar="N",
            min=1,
            help="GPUs that share each batch (Keras on JAX). [default: 1]",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            metavar="N",
            min=1,
            help="Processes, usually one a machine, that share each batch (Keras on JAX).",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        int | None,
        typer.Option(
            "--node",
            metavar="I",
            help="Which of them this is, from 0; 0 writes the run.",
            show_default=False,
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            metavar="HOST:PORT",
            help="Where node 0 is, and a free port there.",
            show_default=False,
        ),
    ] = None,
    jobs: Jobs = None,
    ray: Ray = None,
    cpus: Cpus = 1,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network. Ctrl-C leaves a run that --resume continues.

    The config of an ensemble, such as best96, trains each of its networks in turn; --set and --seed
    are then for each.

    With --seeds or --folds several, one after another; the same command uses finished ones again
    and resumes a stopped one. Folds are of the train and valid patches together. With --jobs or
    --ray they are trained side by side; so are the networks of an ensemble, and teachers.

    With --nodes the same command is typed on each machine, with its own --node; typed again, it
    resumes.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.errors import UsageError

    workspace, display = workspace_of(data_dir, runs_dir), ConsoleDisplay()
    if list_configs:
        show_configs(api.configs(workspace=workspace), as_json=as_json)
    elif show_config:
        experiment = api.load_config(config, overrides or (), seed=seed, workspace=workspace)
        print_config(experiment, as_json=as_json)
    elif nodes is not None:
        if any(value is not None for value in (seeds, folds, jobs, ray, resume)):
            raise UsageError(
                "--nodes trains one run, and resumes it by itself",
                hint="leave out --seeds, --folds, --jobs, --ray and --resume",
            )
        trained = api.train_node(
            config,
            nodes=nodes,
            node=node,
            coordinator=coordinator,
            overrides=overrides or (),
            seed=seed,
            workers=workers,
            devices=devices,
            workspace=workspace,
            display=display,
        )
        if trained is not None:
            show_run(trained, as_json=as_json)
    elif node is not None or coordinator is not None:
        raise UsageError("--node and --coordinator need --nodes", hint="add --nodes N")
    elif seeds is not None or folds is not None:
        series = api.train_series(
            config,
            seeds=seeds,
            folds=folds,
            overrides=overrides or (),
            seed=seed,
            resume=resume,
            workers=workers,
            devices=devices,
            jobs=jobs,
            ray=ray,
            cpus=cpus,
            workspace=workspace,
            display=display,
        )
        show_series(series)
        if as_json:
            print_json(series.to_dict())
        else:
            print_lines(*(run.path for run in series.runs))
    else:
        run = api.train(
            config,
            overrides=overrides or (),
            seed=seed,
            resume=resume,
            workers=workers,
            devices=devices,
            jobs=jobs,
            ray=ray,
            cpus=cpus,
            workspace=workspace,
            display=display,
        )
        if run.members:
            show_members(api.evaluate([*run.members, run], workspace=workspace))
        show_run(run, as_json=as_json)


def show_run(run: Run, *, as_json: bool) -> None:
    """What a training has come to, on stdout."""
    if as_json:
        print_json(run.training_dict())
    else:
        print_lines(run.path)


def show_members(evaluations: list[RunEvaluation]) -> None:
    """A row a member of an ensemble, the last one for their mean, and what to type; on stderr."""
    from pcam_kit.formatting import duration, interval

    rows: list[list[str]] = []
    for x in evaluations:
        accuracy = x.calibrated.accuracy
        rows.append(
            [
                x.run.name,
                str(x.run.experiment.seed),
                interval(x.scores.auc, *x.intervals.auc),
                "-" if accuracy is None else f"{accuracy:.4f}",
                duration(x.result.seconds),
            ]
        )
    last = evaluations[-1]
    columns = ["run", "seed", "validation AUC", "accuracy", "time"]
    print_table(f"{last.scores.n:,} validation patches", columns, rows, stderr=True)
    if last.calibrated.by is not None:
        say(f"The accuracy is at thresholds that were chosen on other {last.calibrated.by}.")
    say(f"the last row is the mean of the others: pcam predict {last.run.experiment.name}")


def show_configs(configs: list[ConfigTime], *, as_json: bool) -> None:
    """A row a config."""
    if as_json:
        print_json({"configs": [config.to_dict() for config in configs]})
        return
    title = f"for {configs[0].patches:,} training patches, teachers and members included"
    rows = [list(config.summary().values()) for config in configs]
    print_table(title, list(configs[0].summary()), rows)


def show_series(series: Series) -> None:
    """A row a run, their mean and sd, and what to type next; on stderr."""
    from pcam_kit.formatting import duration, mean_sd
    from pcam_kit.workflows.train import label

    rows = [
        [
            run.name,
            label(run.experiment),
            f"{result.valid_auc:.4f}",
            f"{result.valid_accuracy:.4f}",
            duration(result.seconds),
        ]
        for run, result in zip(series.runs, series.results, strict=True)
    ]
    aucs = [result.valid_auc for result in series.results]
    accuracies = [result.valid_accuracy for result in series.results]
    rows.append(["mean ± sd", "", mean_sd(aucs), mean_sd(accuracies), ""])
    columns = ["run", "", "validation AUC", "validation accuracy", "time"]
    print_table("", columns, rows, stderr=True)
    if series.out_of_fold is not None:
        scores, (low, high) = series.out_of_fold.scores, series.out_of_fold.intervals.auc
        say(
            f"out of fold, {scores.n:,} patches, each by the run that was not trained on it: AUC "
            f"{scores.auc:.4f} ({low:.4f}-{high:.4f}), accuracy "
            f"{scores.accuracy:.4f} at threshold {scores.threshold:.3f}"
        )
    if len(series.runs) > 1:
        say(f"combine them: {series.predict_command}")
