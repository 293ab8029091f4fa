"""The base of the group convolutions: one kernel, used in every orientation.

A convolution on a group is a standard convolution with a larger kernel, which holds the kernel
transformed by each element of the group. The index arrays say where each of its weights comes
from.
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


def order_of(group: str) -> int:
    """The number of elements of a group.

    Raises ValueError for another name.
    """
    if group not in ORDERS:
        raise ValueError(f"group must be one of {', '.join(ORDERS)}; found {group!r}")
    return ORDERS[group]


def channels_of(shape: tuple[int | None, ...], order: int, name: str) -> int:
    """The channels of each element in feature maps [n, h, w, order * channels].

    name: the layer, for the error. Raises ValueError when `order` does not divide the last axis.
    """
    merged = int(shape[-1] or 0)
    if merged % order != 0 or merged == 0:
        raise ValueError(
            f"{name}: expected a multiple of {order} channels, {order} elements side by side; "
            f"found {list(shape)}"
        )
    return merged // order


def lifting_index(size: int, order: int) -> NDArray[np.int32]:
    """Where the transformed copies of a kernel [size * size] take their weights from.

    int32 [order, size * size], one row per element.
    """
    positions = np.arange(size * size, dtype=np.int32).reshape(size, size, 1)
    return np.stack([symmetry.apply(positions, element).reshape(-1) for element in range(order)])


def group_index(size: int, order: int) -> NDArray[np.int32]:
    """The same for a kernel [size * size, order] on the group, which moves in space and group.

    int32 [order, size * size * order].
    """
    in_space = lifting_index(size, order)
    in_group = np.array(
        [[symmetry.compose(k, symmetry.inverse(g)) for k in range(order)] for g in range(order)],
        np.int32,
    )
    return (in_space[:, :, None] * order + in_group[:, None, :]).reshape(order, -1)


class GroupConvolution(layers.Layer):
    """The common part of LiftingConv2D and GroupConv2D."""

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
                "an even kernel has no centre to rotate about under padding 'same'; found "
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
        """Make the weights for inputs of `orders` elements with `channels` each."""
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
        """The kernel of the equivalent standard convolution.

        [size, size, channels in, order * filters].
        """
        size, orders, channels = self.kernel_size, self._orders, self._channels
        flat = ops.reshape(
            ops.convert_to_tensor(self.kernel), (size * size * orders, channels, self.filters)
        )
        transformed = ops.reshape(
            ops.take(flat, self._index, axis=0),
            (self.order, size, size, orders * channels, self.filters),
        )
        return ops.reshape(
            ops.transpose(transformed, (1, 2, 3, 0, 4)),
            (size, size, orders * channels, self.order * self.filters),
        )

    def expanded_bias(self) -> Any:
        """The bias of the equivalent standard convolution: [order * filters]."""
        return ops.tile(ops.convert_to_tensor(self.bias), (self.order,))

    def call(self, inputs: Any) -> Any:
        """[n, h, w, channels in] -> [n, h, w, order * filters]."""
        outputs: Any = ops.conv(
            inputs,
            ops.cast(self.expanded_kernel(), inputs.dtype),
            padding=self.padding,
            data_format="channels_last",
        )
        if not self.use_bias:
            return outputs
        return outputs + ops.cast(self.expanded_bias(), outputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the result of `call`."""
        n, *sides, _ = input_shape
        border = 0 if self.padding == "same" else self.kernel_size - 1
        return (
            n,
            *(None if side is None else side - border for side in sides),
            self.order * self.filters,
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, for `from_config`."""
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "group": self.group,
            "padding": self.padding,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
