"""`pcam lab mnist`: learn digits from few images, several times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_config, print_json, print_table
from pcam_kit.cli.lab.options import Pictures, Source
from pcam_kit.cli.options import Debug, Json, Overrides, Seed, ShowConfig

if TYPE_CHECKING:
    from pcam_kit.lab.classify import DigitRun
    from pcam_kit.workflows.lab.digits import DigitsResult


def mnist(
    config: Annotated[
        str, typer.Argument(help="A .yaml file, or lab-mnist or lab-mnist-report.")
    ] = "lab-mnist",
    source: Source = None,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="Same as --set runs=N.", show_default=False)
    ] = None,
    ablation: Annotated[
        bool,
        typer.Option(
            "--ablation", help="Also with each of its regularisers alone, none, and harmful ones."
        ),
    ] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    show_config: ShowConfig = False,
    pictures: Pictures = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Task 2: learn digits from 128 random images of MNIST, several times.

    Each run draws its own images; the whole test part of MNIST measures it.
    """
    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"seed={seed}")
    if runs is not None:
        changes.append(f"runs={runs}")
    if show_config:
        from pcam_kit.config.load import load_few_digits

        print_config(load_few_digits(config, changes), as_json=as_json)
        return
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.workflows.lab.digits import DigitsRequest, learn_digits

    request = DigitsRequest(config, tuple(changes), source, ablation, pictures)
    result = learn_digits(request, display=ConsoleDisplay())
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: DigitsResult) -> None:
    """A row a run, then mean, sd and variance; with --ablation a row a variant."""
    from pcam_kit.formatting import duration

    rows = [
        [f"run {i}", f"{run.score.accuracy:.4f}", f"{run.score.loss:.4f}", duration(run.seconds)]
        for i, run in enumerate(result.runs, 1)
    ]
    accuracies = [run.score.accuracy for run in result.runs]
    losses = [run.score.loss for run in result.runs]
    rows.append(
        ["mean", f"{statistics.fmean(accuracies):.4f}", f"{statistics.fmean(losses):.4f}", ""]
    )
    if len(result.runs) > 1:
        rows.append(
            ["sd", f"{statistics.stdev(accuracies):.4f}", f"{statistics.stdev(losses):.4f}", ""]
        )
        rows.append(
            [
                "variance",
                f"{statistics.variance(accuracies):.2e}",
                f"{statistics.variance(losses):.2e}",
                "",
            ]
        )
    title = (
        f"{result.config.name}: {result.config.images} training images of {result.digits}, "
        "each run its own"
    )
    print_table(title, ["", "test accuracy", "test loss", "time"], rows)
    if result.variants:
        table = [
            _variant_row("all of them", result.runs),
            *(_variant_row(name, runs) for name, runs in result.variants.items()),
        ]
        print_table(
            f"\nwhat contributes, {result.config.runs} runs each",
            ["with", "test accuracy", "test loss"],
            table,
        )


def _variant_row(name: str, runs: Sequence[DigitRun]) -> list[str]:
    from pcam_kit.formatting import mean_sd

    return [
        name,
        mean_sd([run.score.accuracy for run in runs]),
        mean_sd([run.score.loss for run in runs]),
    ]
