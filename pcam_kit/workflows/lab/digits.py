"""`pcam lab mnist`: digits learnt from few images, several times."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcam_kit.config.load import load_few_digits
from pcam_kit.config.schema import FewDigits
from pcam_kit.formatting import duration, mean_sd
from pcam_kit.lab.ablation import Variant, alone, harmful, without_any
from pcam_kit.lab.mnist import Digits, load_digits
from pcam_kit.pipeline.augment import Augmenter, try_augmentation
from pcam_kit.progress import SILENT, Display
from pcam_kit.training.backend import quiet_import

if TYPE_CHECKING:
    from pcam_kit.lab.classify import DigitRun

log = logging.getLogger(__name__)

# (epoch, accuracy on the run's training images, accuracy on the test images)
Curve = list[tuple[int, float, float]]
EXAMPLES = 4  # digits in the picture of the augmentation
POINTS = 50  # about, on a learning curve


@dataclass(frozen=True)
class DigitsRequest:
    """What to learn, on which digits.

    config: a .yaml file or a shipped config's name. source: see `mnist.load_digits`. ablation: also
    train the variants of the config. pictures: a folder to draw into.
    """

    config: str
    overrides: tuple[str, ...] = ()
    source: str | None = None
    ablation: bool = False
    pictures: Path | None = None


@dataclass(frozen=True)
class DigitsResult:
    """The runs of one config on `digits`; variants: with an ablation, those of each by name."""

    config: FewDigits
    digits: str
    runs: Sequence[DigitRun]
    variants: Mapping[str, Sequence[DigitRun]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam lab mnist`."""
        values = {"config": self.config.name, "runs": self.config.runs, **_summary(self.runs)}
        values["per_run"] = [
            {
                "run": number,
                "digits": self.digits,
                "seed": run.seed,
                **asdict(run.score),
                "seconds": run.seconds,
            }
            for number, run in enumerate(self.runs, 1)
        ]
        if self.variants:
            values["ablation"] = [
                {"variant": name, **_summary(runs)} for name, runs in self.variants.items()
            ]
        return values


def learn_digits(request: DigitsRequest, *, display: Display = SILENT) -> DigitsResult:
    """Train and measure every run. Raises ConfigError, DataError or TrainingError."""
    config = load_few_digits(request.config, request.overrides)
    Augmenter(config.augment, seed=config.seed)  # a fault in it is reported now
    digits = load_digits(request.source)
    with quiet_import():
        from pcam_kit.lab import classify
    rows = classify.subset(digits, config.images, config.seed)  # too few are reported now
    try_augmentation(config.augment, digits.train_images[rows[:4]], seed=config.seed)
    log.info(
        f"{config.name}: {config.runs} x {config.images} training images of {digits.name}, "
        f"{len(digits.test_labels):,} test images"
    )
    variants: list[Variant] = []
    if request.ablation:
        variants = [without_any(config), *alone(config), *harmful(config)]
    curve: Curve | None = [] if request.pictures is not None else None
    runs = _train_runs(Variant("all of them", config), digits, display, curve)
    variant_runs = {variant.name: _train_runs(variant, digits, display) for variant in variants}
    if request.pictures is not None and curve is not None:
        for path in _draw(config, digits, curve, request.pictures, display):
            log.info(f"drawn: {path}")
    return DigitsResult(config, digits.name, runs, variant_runs)


def _summary(runs: Sequence[DigitRun]) -> dict[str, Any]:
    """Mean and sd (n - 1) of accuracy and loss; the sd of a single run is 0."""
    summary: dict[str, Any] = {}
    for key in ("accuracy", "loss"):
        values = [getattr(run.score, key) for run in runs]
        summary[f"{key}_mean"] = statistics.fmean(values)
        summary[f"{key}_sd"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return summary


def _train_runs(
    variant: Variant, digits: Digits, display: Display, curve: Curve | None = None
) -> list[DigitRun]:
    """Train and measure all runs of a variant.

    The learning curve of the first is added to `curve`: it is drawn, and nothing is chosen by it.
    """
    from pcam_kit.lab import classify

    config = variant.config
    epochs = config.training.epochs
    total = config.runs * epochs
    job = f"{variant.name}, epochs of {config.runs} runs"
    rows = classify.subset(digits, config.images, config.seed)  # what the first run trains on
    runs: list[DigitRun] = []
    with display.work() as progress:

        def after_epoch(epoch: int, model: Any) -> None:
            progress(job, len(runs) * epochs + epoch, total)
            is_point = epoch == 1 or epoch % max(1, epochs // POINTS) == 0
            if curve is None or runs or not is_point:
                return
            training = classify.measure(model, digits.train_images[rows], digits.train_labels[rows])
            test = classify.measure(model, digits.test_images, digits.test_labels)
            curve.append((epoch, training.accuracy, test.accuracy))

        for number in range(config.runs):
            runs.append(classify.run_once(config, number, digits, after_epoch))
    accuracy = mean_sd([run.score.accuracy for run in runs])
    seconds = sum(run.seconds for run in runs)
    log.info(f"{variant.name}: accuracy {accuracy} (n {len(runs)}, {duration(seconds)})")
    return runs


def _draw(
    config: FewDigits, digits: Digits, curve: Curve, folder: Path, display: Display
) -> list[Path]:
    """Draw what the augmentation does, and the learning curves of the first run.

    curve: with all regularisers; the one without any is trained here.
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
    bare_once = Variant(bare.name, bare.config.model_copy(update={"runs": 1}))
    bare_curve: Curve = []
    _train_runs(bare_once, digits, display, bare_curve)
    curves = {"no regulariser": bare_curve, f"all of {config.name}": curve}
    title = f"Over-fitting on {config.images} images of {digits.name}"
    return [examples, pictures.draw_curves(curves, title, folder / "over-fitting.png")]
