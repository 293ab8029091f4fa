"""The networks of TNM112, lab 2: the regularised CNN of the report, that of the notebook."""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from pcam_kit.config.schema import LabCnn, ReportCnn
from pcam_kit.models.layers import BatchNormalization
from pcam_kit.models.task import Task, add_input, add_logits


def report_cnn(config: ReportCnn, task: Task) -> keras.Model:
    """Blocks of two 3x3 convolutions, pooling and dropout, then one dense layer.

    Every kernel but the last has L2 regularisation.
    """
    common: dict[str, Any] = {
        "use_bias": not config.batch_norm,
        "kernel_regularizer": keras.regularizers.L2(config.l2) if config.l2 > 0 else None,
    }

    def activate(x: Any) -> Any:
        if config.batch_norm:
            x = BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        return layers.ReLU()(x)

    inputs, x = add_input(task)
    for filters in config.filters:
        for _ in range(2):
            x = activate(layers.Conv2D(filters, 3, padding="same", **common)(x))
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(config.block_dropout)(x)
    x = layers.Flatten()(x)
    x = activate(layers.Dense(config.units, **common)(x))
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(inputs, add_logits(x, task), name=config.name)


def lab_cnn(config: LabCnn, task: Task) -> keras.Model:
    """A 3x3 convolution and 2x2 pooling for each entry of `filters`, then one dense layer.

    The dense layer is left out when `units` is None.
    """
    inputs, x = add_input(task)
    for filters in config.filters:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    if config.units is not None:
        x = layers.Dense(config.units, activation="relu")(x)
    return keras.Model(inputs, add_logits(x, task), name=config.name)
