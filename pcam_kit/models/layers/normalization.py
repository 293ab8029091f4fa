"""Batch normalisation that is quick on TensorFlow (`fused`), and Keras' own elsewhere."""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from pcam_kit.models.layers import fused


@keras.saving.register_keras_serializable("pcam_kit")
class BatchNormalization(layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis.

    order: so many elements of a group, side by side in the channels, share statistics, scale and
    shift.
    """

    order = 1

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise [n, h, w, order * channels]; the shape stays. `mask` has no effect on maps."""
        if not fused.is_available(inputs):
            return self._call_unfused(inputs, training, mask)
        mean: Any = ops.convert_to_tensor(self.moving_mean)
        variance: Any = ops.convert_to_tensor(self.moving_variance)
        scale = ops.convert_to_tensor(self.gamma) if self.scale else ops.ones_like(mean)
        shift = ops.convert_to_tensor(self.beta) if self.center else ops.zeros_like(mean)
        if training and self.trainable:
            outputs, mean, variance = fused.normalise_batch(
                inputs, scale, shift, epsilon=self.epsilon, order=self.order
            )
            self._move_average(self.moving_mean, mean)
            self._move_average(self.moving_variance, variance)
            return outputs
        tiled = [ops.tile(values, (self.order,)) for values in (scale, shift, mean, variance)]
        return fused.normalise(inputs, *tiled, epsilon=self.epsilon)

    def _call_unfused(self, inputs: Any, training: bool | None, mask: Any) -> Any:
        return super().call(inputs, training=training, mask=mask)

    def _move_average(self, moving: Any, current: Any) -> None:
        """Move an average towards the statistics of this batch."""
        current = ops.cast(current, moving.dtype)
        moving.assign(moving * self.momentum + current * (1 - self.momentum))
