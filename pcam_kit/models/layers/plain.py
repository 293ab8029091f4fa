"""Rewrite a model with group-equivariant layers in standard Keras layers.

The result gives the same predictions and can be loaded without this package.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pcam_kit.models.layers.group import (
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
)
from pcam_kit.models.layers.normalization import BatchNormalization

_OWN_LAYERS = (
    LiftingConv2D,
    GroupConv2D,
    BatchNormalization,
    GroupPooling,
    GroupConcatenate,
)


def to_plain(model: keras.Model) -> keras.Model:
    """The same functional model in standard layers; the model itself when it has no group layers.

    The kernels are expanded for every element: more weights, the same arithmetic. Shared weights
    become independent ones, so use the result for prediction, not for further training.
    """
    if not any(isinstance(layer, _OWN_LAYERS) for layer in model.layers):
        return model
    clone = keras.models.clone_model(model, clone_function=_plain_layer)
    for layer in model.layers:
        weights = _plain_weights(layer)
        if weights:
            clone.get_layer(layer.name).set_weights(weights)
    return clone


def without_3d_pooling(model: keras.Model) -> keras.Model:
    """The same plain model with pooling in 2D only; the model itself when it has no other.

    pcam-kit 0.1 wrote the group pooling of a saved model in 3D.
    """
    if not any(_pools_in_3d(layer) for layer in model.layers):
        return model
    clone = keras.models.clone_model(model, clone_function=_pooling_in_2d)
    clone.set_weights(model.get_weights())
    return clone


def _pools_in_3d(layer: Any) -> bool:
    kinds = layers.MaxPooling3D | layers.AveragePooling3D
    return isinstance(layer, keras.Sequential) and any(isinstance(x, kinds) for x in layer.layers)


def _pooling_in_2d(layer: Any) -> Any:
    if not _pools_in_3d(layer):
        return layer.__class__.from_config(layer.get_config())
    split, pool, _ = layer.layers
    reduce = "max" if isinstance(pool, layers.MaxPooling3D) else "mean"
    return _pooling(split.target_shape, reduce, layer.name)


def _plain_layer(layer: Any) -> Any:
    """A standard layer or model that does the same, under the same name."""
    match layer:
        case LiftingConv2D() | GroupConv2D():
            return layers.Conv2D(
                layer.order * layer.filters,
                layer.kernel_size,
                padding=layer.padding,
                use_bias=layer.use_bias,
                name=layer.name,
            )
        case BatchNormalization():
            return layers.BatchNormalization(
                momentum=layer.momentum,
                epsilon=layer.epsilon,
                center=layer.center,
                scale=layer.scale,
                name=layer.name,
            )
        case GroupPooling():
            return _plain_pooling(layer)
        case GroupConcatenate():
            return _plain_concatenate(layer)
        case _:
            return layer.__class__.from_config(layer.get_config())


def _plain_pooling(layer: GroupPooling) -> keras.Model:
    output: Any = layer.output
    height, width, channels = output.shape[1:]
    return _pooling((height, width, layer.order, channels), layer.reduce, layer.name)


def _pooling(shape: tuple[int, int, int, int], reduce: str, name: str) -> keras.Model:
    """From [n, height, width, order * channels] to [n, height, width, channels].

    In 2D, with all pixels in one row: LiteRT knows no pooling in 3D.
    """
    height, width, order, channels = shape
    pool = layers.MaxPooling2D if reduce == "max" else layers.AveragePooling2D
    parts = [
        keras.Input((height, width, order * channels)),
        layers.Reshape((height * width, order, channels)),
        pool((1, order)),
        layers.Reshape((height, width, channels)),
    ]
    return keras.Sequential(parts, name=name)


def _plain_concatenate(layer: GroupConcatenate) -> keras.Model:
    tensors: Any = layer.input
    output: Any = layer.output
    inputs: Any = [keras.Input(x.shape[1:]) for x in tensors]
    split = [
        layers.Reshape((*x.shape[1:3], layer.order, x.shape[-1] // layer.order))(x) for x in inputs
    ]
    merged = layers.Reshape(output.shape[1:])(layers.Concatenate()(split))
    return keras.Model(inputs, merged, name=layer.name)


def _plain_weights(layer: Any) -> list[Any]:
    """The weights of the standard layer, in the order of its `set_weights`."""
    match layer:
        case LiftingConv2D() | GroupConv2D():
            weights = [layer.expanded_kernel()]
            if layer.use_bias:
                weights.append(layer.expanded_bias())
            return [np.asarray(ops.convert_to_numpy(weight)) for weight in weights]
        case BatchNormalization():
            return [np.tile(weight, layer.order) for weight in layer.get_weights()]
        case _:
            return layer.get_weights()
