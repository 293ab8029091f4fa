"""`pcam lab mnist`: digits learnt from few images, several times; and what each regulariser
contributes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcam_kit.commands.console import duration, print_table, quiet_import, say, spread, warn, work
from pcam_kit.config.load import load_few_digits
from pcam_kit.config.schema import FewDigits
from pcam_kit.lab.ablation import Variant, alone, harmful, without_any
from pcam_kit.lab.mnist import Digits, load_digits
from pcam_kit.pipeline.augment import Augmenter

if TYPE_CHECKING:
    from pcam_kit.lab.classify import DigitRun

# epoch, accuracy on the run's training images, accuracy on the test images
Curve = list[tuple[int, float, float]]
EXAMPLES = 4  # digits in the picture of the augmentation
POINTS = 50  # about, on a learning curve


@dataclass(frozen=True)
class Request:
    """What to learn, on which digits."""

    config: str
    overrides: tuple[str, ...] = ()
    source: str | None = None  # see `mnist.load_digits`
    ablation: bool = False
    pictures: Path | None = None


@dataclass(frozen=True)
class Learnt:
    """The runs of one config on `digits`; with --ablation those of each variant as well, by what
    they are called.
    """

    config: FewDigits
    digits: str
    runs: Sequence[DigitRun]
    variants: dict[str, Sequence[DigitRun]] = field(default_factory=dict)


def learn(request: Request) -> Learnt:
    """Train and measure every run. Raises ConfigError, DataError or TrainingError."""
    config = load_few_digits(request.config, request.overrides)
    Augmenter(config.augment, seed=config.seed)  # a fault in it is told now
    digits = load_digits(request.source, warn)
    with quiet_import():
        from pcam_kit.lab import classify
    classify.subset(digits, config.images, config.seed)
    say(
        f"{config.name}: {config.runs} x {config.images} training images of {digits.name}, "
        f"{len(digits.test_labels):,} test images"
    )
    variants: list[Variant] = []
    if request.ablation:
        variants = [without_any(config), *alone(config), *harmful(config)]
    points: Curve | None = [] if request.pictures is not None else None
    runs = _runs(Variant("all of them", config), digits, points)
    learnt = Learnt(config, digits.name, runs, {one.name: _runs(one, digits) for one in variants})
    if request.pictures is not None and points is not None:
        for path in _draw(config, digits, points, request.pictures):
            say(f"drawn: {path}")
    return learnt


def describe(learnt: Learnt) -> dict[str, Any]:
    """The JSON object of `pcam lab mnist`."""
    described = {"config": learnt.config.name, "runs": learnt.config.runs, **_summary(learnt.runs)}
    described["per_run"] = [
        {
            "run": i,
            "digits": learnt.digits,
            "seed": run.seed,
            **asdict(run.score),
            "seconds": run.seconds,
        }
        for i, run in enumerate(learnt.runs, 1)
    ]
    if learnt.variants:
        described["ablation"] = [
            {"variant": name, **_summary(runs)} for name, runs in learnt.variants.items()
        ]
    return described


def show(learnt: Learnt) -> None:
    """A row a run, then mean, sd and variance; with --ablation a row a variant."""
    rows = [
        [f"run {i}", f"{run.score.accuracy:.4f}", f"{run.score.loss:.4f}", duration(run.seconds)]
        for i, run in enumerate(learnt.runs, 1)
    ]
    accuracies, losses = (
        [run.score.accuracy for run in learnt.runs],
        [run.score.loss for run in learnt.runs],
    )
    rows.append(
        ["mean", f"{statistics.fmean(accuracies):.4f}", f"{statistics.fmean(losses):.4f}", ""]
    )
    if len(learnt.runs) > 1:
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
        f"{learnt.config.name}: {learnt.config.images} training images of {learnt.digits}, "
        "each run its own"
    )
    print_table(title, ["", "test accuracy", "test loss", "time"], rows)
    if learnt.variants:
        table = [
            _variant_row("all of them", learnt.runs),
            *(_variant_row(name, runs) for name, runs in learnt.variants.items()),
        ]
        print_table(
            f"\nwhat contributes, {learnt.config.runs} runs each",
            ["with", "test accuracy", "test loss"],
            table,
        )


def _variant_row(name: str, runs: Sequence[DigitRun]) -> list[str]:
    return [
        name,
        spread([run.score.accuracy for run in runs]),
        spread([run.score.loss for run in runs]),
    ]


def _summary(runs: Sequence[DigitRun]) -> dict[str, Any]:
    """Mean and sd (n - 1) of accuracy and loss; the sd of a single run is 0."""
    summary: dict[str, Any] = {}
    for key, values in (
        ("accuracy", [run.score.accuracy for run in runs]),
        ("loss", [run.score.loss for run in runs]),
    ):
        summary |= {
            f"{key}_mean": statistics.fmean(values),
            f"{key}_sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        }
    return summary


def _runs(variant: Variant, digits: Digits, curve: Curve | None = None) -> list[DigitRun]:
    """All runs of a variant.

    The learning curve of the first is added to `curve`: it is drawn, and nothing is chosen by it.
    """
    from pcam_kit.lab import classify

    config = variant.config
    runs: list[DigitRun] = []
    epochs = config.training.epochs
    what, total = f"{variant.name}, epochs of {config.runs} runs", config.runs * epochs
    own = classify.subset(digits, config.images, config.seed)
    with work() as progress:

        def watch(epoch: int, model: Any) -> None:
            progress(what, len(runs) * epochs + epoch, total)
            if (
                curve is not None
                and not runs
                and (epoch == 1 or epoch % max(1, epochs // POINTS) == 0)
            ):
                training = classify.measure(
                    model, digits.train_images[own], digits.train_labels[own]
                )
                curve.append(
                    (
                        epoch,
                        training.accuracy,
                        classify.measure(model, digits.test_images, digits.test_labels).accuracy,
                    )
                )

        for number in range(config.runs):
            runs.append(classify.run_once(config, number, digits, watch))
    accuracy, seconds = (
        spread([run.score.accuracy for run in runs]),
        sum(run.seconds for run in runs),
    )
    say(f"{variant.name}: accuracy {accuracy} (n {len(runs)}, {duration(seconds)})")
    return runs


def _draw(config: FewDigits, digits: Digits, curve: Curve, folder: Path) -> list[Path]:
    """What the augmentation does; the learning curves of the first run, with all regularisers
    (`curve`) and without any.
    """
    from pcam_kit.lab import classify, pictures

    rows = classify.subset(digits, config.images, config.seed)[:EXAMPLES]
    originals = digits.train_images[rows]
    augmenter = Augmenter(config.augment, seed=config.seed)
    augmented = [
        augmenter(originals, rows, epoch, len(digits.train_images)) for epoch in range(1, 9)
    ]
    title = f"{digits.name}, augmented as in {config.name}"
    examples = pictures.draw_augmented(originals, augmented, title, folder / "digits-augmented.png")
    bare = without_any(config)
    bare_curve: Curve = []
    _runs(Variant(bare.name, bare.config.model_copy(update={"runs": 1})), digits, bare_curve)
    curves = {"no regulariser": bare_curve, f"all of {config.name}": curve}
    title = f"Over-fitting on {config.images} images of {digits.name}"
    return [examples, pictures.draw_curves(curves, title, folder / "over-fitting.png")]
