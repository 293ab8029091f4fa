"""A Keras model and its NumPy form side by side."""

# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.lab import numpy_cnn as cnn
from pcam_kit.lab.convert import CHUNK, NumpyModel, activation_of, chain, weights_of
from pcam_kit.lab.numpy_cnn import Floats


@dataclass(frozen=True)
class Difference:
    """One layer in NumPy against Keras on the same input.

    `loop` is the largest difference of the two NumPy forms, None if not run.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    sum_abs: float
    largest: float
    max_abs_diff: float
    sum_abs_diff: float
    loop: float | None

    def within(self, tolerance: float) -> bool:
        """Whether all differences are at most `tolerance`, or that part of the layer's largest
        output where it is above 1.
        """
        allowed = tolerance * max(1.0, self.largest)
        # False for NaN
        return self.max_abs_diff <= allowed and (self.loop is None or self.loop <= allowed)


def layer_by_layer(
    model: keras.Model, converted: NumpyModel, image: NDArray[Any], *, loop_limit: int = 1_000_000
) -> list[Difference]:
    """Each layer on one image [h, w, c].

    The NumPy layer takes what the Keras layer before it gave, so a difference is that layer's own.

    The plain loops run too, where they make no more than `loop_limit` steps (a second or so).
    """
    batch = image[None].astype(np.float32)
    outputs = layer_outputs(model, batch)
    differences: list[Difference] = []
    for layer, before, expected in zip(
        converted.layers, [batch, *outputs[:-1]], outputs, strict=True
    ):
        # NumPy gets the image several times: for a single row BLAS adds the products of a dense
        # layer in another order than Keras.
        found, expected = layer.forward(np.repeat(before, 16, axis=0))[0], expected[0]
        apart = np.abs(found.astype(np.float64) - expected)
        loop = None
        if layer.loop is not None and layer.loop_steps <= loop_limit:
            loop = float(np.abs(layer.loop(before[0]) - found).max())
        differences.append(
            Difference(
                layer.name,
                layer.kind,
                layer.shape,
                layer.parameters,
                float(np.abs(expected).sum(dtype=np.float64)),
                float(np.abs(expected).max()),
                float(apart.max()),
                float(apart.sum()),
                loop,
            )
        )
    return differences


def layer_outputs(model: keras.Model, images: NDArray[Any]) -> list[NDArray[np.float32]]:
    """What each layer of a chain makes of `images` in Keras."""
    probe = keras.Model(model.inputs, [link.output for link in chain(model)])
    outputs = probe.predict_on_batch(images)
    return [np.asarray(output) for output in (outputs if isinstance(outputs, list) else [outputs])]


def first_kernels(model: keras.Model) -> tuple[str, NDArray[np.float32]] | None:
    """Name and kernels [kh, kw, channels, filters] of the first convolution; None when there is
    none.
    """
    found = next(
        (link.layer for link in chain(model) if isinstance(link.layer, keras.layers.Conv2D)), None
    )
    return None if found is None else (found.name, weights_of(found)[0])


def feature_maps(model: keras.Model, image: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """What each convolution and pooling makes of one image [h, w, c], by the layer's name."""
    outputs = zip(chain(model), layer_outputs(model, image[None].astype(np.float32)), strict=True)
    shown = (keras.layers.Conv2D, keras.layers.MaxPooling2D)
    return {link.layer.name: out[0] for link, out in outputs if isinstance(link.layer, shown)}


def predict_with_keras(model: keras.Model, images: NDArray[Any]) -> NDArray[np.float32]:
    """Outputs of `model` for images [n, h, w, c]."""
    return np.concatenate(
        [
            np.asarray(model.predict_on_batch(images[i : i + CHUNK]))
            for i in range(0, len(images), CHUNK)
        ]
    )


def probabilities(outputs: Floats, model: keras.Model) -> Floats:
    """What the last layer gave, as probabilities [n, classes]: a last layer without softmax or
    sigmoid gave logits.
    """
    if activation_of(chain(model)[-1].layer) in {"softmax", "sigmoid"}:
        return outputs
    return cnn.sigmoid(outputs) if outputs.shape[-1] == 1 else cnn.softmax(outputs)


def scales_pixels(model: keras.Model) -> bool:
    """Whether the model itself turns pixels 0-255 into what it computes with."""
    return any(isinstance(link.layer, keras.layers.Rescaling) for link in chain(model))
