"""The input and output layers that all networks share."""

# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers


@dataclass(frozen=True)
class Task:
    """Shape of the images and number of outputs.

    Images have `size` x `size` pixels and `channels`. Two classes have one output, more classes one
    each.
    """

    size: int
    channels: int = 3
    outputs: int = 1


def add_input(task: Task) -> tuple[Any, Any]:
    """The input [n, size, size, channels] in 0..255, and the same scaled to -1..1."""
    inputs = keras.Input((task.size, task.size, task.channels), name="pixels")
    return inputs, layers.Rescaling(1 / 127.5, offset=-1, name="normalise")(inputs)


def add_logits(x: Any, task: Task) -> Any:
    """The last layer: from features [n, m] to logits [n, outputs]."""
    return layers.Dense(task.outputs, dtype="float32", name="logit")(x)


def add_pooling(x: Any, where: Literal["all", "centre"]) -> Any:
    """Global average pooling from [n, h, w, c] to [n, c], or with "centre" to [n, 2c].

    "centre" adds the means over the middle third. A patch of PatchCamelyon is positive when there
    is tumour in its middle third; the rest is context only.
    """
    everywhere = layers.GlobalAveragePooling2D()(x)
    if where == "all":
        return everywhere
    height, width = x.shape[1:3]
    middle = layers.Cropping2D((height // 3, width // 3))(x)
    return layers.Concatenate()([everywhere, layers.GlobalAveragePooling2D()(middle)])
