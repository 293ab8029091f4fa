"""Learning rates as functions of the step, and the optimiser that uses them."""

# pyright: basic

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from pcam_kit.config.schema import Training


@keras.saving.register_keras_serializable(package="pcam_kit")
class CosineSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise from `start` x peak over `warmup` steps, then a half cosine down to `end` x peak at `steps`."""

    def __init__(self, peak: float, steps: int, warmup: int, start: float = 0.0, end: float = 0.0) -> None:
        self.peak, self.steps, self.warmup, self.start, self.end = peak, steps, warmup, start, end

    def __call__(self, step: Any) -> Any:
        """The learning rate of update number `step`, counted from 0."""
        step = ops.add(ops.cast(step, "float32"), 1.0)  # the first update is not wasted on a rate of zero
        rising: Any = self.start + (1 - self.start) * step / max(1, self.warmup)
        done: Any = ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        cosine: Any = ops.cos(math.pi * done)
        falling = self.end + (1 - self.end) * 0.5 * (1 + cosine)
        return ops.multiply(self.peak, ops.where(step <= self.warmup, rising, falling))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "start": self.start, "end": self.end}


def learning_rate(config: Training, steps: int) -> float | CosineSchedule:
    """The schedule over `steps` updates in all."""
    match config.schedule:
        case "constant":
            return config.learning_rate
        case "cosine":
            return CosineSchedule(config.learning_rate, steps, round(config.warmup * steps))
        case "one_cycle":  # Smith & Topin 2018 in the form that became common: rise from 1/25 over 30%, fall to 1/10,000
            return CosineSchedule(config.learning_rate, steps, round(max(config.warmup, 0.3) * steps), start=1 / 25, end=1e-4)


def build_optimizer(config: Training, steps: int) -> keras.optimizers.Optimizer:
    """The optimiser of `config` for `steps` updates. Weight decay spares biases and normalisation."""
    rate = learning_rate(config, steps)
    common: dict[str, Any] = {"learning_rate": rate, "global_clipnorm": config.clip_norm}
    decay = config.weight_decay if config.weight_decay > 0 else None
    match config.optimizer:
        case "adam":
            optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(**common)
        case "adamw":
            optimizer = keras.optimizers.AdamW(weight_decay=config.weight_decay, **common)
        case "sgd":
            optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=decay, **common)
    if decay is not None:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
