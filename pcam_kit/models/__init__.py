"""Models: one file a family, one table from name to builder. `keras` and `keras.ops` only, so any backend works.

Every builder takes its own config and the side of a patch in pixels, and returns a functional model from
uint8-range pixels [n, size, size, 3] to one logit [n, 1]; normalisation is inside.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from pcam_kit.config.schema import Model
from pcam_kit.models import lab, resnet

BUILDERS: dict[str, Callable[[Any, int], keras.Model]] = {
    "report_cnn": lab.report_cnn,
    "lab_cnn": lab.lab_cnn,
    "resnet": resnet.resnet,
}


def build_model(config: Model, size: int) -> keras.Model:
    """The untrained model of `config` for `size` x `size` patches; its output is a logit."""
    return BUILDERS[config.name](config, size)


def with_probability(model: keras.Model) -> keras.Model:
    """The same weights with the sigmoid on top: what is saved, so that a saved model answers with probabilities."""
    return keras.Model(model.inputs, keras.layers.Activation("sigmoid", dtype="float32", name="probability")(model.output), name=model.name)
