"""Keras layers as NumPy layers.

A model must be one chain of the layers in `CONVERTERS`. Anything else is refused by name.
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

CHUNK = 250  # images at a time, at most
# Multiplications of a layer at a time, at most: the windows of a 3x3 convolution take nine times
# the memory of its input.
MAX_PRODUCTS = 200_000_000
ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax")

Forward = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Link:
    """A Keras layer at one place of a chain, with its symbolic input and output there.

    The same layer may be at several places.
    """

    layer: Any
    input: Any
    output: Any


@dataclass(frozen=True)
class Computation:
    """What a layer computes.

    forward: takes a batch [n, ...]. loop: takes one image and is the plain loop; None where there
    is none. loop_steps: multiplications or comparisons of a loop over one image.
    """

    forward: Forward
    loop: Forward | None = None
    loop_steps: int = 0


@dataclass(frozen=True)
class Layer:
    """One layer in NumPy; shape: of one output, without the batch; the rest as `Computation`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    forward: Forward
    loop: Forward | None
    loop_steps: int


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
        """Outputs of the last layer for images [n, h, w, c], after all NumPy layers in a row.

        progress: gets the number of images done so far.
        """
        heaviest = max(layer.loop_steps for layer in self.layers)
        chunk = max(1, min(CHUNK, MAX_PRODUCTS // max(1, heaviest)))
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

    Raises UsageError for any other model.
    """
    check_inputs(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(
            f"expected a model with one input and one output, found {len(model.inputs)} and "
            f"{len(model.outputs)}"
        )
    links: list[Link] = []
    tensor = model.outputs[0]
    while True:
        layer, node, _ = tensor._keras_history
        if isinstance(layer, keras.layers.InputLayer):
            return links[::-1]
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
        links.append(Link(layer, inputs[0], tensor))
        tensor = inputs[0]


def check_inputs(model: keras.Model) -> None:
    """Raises UsageError for a model whose shapes are not known."""
    if not getattr(model, "inputs", None):
        raise UsageError(
            f"model {model.name!r} ({type(model).__name__}) has no Input layer, so its shapes are "
            "not known",
            hint="build it again with keras.Input(shape) as its first layer, and save that",
        )


def activation_of(layer: keras.layers.Layer) -> str:
    """The name of a layer's activation in Keras, "linear" if it has none."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if not hasattr(layer, "activation"):
        return "linear"
    return str(keras.activations.serialize(layer.activation))


def weights_of(layer: Any) -> list[Floats]:
    """The weights of a Keras layer, float32, in Keras' order."""
    return [_as_array(weight) for weight in layer.weights]


def _as_array(weight: Any) -> Floats:
    return np.asarray(keras.ops.convert_to_numpy(weight), np.float32)


def _convert(link: Link) -> Layer:
    layer = link.layer
    convert = CONVERTERS.get(type(layer))  # not for subclasses, which may compute something else
    if convert is None:
        names = ", ".join(kind.__name__ for kind in CONVERTERS)
        raise _unsupported(layer, f"supported are {names}")
    computation = convert(link)
    return Layer(
        name=layer.name,
        kind=_kind(layer),
        shape=tuple(link.output.shape[1:]),
        parameters=layer.count_params(),
        forward=computation.forward,
        loop=computation.loop,
        loop_steps=computation.loop_steps,
    )


def _kind(layer: keras.layers.Layer) -> str:
    """`Dense`, or `Dense relu` with an activation."""
    kind = type(layer).__name__
    activation = activation_of(layer)
    if activation == "linear" or isinstance(layer, keras.layers.Softmax):
        return kind
    return f"{kind} {activation}"


def _unsupported(layer: keras.layers.Layer, reason: str) -> UsageError:
    return UsageError(
        f"layer {layer.name!r} ({type(layer).__name__}) has no NumPy form here: {reason}"
    )


def _require(layer: Any, **options: Any) -> None:
    """Raises UsageError when an option of the layer has another value."""
    for option, expected in options.items():
        value = getattr(layer, option)
        if value != expected:
            raise _unsupported(layer, f"{option} must be {expected!r}, found {value!r}")


def _activation(layer: Any) -> cnn.Activation:
    """The layer's activation. Raises UsageError for one that is not supported."""
    name = activation_of(layer)
    if name not in ACTIVATIONS:
        raise _unsupported(
            layer, f"the activation must be linear, relu, sigmoid or softmax, found {name}"
        )
    return name


def _weights_and_bias(layer: Any) -> tuple[Floats, Floats]:
    """Weights [..., outputs] and bias [outputs] of a layer; zeros where it has no bias."""
    weights, *rest = weights_of(layer)
    bias = rest[0] if rest else np.zeros(weights.shape[-1], np.float32)
    return weights, bias


def _conv2d(link: Link) -> Computation:
    layer = link.layer
    _require(layer, data_format="channels_last", groups=1, dilation_rate=(1, 1))
    kernels, bias = _weights_and_bias(layer)
    strides, padding = layer.strides, layer.padding
    activation = _activation(layer)
    positions = int(np.prod(link.output.shape[1:3]))
    return Computation(
        lambda x: cnn.activate(cnn.conv2d(x, kernels, bias, strides, padding), activation),
        lambda x: cnn.activate(cnn.conv2d_loop(x, kernels, bias, strides, padding), activation),
        positions * kernels.size,
    )


def _max_pool(link: Link) -> Computation:
    layer = link.layer
    _require(layer, data_format="channels_last")
    pool, strides, padding = layer.pool_size, layer.strides, layer.padding
    outputs = int(np.prod(link.output.shape[1:]))
    return Computation(
        lambda x: cnn.max_pool(x, pool, strides, padding),
        lambda x: cnn.max_pool_loop(x, pool, strides, padding),
        outputs * pool[0] * pool[1],
    )


def _flatten(link: Link) -> Computation:
    is_image = len(link.input.shape) == 4  # a vector stays as it is
    loop = cnn.flatten_loop if is_image else None
    return Computation(cnn.flatten, loop, int(np.prod(link.output.shape[1:])))


def _dense(link: Link) -> Computation:
    layer = link.layer
    if len(link.input.shape) != 2:
        raise _unsupported(
            layer, f"it takes {list(link.input.shape)}; flatten or pool to [n, inputs] first"
        )
    weights, bias = _weights_and_bias(layer)
    activation = _activation(layer)
    return Computation(
        lambda x: cnn.activate(cnn.dense(x, weights, bias), activation),
        lambda x: cnn.activate(cnn.dense_loop(x, weights, bias), activation),
        weights.size,
    )


def _batch_norm(link: Link) -> Computation:
    layer = link.layer
    if layer.axis not in (-1, len(link.input.shape) - 1):
        raise _unsupported(layer, f"axis must be the last, found {layer.axis}")
    size = link.input.shape[-1]
    weights = {weight.name: _as_array(weight) for weight in layer.weights}
    gamma = weights.get("gamma", np.ones(size, np.float32))
    beta = weights.get("beta", np.zeros(size, np.float32))
    mean, variance = weights["moving_mean"], weights["moving_variance"]
    return Computation(lambda x: cnn.batch_norm(x, mean, variance, gamma, beta, layer.epsilon))


def _global_average_pool(link: Link) -> Computation:
    _require(link.layer, data_format="channels_last", keepdims=False)
    return Computation(cnn.global_average_pool)


def _rescaling(link: Link) -> Computation:
    scale = np.asarray(link.layer.scale, np.float32)
    offset = np.asarray(link.layer.offset, np.float32)
    return Computation(lambda x: x * scale + offset)


def _activation_layer(link: Link) -> Computation:
    name = _activation(link.layer)
    return Computation(lambda x: cnn.activate(x, name))


def _relu(link: Link) -> Computation:
    _require(link.layer, max_value=None, negative_slope=0.0, threshold=0.0)
    return Computation(lambda x: cnn.activate(x, "relu"))


def _softmax(link: Link) -> Computation:
    _require(link.layer, axis=-1)
    return Computation(cnn.softmax)


def _identity(_: Link) -> Computation:
    return Computation(lambda x: x)


CONVERTERS: dict[type, Callable[[Link], Computation]] = {
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
    keras.layers.Dropout: _identity,
}
