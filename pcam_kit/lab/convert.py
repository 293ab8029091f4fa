"""Keras layers as NumPy layers.

A model is taken when it is one chain of the layers in `CONVERTERS`; anything else is named and
refused.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import UsageError
from pcam_kit.lab import numpy_cnn as cnn
from pcam_kit.lab.numpy_cnn import Floats

CHUNK = 250  # images at a time, fewer of a large network:
# multiplications at a time; the windows of a 3x3 convolution take nine times the memory of its
# input
WORK = 200_000_000


@dataclass(frozen=True)
class Link:
    """A Keras layer at one place of a chain, with its symbolic input and output there (a layer may
    stand at several).
    """

    layer: Any
    input: Any
    output: Any


@dataclass(frozen=True)
class Layer:
    """One layer in NumPy: `forward` takes a batch [n, ...], `loop` one image as the plain loop, or
    is None where there is none.
    """

    name: str
    kind: str
    shape: tuple[int, ...]  # of one output
    parameters: int
    forward: Callable[[Floats], Floats]
    loop: Callable[[Floats], Floats] | None
    loop_steps: int  # multiplications or comparisons a loop over one image makes


@dataclass(frozen=True)
class NumpyModel:
    """The layers of a Keras model, in order."""

    layers: Sequence[Layer]

    @property
    def parameters(self) -> int:
        """The number of weights, those that are not trained included."""
        return sum(layer.parameters for layer in self.layers)

    def predict(
        self, images: NDArray[Any], progress: Callable[[int], None] = lambda done: None
    ) -> Floats:
        """Outputs of the last layer for images [n, h, w, c], each layer taking what the NumPy layer
        before it gave.
        """
        heaviest = max(layer.loop_steps for layer in self.layers)
        chunk = max(1, min(CHUNK, WORK // max(1, heaviest)))
        parts: list[Floats] = []
        for start in range(0, len(images), chunk):
            x = images[start : start + chunk].astype(np.float32)
            for layer in self.layers:
                x = layer.forward(x)
            parts.append(x)
            progress(min(start + chunk, len(images)))
        return np.concatenate(parts)


def to_numpy(model: keras.Model) -> NumpyModel:
    """The layers of `model` in NumPy.

    Raises UsageError naming a layer, or an option of one, that is not supported.
    """
    return NumpyModel([_convert(link) for link in chain(model)])


def chain(model: keras.Model) -> list[Link]:
    """The layers of a model that is a chain from one input to one output, without the input.

    Raises UsageError when it is none.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(
            f"expected a model with one input and one output, found {len(model.inputs)} and "
            f"{len(model.outputs)}"
        )
    found: list[Link] = []
    tensor = model.outputs[0]
    while True:
        layer, node, _ = tensor._keras_history
        if isinstance(layer, keras.layers.InputLayer):
            return found[::-1]
        if isinstance(layer, keras.Model):
            raise UsageError(
                f"{layer.name} is a model inside the model; only a plain chain of layers is "
                "supported"
            )
        inputs = layer._inbound_nodes[node].input_tensors
        if len(inputs) != 1:
            raise _unsupported(
                layer, f"it has {len(inputs)} inputs, and only a plain chain of layers is supported"
            )
        found.append(Link(layer, inputs[0], tensor))
        tensor = inputs[0]


def activation_of(layer: keras.layers.Layer) -> str:
    """The name of a layer's activation in Keras, "linear" if it has none."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return (
        str(keras.activations.serialize(layer.activation))
        if hasattr(layer, "activation")
        else "linear"
    )


def _convert(link: Link) -> Layer:
    layer = link.layer
    for kind, convert in CONVERTERS.items():
        if type(layer) is kind:
            forward, loop, steps = convert(link)
            shape = tuple(link.output.shape[1:])
            return Layer(
                layer.name,
                kind.__name__ + _suffix(layer),
                shape,
                layer.count_params(),
                forward,
                loop,
                steps,
            )
    raise _unsupported(layer, f"supported are {', '.join(kind.__name__ for kind in CONVERTERS)}")


def _suffix(layer: keras.layers.Layer) -> str:
    name = activation_of(layer)
    return "" if name == "linear" or isinstance(layer, keras.layers.Softmax) else f" {name}"


def _unsupported(layer: keras.layers.Layer, why: str) -> UsageError:
    return UsageError(
        f"layer {layer.name!r} ({type(layer).__name__}) has no NumPy form here: {why}"
    )


Converted = tuple[Callable[[Floats], Floats], Callable[[Floats], Floats] | None, int]


def weights_of(layer: Any) -> list[Floats]:
    return [np.asarray(keras.ops.convert_to_numpy(weight), np.float32) for weight in layer.weights]


def _require(layer: Any, **expected: Any) -> None:
    for option, value in expected.items():
        found = getattr(layer, option)
        if found != value:
            raise _unsupported(layer, f"{option} must be {value!r}, found {found!r}")


def _activation(layer: Any) -> cnn.Activation:
    name = activation_of(layer)
    if name not in ("linear", "relu", "sigmoid", "softmax"):
        raise _unsupported(
            layer, f"the activation must be linear, relu, sigmoid or softmax, found {name}"
        )
    return name


def _conv2d(link: Link) -> Converted:
    layer = link.layer
    _require(layer, data_format="channels_last", groups=1, dilation_rate=(1, 1))
    kernels, *rest = weights_of(layer)
    bias = rest[0] if rest else np.zeros(kernels.shape[-1], np.float32)
    strides, padding, activation = layer.strides, layer.padding, _activation(layer)
    steps = int(np.prod(link.output.shape[1:3])) * kernels.size
    return (
        lambda x: cnn.activate(cnn.conv2d(x, kernels, bias, strides, padding), activation),
        lambda x: cnn.activate(cnn.conv2d_loop(x, kernels, bias, strides, padding), activation),
        steps,
    )


def _max_pool(link: Link) -> Converted:
    layer = link.layer
    _require(layer, data_format="channels_last")
    pool, strides, padding = layer.pool_size, layer.strides, layer.padding
    steps = int(np.prod(link.output.shape[1:])) * pool[0] * pool[1]
    return (
        lambda x: cnn.max_pool(x, pool, strides, padding),
        lambda x: cnn.max_pool_loop(x, pool, strides, padding),
        steps,
    )


def _flatten(link: Link) -> Converted:
    one = cnn.flatten_loop if len(link.input.shape) == 4 else None  # a vector stays as it is
    return cnn.flatten, one, int(np.prod(link.output.shape[1:]))


def _dense(link: Link) -> Converted:
    layer = link.layer
    if len(link.input.shape) != 2:
        raise _unsupported(
            layer, f"it takes {list(link.input.shape)}; flatten or pool to [n, inputs] first"
        )
    weights, *rest = weights_of(layer)
    bias = rest[0] if rest else np.zeros(weights.shape[1], np.float32)
    activation = _activation(layer)
    return (
        lambda x: cnn.activate(cnn.dense(x, weights, bias), activation),
        lambda x: cnn.activate(cnn.dense_loop(x, weights, bias), activation),
        weights.size,
    )


def _batch_norm(link: Link) -> Converted:
    layer = link.layer
    if layer.axis not in (-1, len(link.input.shape) - 1):
        raise _unsupported(layer, f"axis must be the last, found {layer.axis}")
    size = link.input.shape[-1]
    values = {
        weight.name: np.asarray(keras.ops.convert_to_numpy(weight), np.float32)
        for weight in layer.weights
    }
    gamma, beta = (
        values.get("gamma", np.ones(size, np.float32)),
        values.get("beta", np.zeros(size, np.float32)),
    )
    mean, variance = values["moving_mean"], values["moving_variance"]
    return lambda x: cnn.batch_norm(x, mean, variance, gamma, beta, layer.epsilon), None, 0


def _global_average_pool(link: Link) -> Converted:
    layer = link.layer
    _require(layer, data_format="channels_last", keepdims=False)
    return cnn.global_average_pool, None, 0


def _rescaling(link: Link) -> Converted:
    layer = link.layer
    scale, offset = np.asarray(layer.scale, np.float32), np.asarray(layer.offset, np.float32)
    return lambda x: x * scale + offset, None, 0


def _activation_layer(link: Link) -> Converted:
    layer = link.layer
    name = _activation(layer)
    return lambda x: cnn.activate(x, name), None, 0


def _relu(link: Link) -> Converted:
    layer = link.layer
    _require(layer, max_value=None, negative_slope=0.0, threshold=0.0)
    return lambda x: cnn.activate(x, "relu"), None, 0


def _softmax(link: Link) -> Converted:
    layer = link.layer
    _require(layer, axis=-1)
    return cnn.softmax, None, 0


def _nothing(_: Link) -> Converted:
    return lambda x: x, None, 0


CONVERTERS: dict[type, Callable[[Link], Converted]] = {
    keras.layers.Conv2D: _conv2d,
    keras.layers.MaxPooling2D: _max_pool,
    keras.layers.Flatten: _flatten,
    keras.layers.Dense: _dense,
    keras.layers.BatchNormalization: _batch_norm,
    keras.layers.GlobalAveragePooling2D: _global_average_pool,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Activation: _activation_layer,
    keras.layers.ReLU: _relu,
    keras.layers.Softmax: _softmax,
    keras.layers.Dropout: _nothing,
}
