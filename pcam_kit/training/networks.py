"""The networks of one training: what is trained, with its loss and optimiser, and what is kept."""

# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from pcam_kit.config.schema import Experiment, Precision, Transfer
from pcam_kit.models import build_model
from pcam_kit.models.pretrained import load_pretrained
from pcam_kit.models.task import Task
from pcam_kit.models.transfer import rate_factors
from pcam_kit.pipeline.batches import Batches
from pcam_kit.training.devices import undistributed
from pcam_kit.training.schedule import Phases, build_optimizer
from pcam_kit.training.state import WeightAverage, weights_of


@keras.saving.register_keras_serializable(package="pcam_kit")  # Keras clones compiled networks
class BatchAccuracy(keras.metrics.Metric):
    """The share of correct classes in the last batch, from its logits.

    Keras' own metrics count over batches and are reset before each; this one holds
    one number that the next batch overwrites, which saves two assignments a step.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.share = self.add_variable(shape=(), initializer="zeros", name="share")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """y_true: targets in 0..1, [n, 1]; y_pred: logits, [n, 1]."""
        self.share.assign(ops.mean(is_correct(y_true, y_pred)))

    def result(self) -> Any:
        """The share, 0..1."""
        return ops.convert_to_tensor(self.share)

    def reset_state(self) -> None:
        """Nothing is kept over batches."""


def is_correct(targets: Any, logits: Any) -> Any:
    """1.0 where the class is that of the target, else 0.0: float32, of the same shape.

    A logit of 0 or more means positive, and so does a target of 0.5 or more: targets may be
    probabilities.
    """
    correct = ops.equal(ops.greater_equal(targets, 0.5), ops.greater_equal(logits, 0.0))
    return ops.cast(correct, "float32")


@dataclass(frozen=True)
class Networks:
    """The network that is trained, the one that is validated and saved, and the weight average.

    eval_model: always float32; the same object as `trained` when that is float32, too.
    """

    trained: keras.Model
    eval_model: keras.Model
    average: WeightAverage | None

    def eval_weights(self) -> list[NDArray[np.float32]] | None:
        """The weights to validate; None when `eval_model` has them already."""
        if self.average is not None:
            return self.average.values
        if self.eval_model is self.trained:
            return None
        return weights_of(self.trained)


def build_networks(
    experiment: Experiment,
    batches: Batches,
    precision: Precision,
    *,
    new: bool,
    separate: bool = False,
) -> Networks:
    """The networks of an experiment.

    new: whether pretrained weights are still to be read. separate: whether what is validated is a
    network of its own, on one device of this process.
    """
    config = experiment.training
    steps = config.epochs * batches.steps
    model = compile_model(experiment, batches.crop, steps, precision=precision)
    if new:
        load_pretrained(model, experiment.model)
    eval_model = model
    if separate:
        with undistributed():
            eval_model = build_model(experiment.model, Task(batches.crop))
    elif precision != "float32":
        eval_model = build_model(experiment.model, Task(batches.crop))
    average = WeightAverage(model, config.ema) if config.ema is not None else None
    return Networks(model, eval_model, average)


def compile_model(
    experiment: Experiment, size: int, steps: int, *, precision: Precision = "float32"
) -> keras.Model:
    """The untrained model with its loss, its optimiser and the accuracy of each batch.

    size: side of the patches in pixels. steps: of the whole training. In float16 the loss is
    scaled, so that small gradients do not become zero.
    """
    config = experiment.training
    model = build_model(experiment.model, Task(size), precision=precision)
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    optimizer = build_optimizer(config, steps, _phases(model, experiment, steps))
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, loss, metrics=[BatchAccuracy()])
    model.optimizer.build(model.trainable_variables)
    return model


def _phases(model: keras.Model, experiment: Experiment, steps: int) -> Phases | None:
    """Transfer learning: first the head alone, then all variables, each at its own rate."""
    config = experiment.model
    if not isinstance(config, Transfer):
        return None
    before, after = rate_factors(model, config)
    switch = config.head_epochs * steps // experiment.training.epochs
    return Phases(switch, tuple(before), tuple(after))
