"""What every network begins and ends with: pixels in, logits out."""

# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers


@dataclass(frozen=True)
class Task:
    """Images of `size` x `size` pixels with `channels`; one output for two classes, otherwise one
    output a class.
    """

    size: int
    channels: int = 3
    outputs: int = 1


def pixels(task: Task) -> tuple[Any, Any]:
    """The input [n, size, size, channels] in 0..255 and the same scaled to -1..1."""
    inputs = keras.Input((task.size, task.size, task.channels), name="pixels")
    return inputs, layers.Rescaling(1 / 127.5, offset=-1, name="normalise")(inputs)


def logits(x: Any, task: Task) -> Any:
    """The last layer: a weighted sum of all features [n, m] for each output."""
    return layers.Dense(task.outputs, dtype="float32", name="logit")(x)


def pooled(x: Any, where: Literal["all", "centre"]) -> Any:
    """Maps [n, h, w, c] -> features: the mean over all places [n, c]; with "centre" beside it the
    mean over the middle third [n, 2c].

    A patch of PatchCamelyon is positive when there is tumour in its middle third; what lies around
    it is context only.
    """
    everywhere = layers.GlobalAveragePooling2D()(x)
    if where == "all":
        return everywhere
    height, width = x.shape[1:3]
    middle = layers.Cropping2D((height // 3, width // 3))(x)
    return layers.Concatenate()([everywhere, layers.GlobalAveragePooling2D()(middle)])
