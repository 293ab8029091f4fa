"""Group-equivariant layers for Keras 3: turn or flip the image, and the features turn and flip with
it, exactly.

A feature map on a group has the channels of every element side by side: [n, h, w, order *
channels], channel `element * channels + i`, elements as in `symmetry.py`: p4 has the 4 rotations,
p4m the 4 rotations and their mirror images. Laid out so, pooling over space, activations, dropout
and addition are the plain Keras layers; putting maps side by side is `GroupConcatenate`. Moving the
input by element h moves the maps in space by h, and the map of element g goes to element "g, then
h".

Exact equivariance needs square inputs, odd kernels, and downsampling by pooling windows that divide
the size; a stride would pick other pixels after a turn, so the convolutions have none.

Cohen and Welling, "Group equivariant convolutional networks" (2016); Veeling and others, "Rotation
equivariant CNNs for digital pathology" (2018).
"""

# pyright: basic

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from pcam_kit import symmetry

Group = Literal["p4", "p4m"]
ORDERS: dict[str, int] = {"p4": 4, "p4m": 8}
PACKAGE = "pcam_kit"  # under which Keras registers the layers


def order_of(group: str) -> int:
    """The number of elements. Raises ValueError for another name."""
    if group not in ORDERS:
        raise ValueError(f"group must be one of {', '.join(ORDERS)}; found {group!r}")
    return ORDERS[group]


def lifting_index(size: int, order: int) -> NDArray[np.int32]:
    """[order, size * size]: where in a kernel [size * size] each place of its moved copies comes
    from.
    """
    places = np.arange(size * size, dtype=np.int32).reshape(size, size, 1)
    return np.stack([symmetry.apply(places, element).reshape(-1) for element in range(order)])


def group_index(size: int, order: int) -> NDArray[np.int32]:
    """[order, size * size * order]: the same for a kernel [size * size, order] on the group, moved
    in space and in the group.
    """
    moved = lifting_index(size, order)
    relative = [
        [symmetry.compose(k, symmetry.inverse(g)) for k in range(order)] for g in range(order)
    ]
    return (moved[:, :, None] * order + np.array(relative, np.int32)[:, None, :]).reshape(order, -1)


class _Convolution(layers.Layer):
    """What both convolutions share: a kernel that is learnt once and used in every position of the
    group.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        group: Group = "p4m",
        padding: Literal["same", "valid"] = "same",
        use_bias: bool = True,
        kernel_initializer: Any = "he_normal",
        kernel_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if kernel_size % 2 == 0 and padding == "same":
            raise ValueError(
                "an even kernel has no centre to turn about under padding 'same'; found "
                f"kernel_size {kernel_size}"
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.group = group
        self.order = order_of(group)
        self.padding = padding
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.input_spec = layers.InputSpec(ndim=4)

    def _build(self, orders: int, channels: int, index: NDArray[np.int32]) -> None:
        self._index = index.reshape(-1)
        self._orders = orders
        self._channels = channels
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, orders, channels, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def expanded_kernel(self) -> Any:
        """The kernel of the plain convolution that this is: [size, size, channels in, order *
        filters].
        """
        size, orders, channels = self.kernel_size, self._orders, self._channels
        flat = ops.reshape(
            ops.convert_to_tensor(self.kernel), (size * size * orders, channels, self.filters)
        )
        moved = ops.reshape(
            ops.take(flat, self._index, axis=0),
            (self.order, size, size, orders * channels, self.filters),
        )
        return ops.reshape(
            ops.transpose(moved, (1, 2, 3, 0, 4)),
            (size, size, orders * channels, self.order * self.filters),
        )

    def expanded_bias(self) -> Any:
        """The same for the bias: [order * filters]."""
        return ops.tile(ops.convert_to_tensor(self.bias), (self.order,))

    def call(self, inputs: Any) -> Any:
        """[n, h, w, channels in] -> [n, h, w, order * filters]."""
        outputs: Any = ops.conv(
            inputs,
            ops.cast(self.expanded_kernel(), inputs.dtype),
            padding=self.padding,
            data_format="channels_last",
        )
        return outputs + ops.cast(self.expanded_bias(), outputs.dtype) if self.use_bias else outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As `call` does it."""
        n, *sides, _ = input_shape
        lost = 0 if self.padding == "same" else self.kernel_size - 1
        return (
            n,
            *(None if side is None else side - lost for side in sides),
            self.order * self.filters,
        )

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "group": self.group,
            "padding": self.padding,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class LiftingConv2D(_Convolution):
    """From images to maps on the group: [n, h, w, channels] -> [n, h, w, order * filters].

    Every element sees the kernel moved by it.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights."""
        self._build(1, int(input_shape[-1] or 0), lifting_index(self.kernel_size, self.order))


@keras.saving.register_keras_serializable(PACKAGE)
class GroupConv2D(_Convolution):
    """From maps on the group to maps on the group: [n, h, w, order * channels] -> [n, h, w, order *
    filters].
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights."""
        channels = _channels(input_shape, self.order, self.name)
        self._build(self.order, channels, group_index(self.kernel_size, self.order))


@keras.saving.register_keras_serializable(PACKAGE)
class GroupBatchNormalization(layers.BatchNormalization):
    """Batch normalisation whose statistics and scales are shared by all elements: per channel, over
    images, space and the group.
    """

    def __init__(self, *, group: Group = "p4m", **options: Any) -> None:
        super().__init__(**options)
        self.group = group
        self.order = order_of(group)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, one a channel."""
        super().build((*input_shape[:-1], _channels(input_shape, self.order, self.name)))
        self.input_spec = layers.InputSpec(ndim=4)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """[n, h, w, order * channels], the same shape back; masks are not looked at.

        Not the parent's `call` on reshaped maps: on CPU, sums over few channels side by side made
        training steps 1.24 times as long.
        """
        # bfloat16 has too few digits for sums
        values: Any = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean: Any = self.moving_mean
        variance: Any = self.moving_variance
        if training and self.trainable:
            mean = self._over_the_group(ops.mean(values, axis=(0, 1, 2)))
            square = self._over_the_group(ops.mean(ops.square(values), axis=(0, 1, 2)))
            variance = ops.maximum(square - ops.square(mean), 0.0)
            pairs: Any = ((self.moving_mean, mean), (self.moving_variance, variance))
            for moving, now in pairs:
                moving.assign(
                    moving * self.momentum + ops.cast(now, moving.dtype) * (1 - self.momentum)
                )
        scale: Any = ops.rsqrt(variance + self.epsilon)
        scale = scale * self.gamma if self.scale else scale
        shift: Any = self.beta if self.center else 0.0
        return ops.cast(
            values * ops.tile(scale, (self.order,)) + ops.tile(shift - mean * scale, (self.order,)),
            inputs.dtype,
        )

    def _over_the_group(self, means: Any) -> Any:
        return ops.mean(ops.reshape(means, (self.order, -1)), axis=0)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {"group": self.group}


@keras.saving.register_keras_serializable(PACKAGE)
class GroupPooling(layers.Layer):
    """The largest or the mean over the elements: [n, h, w, order * channels] -> [n, h, w,
    channels], which only moves in space.
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
        """Reduce."""
        _, height, width, merged = inputs.shape
        split = ops.reshape(inputs, (-1, height, width, self.order, merged // self.order))
        return ops.max(split, axis=3) if self.reduce == "max" else ops.mean(split, axis=3)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As `call` does it."""
        return (*input_shape[:-1], _channels(input_shape, self.order, self.name))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {"group": self.group, "reduce": self.reduce}


@keras.saving.register_keras_serializable(PACKAGE)
class GroupConcatenate(layers.Layer):
    """Maps on the group side by side within each element: several [n, h, w, order * channels] ->
    [n, h, w, order * all channels].
    """

    def __init__(self, *, group: Group = "p4m", **options: Any) -> None:
        super().__init__(**options)
        self.group = group
        self.order = order_of(group)

    def call(self, inputs: list[Any]) -> Any:
        """Join."""
        height, width = inputs[0].shape[1:3]
        split = [
            ops.reshape(x, (-1, height, width, self.order, x.shape[-1] // self.order))
            for x in inputs
        ]
        return ops.reshape(
            ops.concatenate(split, axis=-1), (-1, height, width, sum(x.shape[-1] for x in inputs))
        )

    def compute_output_shape(
        self, input_shape: list[tuple[int | None, ...]]
    ) -> tuple[int | None, ...]:
        """As `call` does it."""
        return (
            *input_shape[0][:-1],
            self.order * sum(_channels(shape, self.order, self.name) for shape in input_shape),
        )

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {"group": self.group}


def _channels(shape: tuple[int | None, ...], order: int, name: str) -> int:
    merged = int(shape[-1] or 0)
    if merged % order != 0 or merged == 0:
        raise ValueError(
            f"{name}: expected a multiple of {order} channels, {order} elements side by side; "
            f"found {list(shape)}"
        )
    return merged // order
