"""A Keras model and its NumPy form side by side."""

# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.lab import numpy_cnn as cnn
from pcam_kit.lab.convert import CHUNK, Layer, NumpyModel, activation_of, chain, weights_of
from pcam_kit.lab.numpy_cnn import Floats


@dataclass(frozen=True)
class LayerDifference:
    """One layer in NumPy against Keras on the same input.

    shape: of its output. sum_abs, max_abs: of Keras' output. max_abs_diff, sum_abs_diff: NumPy
    against Keras. max_loop_diff: the plain loop against the vectorised form; None if it did not
    run.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    sum_abs: float
    max_abs: float
    max_abs_diff: float
    sum_abs_diff: float
    max_loop_diff: float | None

    def within(self, tolerance: float) -> bool:
        """Whether no difference is above `tolerance`.

        Where the layer's largest output is above 1, the tolerance is a part of that.
        """
        allowed = tolerance * max(1.0, self.max_abs)
        differences = [self.max_abs_diff]
        if self.max_loop_diff is not None:
            differences.append(self.max_loop_diff)
        return all(difference <= allowed for difference in differences)  # False for NaN


def layer_by_layer(
    model: keras.Model, converted: NumpyModel, image: NDArray[Any], *, loop_limit: int = 1_000_000
) -> list[LayerDifference]:
    """Each layer on one image [h, w, c].

    The NumPy layer gets the output of the Keras layer before it, so a difference is that layer's
    own. The plain loops run too where they take at most `loop_limit` steps, about a second.
    """
    batch = image[None].astype(np.float32)
    outputs = layer_outputs(model, batch)
    inputs = [batch, *outputs[:-1]]
    return [
        _difference(layer, before[0], expected[0], loop_limit)
        for layer, before, expected in zip(converted.layers, inputs, outputs, strict=True)
    ]


def layer_outputs(model: keras.Model, images: NDArray[Any]) -> list[NDArray[np.float32]]:
    """The output [n, ...] of each layer of a chain in Keras, for images [n, h, w, c]."""
    probe = keras.Model(model.inputs, [link.output for link in chain(model)])
    outputs = probe.predict_on_batch(images)
    if not isinstance(outputs, list):  # of a single layer
        outputs = [outputs]
    return [np.asarray(output) for output in outputs]


def first_kernels(model: keras.Model) -> tuple[str, NDArray[np.float32]] | None:
    """Name and kernels [kh, kw, channels, filters] of the first convolution, if there is one."""
    for link in chain(model):
        if isinstance(link.layer, keras.layers.Conv2D):
            return link.layer.name, weights_of(link.layer)[0]
    return None


def feature_maps(model: keras.Model, image: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """The output [h, w, channels] of each convolution and pooling for one image [h, w, c].

    By the layer's name.
    """
    outputs = zip(chain(model), layer_outputs(model, image[None].astype(np.float32)), strict=True)
    shown = (keras.layers.Conv2D, keras.layers.MaxPooling2D)
    return {link.layer.name: out[0] for link, out in outputs if isinstance(link.layer, shown)}


def predict_with_keras(model: keras.Model, images: NDArray[Any]) -> NDArray[np.float32]:
    """Outputs of `model` for images [n, h, w, c]."""
    parts = [
        np.asarray(model.predict_on_batch(images[start : start + CHUNK]))
        for start in range(0, len(images), CHUNK)
    ]
    return np.concatenate(parts)


def probabilities(outputs: Floats, model: keras.Model) -> Floats:
    """Outputs of the last layer [n, classes] as probabilities of the same shape.

    A last layer without softmax or sigmoid gives logits.
    """
    if activation_of(chain(model)[-1].layer) in {"softmax", "sigmoid"}:
        return outputs
    return cnn.sigmoid(outputs) if outputs.shape[-1] == 1 else cnn.softmax(outputs)


def scales_pixels(model: keras.Model) -> bool:
    """Whether the model itself scales pixels 0-255."""
    return any(isinstance(link.layer, keras.layers.Rescaling) for link in chain(model))


def _difference(
    layer: Layer, before: NDArray[Any], expected: NDArray[Any], loop_limit: int
) -> LayerDifference:
    """A NumPy layer on one input `before`, against Keras' output `expected`."""
    # NumPy gets the input several times: for a single row BLAS adds the products of a dense layer
    # in another order than Keras.
    output = layer.forward(np.repeat(before[None], 16, axis=0))[0]
    difference = np.abs(output.astype(np.float64) - expected)
    max_loop_diff = None
    if layer.loop is not None and layer.loop_steps <= loop_limit:
        max_loop_diff = float(np.abs(layer.loop(before) - output).max())
    return LayerDifference(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        parameters=layer.parameters,
        sum_abs=float(np.abs(expected).sum(dtype=np.float64)),
        max_abs=float(np.abs(expected).max()),
        max_abs_diff=float(difference.max()),
        sum_abs_diff=float(difference.sum()),
        max_loop_diff=max_loop_diff,
    )
