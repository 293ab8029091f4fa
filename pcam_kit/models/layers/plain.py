"""A model with group-equivariant layers as one of plain Keras layers: the same answers, readable
without this package.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pcam_kit.models.layers.group import (
    GroupBatchNormalization,
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
)

_GROUP_LAYERS = (
    LiftingConv2D,
    GroupConv2D,
    GroupBatchNormalization,
    GroupPooling,
    GroupConcatenate,
)


def plain(model: keras.Model) -> keras.Model:
    """The same functional model with plain convolutions, normalisation and pooling; itself when it
    has no group layers.

    The kernels are written out for every element: more weights, the same arithmetic. What was tied
    is no longer, so it is for prediction, not for further training.
    """
    if not any(isinstance(layer, _GROUP_LAYERS) for layer in model.layers):
        return model
    clone = keras.models.clone_model(model, clone_function=_plain_layer)
    for layer in model.layers:
        if weights := _weights(layer):
            clone.get_layer(layer.name).set_weights(weights)
    return clone


def _plain_layer(layer: Any) -> Any:
    found: Any = layer.output
    match layer:
        case LiftingConv2D() | GroupConv2D():
            filters = layer.order * layer.filters
            return layers.Conv2D(
                filters,
                layer.kernel_size,
                padding=layer.padding,
                use_bias=layer.use_bias,
                name=layer.name,
            )
        case GroupBatchNormalization():
            options = {
                "momentum": layer.momentum,
                "epsilon": layer.epsilon,
                "center": layer.center,
                "scale": layer.scale,
            }
            return layers.BatchNormalization(**options, name=layer.name)
        case GroupPooling():
            height, width, channels = found.shape[1:]
            pool = layers.MaxPooling3D if layer.reduce == "max" else layers.AveragePooling3D
            parts = [
                keras.Input((height, width, layer.order * channels)),
                layers.Reshape((height, width, layer.order, channels)),
                pool((1, 1, layer.order)),
                layers.Reshape((height, width, channels)),
            ]
            return keras.Sequential(parts, name=layer.name)
        case GroupConcatenate():
            given: Any = layer.input
            inputs: Any = [keras.Input(x.shape[1:]) for x in given]
            split = [
                layers.Reshape((*x.shape[1:3], layer.order, x.shape[-1] // layer.order))(x)
                for x in inputs
            ]
            return keras.Model(
                inputs,
                layers.Reshape(found.shape[1:])(layers.Concatenate()(split)),
                name=layer.name,
            )
        case _:
            return layer.__class__.from_config(layer.get_config())


def _weights(layer: Any) -> list[Any]:
    match layer:
        case LiftingConv2D() | GroupConv2D():
            bias = (
                [np.asarray(ops.convert_to_numpy(layer.expanded_bias()))] if layer.use_bias else []
            )
            return [np.asarray(ops.convert_to_numpy(layer.expanded_kernel())), *bias]
        case GroupBatchNormalization():
            return [np.tile(weight, layer.order) for weight in layer.get_weights()]
        case _:
            return layer.get_weights()
