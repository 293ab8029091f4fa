"""A network of the user's own, for the tests: named as `framework.own_network:build`."""

from __future__ import annotations

import keras


def build(size: int, filters: int = 4) -> keras.Model:
    """Pixels 0-255 [n, size, size, 3] in, one logit out."""
    pixels = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(pixels, keras.layers.Dense(1)(x))
