"""A network that `model.backbone` takes, computing features."""

# pyright: basic

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Transfer
from pcam_kit.errors import ConfigError, UsageError
from pcam_kit.features.network import PRETRAINED, RANDOM, Backbone
from pcam_kit.models import build_model
from pcam_kit.models.pretrained import load_pretrained
from pcam_kit.models.task import Task
from pcam_kit.models.transfer import BACKBONE

WEIGHTS = {PRETRAINED: "imagenet", RANDOM: None}


class KerasNetwork:
    """The network of `backbone` for patches of `side` pixels; `facts` go into the manifest."""

    def __init__(self, backbone: Backbone, side: int) -> None:
        weights = WEIGHTS.get(backbone.weights, backbone.weights)
        config = Transfer(
            name="transfer",
            backbone=cast("Any", backbone.name),
            weights=weights,
            input_size=backbone.size,
        )
        keras.utils.set_random_seed(0)
        try:
            model = build_model(config, Task(side))
            load_pretrained(model, config)
        except ConfigError as error:
            raise _without_config(error) from error
        names = [layer.name for layer in model.layers]
        after = model.layers[names.index(BACKBONE) + 1]
        self._model = keras.Model(model.inputs, after.input)
        size = backbone.size or side
        self.width = int(self._model.output_shape[-1])
        self.facts = {
            "size": size,
            "preprocessing": f"that of {backbone.name}, resized bilinearly",
            "weights_sha256": _digest(model.get_layer(BACKBONE)),
            "versions": {name: metadata.version(name) for name in ("keras", "numpy")},
            "backend": keras.backend.backend(),
        }

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [n, width] of patches uint8 [n, side, side, 3]."""
        return np.asarray(self._model.predict_on_batch(patches), np.float32)


def _without_config(error: ConfigError) -> UsageError:
    """The error in the words of `pcam embed`, which has no config."""
    message, hint = error.message, error.hint
    for key, option in (
        ("--set model.weights=null", f"--weights {RANDOM}"),
        ("--set model.weights=PATH", "--weights PATH"),
        ("model.weights:", "--weights:"),
        ("set model.input_size", "--size 96"),
        ("model.input_size:", "--size:"),
        ("set model.backbone", "give its network: --model NAME"),
    ):
        message, hint = message.replace(key, option), hint.replace(key, option)
    return UsageError(message, hint=hint)


def _digest(backbone: Any) -> str:
    digest = hashlib.sha256()
    for weight in backbone.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
