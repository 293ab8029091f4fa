"""Group-equivariant layers for Keras 3: the features rotate and mirror exactly with the image.

A feature map on a group has the channels of every element side by side: [n, h, w, order *
channels], channel `element * channels + i`, elements as in `symmetry.py`: p4 has the 4 rotations,
p4m the 4 rotations and their mirror images. In this layout pooling over space, activations, dropout
and addition are the standard Keras layers; concatenation is `GroupConcatenate`. Transforming the
input by element h transforms the maps in space by h, and the map of element g becomes that of
element "g, then h".

Exact equivariance needs square inputs, odd kernels, and downsampling by pooling windows that divide
the size. The convolutions have no strides, which would select different pixels after a rotation.

Cohen and Welling, "Group equivariant convolutional networks" (2016); Veeling and others, "Rotation
equivariant CNNs for digital pathology" (2018).
"""

# pyright: basic

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers, ops

from pcam_kit.models.layers.convolution import (
    Group,
    GroupConvolution,
    channels_of,
    group_index,
    lifting_index,
    order_of,
)
from pcam_kit.models.layers.normalization import BatchNormalization

PACKAGE = "pcam_kit"  # the name under which Keras registers the layers


@keras.saving.register_keras_serializable(PACKAGE)
class LiftingConv2D(GroupConvolution):
    """From images to maps on the group: each element sees the kernel transformed by it.

    [n, h, w, channels] -> [n, h, w, order * filters].
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights."""
        self._build(1, int(input_shape[-1] or 0), lifting_index(self.kernel_size, self.order))


@keras.saving.register_keras_serializable(PACKAGE)
class GroupConv2D(GroupConvolution):
    """From maps on the group to maps on the group.

    [n, h, w, order * channels] -> [n, h, w, order * filters].
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights."""
        channels = channels_of(input_shape, self.order, self.name)
        self._build(self.order, channels, group_index(self.kernel_size, self.order))


@keras.saving.register_keras_serializable(PACKAGE)
class GroupBatchNormalization(BatchNormalization):
    """Batch normalisation with statistics and scales shared by all elements.

    They are per channel, over images, space and the group.
    """

    def __init__(self, *, group: Group = "p4m", **options: Any) -> None:
        super().__init__(**options)
        self.group = group
        self.order = order_of(group)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, one per channel."""
        super().build((*input_shape[:-1], channels_of(input_shape, self.order, self.name)))
        self.input_spec = layers.InputSpec(ndim=4)

    def _call_unfused(self, inputs: Any, training: bool | None, mask: Any) -> Any:
        """Not the parent's `call` on reshaped maps: on CPU, sums over few adjacent channels made
        training steps 1.24 times as long.
        """
        # bfloat16 has too few digits for sums
        values: Any = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean: Any = self.moving_mean
        variance: Any = self.moving_variance
        if training and self.trainable:
            mean = self._mean_over_group(ops.mean(values, axis=(0, 1, 2)))
            square = self._mean_over_group(ops.mean(ops.square(values), axis=(0, 1, 2)))
            variance = ops.maximum(square - ops.square(mean), 0.0)
            self._move_average(self.moving_mean, mean)
            self._move_average(self.moving_variance, variance)
        scale: Any = ops.rsqrt(variance + self.epsilon)
        scale = scale * self.gamma if self.scale else scale
        shift: Any = self.beta if self.center else 0.0
        scales, shifts = (
            ops.tile(scale, (self.order,)),
            ops.tile(shift - mean * scale, (self.order,)),
        )
        return ops.cast(values * scales + shifts, inputs.dtype)

    def _mean_over_group(self, means: Any) -> Any:
        return ops.mean(ops.reshape(means, (self.order, -1)), axis=0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, for `from_config`."""
        return super().get_config() | {"group": self.group}


@keras.saving.register_keras_serializable(PACKAGE)
class GroupPooling(layers.Layer):
    """The maximum or the mean over the elements, which leaves maps that move in space only.

    [n, h, w, order * channels] -> [n, h, w, channels].
    """

    def __init__(
        self, *, group: Group = "p4m", reduce: Literal["max", "mean"] = "max", **options: Any
    ) -> None:
        super().__init__(**options)
        if reduce not in {"max", "mean"}:
            raise ValueError(f"reduce must be max or mean; found {reduce!r}")
        self.group = group
        self.order = order_of(group)
        self.reduce = reduce

    def call(self, inputs: Any) -> Any:
        """Reduce over the elements."""
        _, height, width, merged = inputs.shape
        split = ops.reshape(inputs, (-1, height, width, self.order, merged // self.order))
        return ops.max(split, axis=3) if self.reduce == "max" else ops.mean(split, axis=3)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the result of `call`."""
        return (*input_shape[:-1], channels_of(input_shape, self.order, self.name))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, for `from_config`."""
        return super().get_config() | {"group": self.group, "reduce": self.reduce}


@keras.saving.register_keras_serializable(PACKAGE)
class GroupConcatenate(layers.Layer):
    """Concatenation of maps on the group within each element.

    Several [n, h, w, order * channels] -> [n, h, w, order * sum of channels].
    """

    def __init__(self, *, group: Group = "p4m", **options: Any) -> None:
        super().__init__(**options)
        self.group = group
        self.order = order_of(group)

    def call(self, inputs: list[Any]) -> Any:
        """Concatenate the maps."""
        height, width = inputs[0].shape[1:3]
        split = [
            ops.reshape(x, (-1, height, width, self.order, x.shape[-1] // self.order))
            for x in inputs
        ]
        channels = sum(x.shape[-1] for x in inputs)
        return ops.reshape(ops.concatenate(split, axis=-1), (-1, height, width, channels))

    def compute_output_shape(
        self, input_shape: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        """The shape of the result of `call`."""
        channels = sum(channels_of(shape, self.order, self.name) for shape in input_shape)
        return (*input_shape[0][:-1], self.order * channels)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, for `from_config`."""
        return super().get_config() | {"group": self.group}
