"""Train a classifier of small images and measure it on a test part: the lab's loop, without the
road around it.
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

BATCH = 500  # images predicted at a time


@dataclass(frozen=True)
class Recipe:
    """A network and how its weights are found, with the seed of everything random."""

    model: Model
    training: Training
    augment: Augment
    seed: int


@dataclass(frozen=True)
class Score:
    """What a network reaches on a test part. `loss` is the mean cross-entropy in nats."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class DigitRun:
    """One run of an experiment with few digits."""

    seed: int
    score: Score
    seconds: float  # of training


# told the number of finished epochs, from 1; the model has the weights to be measured
Watch = Callable[[int, keras.Model], None]


def run_once(
    config: FewDigits, number: int, digits: Digits, watch: Watch = lambda epoch, model: None
) -> DigitRun:
    """Run `number`, from 0, of `config`: draw its images, train, measure on the whole test part."""
    seed = config.seed + number
    rows = subset(digits, config.images, seed)
    began = time.monotonic()
    recipe = Recipe(config.model, config.training, config.augment, seed)
    model = train(recipe, digits.train_images[rows], digits.train_labels[rows], watch)
    seconds = time.monotonic() - began
    return DigitRun(seed, measure(model, digits.test_images, digits.test_labels), round(seconds, 3))


def subset(digits: Digits, n: int, seed: int) -> NDArray[np.int64]:
    """Rows of `n` random training images. Raises ConfigError when there are not that many."""
    if n > len(digits.train_images):
        raise ConfigError(
            f"images: {n:,} are asked for, {digits.name} has {len(digits.train_images):,} "
            "training images"
        )
    return np.random.default_rng(seed).choice(len(digits.train_images), n, replace=False)


def train(
    recipe: Recipe,
    images: NDArray[np.uint8],
    labels: NDArray[np.int8],
    watch: Watch = lambda epoch, model: None,
) -> keras.Model:
    """The trained network (logits) of the last epoch: averaged weights if the recipe averages.

    Raises TrainingError when the loss is not finite.
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
            value = float(
                np.asarray(model.train_on_batch(pixels, one_hot[classes[:, 0].astype(np.int64)]))
            )
            step += 1
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} in epoch {epoch}",
                    hint="try a lower --set training.learning_rate=...",
                )
            if average is not None:
                average.update(step)
        with using_weights(model, average.values if average is not None else None):
            watch(epoch, model)
    if average is not None:
        model.set_weights(average.values)
    return model


def measure(model: keras.Model, images: NDArray[np.uint8], labels: NDArray[np.int8]) -> Score:
    """Accuracy and cross-entropy of a network that gives logits."""
    logits = [
        np.asarray(model.predict_on_batch(images[i : i + BATCH]), np.float64)
        for i in range(0, len(images), BATCH)
    ]
    probabilities = numpy_cnn.softmax(np.concatenate(logits))
    return Score(
        numpy_cnn.accuracy(probabilities, labels), numpy_cnn.cross_entropy(probabilities, labels)
    )
