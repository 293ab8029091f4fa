"""Train a classifier of digits and measure it on the test part: a loop without run folders.

There is no validation split, and nothing to resume.
"""

# pyright: basic

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Augment, FewDigits, Model, Training
from pcam_kit.errors import ConfigError, TrainingError
from pcam_kit.lab import numpy_cnn
from pcam_kit.lab.mnist import CLASSES, SIZE, Digits
from pcam_kit.models import build_model
from pcam_kit.models.task import Task
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches
from pcam_kit.training.schedule import build_optimizer
from pcam_kit.training.state import WeightAverage, using_weights

PREDICT_BATCH = 500  # images at a time


@dataclass(frozen=True)
class DigitRecipe:
    """A network and how it is trained, with the seed of everything random."""

    model: Model
    training: Training
    augment: Augment
    seed: int


@dataclass(frozen=True)
class DigitScore:
    """What a network reaches on the test part; loss: mean cross-entropy in nats."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class DigitRun:
    """One run of an experiment with few digits; seconds: of its training."""

    seed: int
    score: DigitScore
    seconds: float


# (number of finished epochs, from 1; the model with the weights to be measured)
AfterEpoch = Callable[[int, keras.Model], None]


def _do_nothing(_epoch: int, _model: keras.Model) -> None:
    """An AfterEpoch that does nothing."""


def run_once(
    config: FewDigits, number: int, digits: Digits, after_epoch: AfterEpoch = _do_nothing
) -> DigitRun:
    """Run `number`, from 0, of `config`: draw its images, train, measure on the whole test part.

    Raises ConfigError and TrainingError, as `subset` and `train`.
    """
    seed = config.seed + number
    rows = subset(digits, config.images, seed)
    began = time.monotonic()
    recipe = DigitRecipe(config.model, config.training, config.augment, seed)
    model = train(recipe, digits.train_images[rows], digits.train_labels[rows], after_epoch)
    seconds = time.monotonic() - began
    score = measure(model, digits.test_images, digits.test_labels)
    return DigitRun(seed, score, round(seconds, 3))


def subset(digits: Digits, n: int, seed: int) -> NDArray[np.int64]:
    """Rows of `n` random training images, int64 [n].

    Raises ConfigError when there are not that many.
    """
    if n > len(digits.train_images):
        raise ConfigError(
            f"images: {n:,} are asked for, {digits.name} has {len(digits.train_images):,} "
            "training images"
        )
    return np.random.default_rng(seed).choice(len(digits.train_images), n, replace=False)


def train(
    recipe: DigitRecipe,
    images: NDArray[np.uint8],
    labels: NDArray[np.int8],
    after_epoch: AfterEpoch = _do_nothing,
) -> keras.Model:
    """The trained network of the last epoch, which gives logits.

    images [n, 28, 28, 1], labels [n]. It has the averaged weights if the recipe averages. Raises
    TrainingError when the loss is not finite.
    """
    config = recipe.training
    keras.utils.set_random_seed(recipe.seed)
    model = build_model(recipe.model, Task(SIZE, channels=1, outputs=CLASSES))
    batches = Batches(
        images,
        labels,
        np.arange(len(labels)),
        config.batch_size,
        SIZE,
        Augmenter(recipe.augment, seed=recipe.seed),
        recipe.seed,
    )
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
    model.compile(build_optimizer(config, config.epochs * batches.steps), loss)
    average = WeightAverage(model, config.ema) if config.ema is not None else None
    one_hot = np.eye(CLASSES, dtype=np.float32)
    step = 0
    for epoch in range(1, config.epochs + 1):
        for pixels, classes in batches.epoch(epoch):
            targets = one_hot[classes[:, 0].astype(np.int64)]
            value = float(np.asarray(model.train_on_batch(pixels, targets)))
            step += 1
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} in epoch {epoch}",
                    hint="try a lower --set training.learning_rate=...",
                )
            if average is not None:
                average.update(step)
        with using_weights(model, average.values if average is not None else None):
            after_epoch(epoch, model)
    if average is not None:
        model.set_weights(average.values)
    return model


def measure(model: keras.Model, images: NDArray[np.uint8], labels: NDArray[np.int8]) -> DigitScore:
    """Accuracy and cross-entropy of a network that gives logits.

    images [n, 28, 28, 1], labels [n].
    """
    logits = [
        np.asarray(model.predict_on_batch(images[start : start + PREDICT_BATCH]), np.float64)
        for start in range(0, len(images), PREDICT_BATCH)
    ]
    probabilities = numpy_cnn.softmax(np.concatenate(logits))
    accuracy = numpy_cnn.accuracy(probabilities, labels)
    return DigitScore(accuracy, numpy_cnn.cross_entropy(probabilities, labels))
