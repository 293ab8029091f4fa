"""Learning rates as functions of the step, and the optimiser that uses them."""

# pyright: basic

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from pcam_kit.config.schema import Training


@keras.saving.register_keras_serializable(package="pcam_kit")
class CosineSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup, then a half cosine down.

    Rises from `start` * peak to `peak` over `warmup` steps, and reaches `end` * peak at `steps`.
    """

    def __init__(
        self, peak: float, steps: int, warmup: int, start: float = 0.0, end: float = 0.0
    ) -> None:
        self.peak, self.steps, self.warmup, self.start, self.end = peak, steps, warmup, start, end

    def __call__(self, step: Any) -> Any:
        """The learning rate of update number `step`, counted from 0."""
        # + 1, because the first update would have no effect at a rate of zero
        step = ops.add(ops.cast(step, "float32"), 1.0)
        rising: Any = self.start + (1 - self.start) * step / max(1, self.warmup)
        done: Any = ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        cosine: Any = ops.cos(math.pi * done)
        falling = self.end + (1 - self.end) * 0.5 * (1 + cosine)
        return ops.multiply(self.peak, ops.where(step <= self.warmup, rising, falling))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "start": self.start,
            "end": self.end,
        }


def build_schedule(config: Training, steps: int) -> float | CosineSchedule:
    """The learning rate over the `steps` updates of the whole training."""
    match config.schedule:
        case "constant":
            return config.learning_rate
        case "cosine":
            return CosineSchedule(config.learning_rate, steps, round(config.warmup * steps))
        # Smith & Topin 2018 in its common form: rise from 1/25 over 30% of the steps, fall to
        # 1/10,000
        case "one_cycle":
            return CosineSchedule(
                config.learning_rate,
                steps,
                round(max(config.warmup, 0.3) * steps),
                start=1 / 25,
                end=1e-4,
            )


@dataclass(frozen=True)
class Phases:
    """Factors of the learning rate, one per trainable variable in the model's order.

    `before` counts until update number `switch`, counted from 0; `after` from that update on.
    """

    switch: int
    before: tuple[float, ...]
    after: tuple[float, ...]


class _Phased:
    """Mixin of a Keras optimiser: each variable has its own factor of rate and weight decay.

    A factor of 0 keeps a variable unchanged to the last bit, but the optimiser still collects its
    moments. Without them the first step afterwards would be several times too large, since Adam's
    bias correction would have ended long before.
    """

    phases: Phases

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable; weight decay comes first, as in Keras."""
        index = self._get_variable_index(variable)
        factor = ops.where(
            self.iterations < self.phases.switch,
            self.phases.before[index],
            self.phases.after[index],
        )
        dtype = variable.dtype
        rate = ops.multiply(ops.cast(learning_rate, dtype), ops.cast(factor, dtype))
        if self.weight_decay is not None and self._use_weight_decay(variable):
            self.assign_sub(variable, variable * ops.cast(self.weight_decay, dtype) * rate)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: `update_step` decays, since Keras would use one rate for all variables."""


# TensorFlow derives scope names from these, which must not begin with an underscore.
class PhasedAdam(_Phased, keras.optimizers.Adam): ...


class PhasedAdamW(_Phased, keras.optimizers.AdamW): ...


class PhasedSGD(_Phased, keras.optimizers.SGD): ...


def build_optimizer(
    config: Training, steps: int, phases: Phases | None = None
) -> keras.optimizers.Optimizer:
    """The optimiser of `config` for a training of `steps` updates.

    Weight decay does not apply to biases and normalisation. With `phases`, build the optimiser with
    the model's trainable variables in their order.
    """
    common: dict[str, Any] = {
        "learning_rate": build_schedule(config, steps),
        "global_clipnorm": config.clip_norm,
    }
    decay = config.weight_decay if config.weight_decay > 0 else None
    optimizer: Any
    match config.optimizer:
        case "adam":
            kind = keras.optimizers.Adam if phases is None else PhasedAdam
            optimizer = kind(**common)
        case "adamw":
            kind = keras.optimizers.AdamW if phases is None else PhasedAdamW
            optimizer = kind(weight_decay=config.weight_decay, **common)
        case "sgd":
            kind = keras.optimizers.SGD if phases is None else PhasedSGD
            optimizer = kind(momentum=0.9, nesterov=True, weight_decay=decay, **common)
    if decay is not None:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if phases is not None:
        optimizer.phases = phases
    return optimizer
