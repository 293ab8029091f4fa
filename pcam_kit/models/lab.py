"""The networks of the lab (TNM112, lab 2): the report's regularised CNN and the notebook's plain one."""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from pcam_kit.config.schema import LabCnn, ReportCnn


def pixels(size: int) -> tuple[Any, Any]:
    """The input [n, size, size, 3] in 0..255 and the same scaled to -1..1."""
    inputs = keras.Input((size, size, 3), name="pixels")
    return inputs, layers.Rescaling(1 / 127.5, offset=-1, name="normalise")(inputs)


def report_cnn(config: ReportCnn, size: int) -> keras.Model:
    """Blocks of two 3x3 convolutions, pooling and dropout, then one dense layer; L2 on every kernel."""
    l2 = keras.regularizers.L2(config.l2) if config.l2 > 0 else None
    inputs, x = pixels(size)
    for filters in config.filters:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_regularizer=l2)(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(config.block_dropout)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(config.units, activation="relu", kernel_regularizer=l2)(x)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(inputs, layers.Dense(1, name="logit")(x), name=config.name)


def lab_cnn(config: LabCnn, size: int) -> keras.Model:
    """A 3x3 convolution and 2x2 pooling for each entry of `filters`, then one dense layer."""
    inputs, x = pixels(size)
    for filters in config.filters:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(config.units, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(1, name="logit")(x), name=config.name)
