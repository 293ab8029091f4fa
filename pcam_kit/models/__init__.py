"""Networks: one file per family; a config names its family and its function there.

Only `keras` and `keras.ops` are used, so any backend works.

Every builder takes its own config and a `Task`, and returns a functional model from pixels 0-255
[n, size, size, channels] to logits [n, outputs]; normalisation is inside.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import keras

from pcam_kit.config.schema import Ensemble, Model, Precision, WithoutNetwork
from pcam_kit.errors import ConfigError
from pcam_kit.models.layers.plain import to_plain
from pcam_kit.models.task import Task
from pcam_kit.parsing import parsing


def builder_of(config: Model) -> Callable[[Any, Task], keras.Model]:
    """The function that builds the network of `config`: `name` in the module of its family.

    Raises ConfigError for ensembles and predictions, which have no network of their own.
    """
    if isinstance(config, WithoutNetwork):
        raise ConfigError(f"model.name: {config.name} stands for {config.holds}: it has no network")
    if isinstance(config, Ensemble):
        raise ConfigError(
            "model.name: ensemble stands for several networks: pcam train builds each"
        )
    module = import_module(f"{__name__}.{config.family}")
    return getattr(module, config.name)


def build_model(config: Model, task: Task, *, precision: Precision = "float32") -> keras.Model:
    """The untrained model of `config` for `task`; its outputs are logits in float32.

    precision: what layers compute in; weights stay float32. Raises ConfigError when it cannot be
    built, e.g. because it halves the patch too often.
    """
    original = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy_of(precision))
    try:
        with parsing(lambda reason: _cannot_build(config, task, reason)):
            model = builder_of(config)(config, task)
            outputs = keras.tree.flatten([layer.output for layer in model.layers])
            # Keras before 3.15 lets a layer give an image of 0 x 0 pixels
            if any(0 in array.shape for array in (*model.weights, *outputs)):
                raise ValueError("nothing is left of the patch before its last layers")
            return model
    finally:
        keras.config.set_dtype_policy(original)


def _cannot_build(config: Model, task: Task, reason: str) -> ConfigError:
    return ConfigError(
        f"model: {config.name} cannot be built for patches of {task.size} pixels: {reason}",
        hint="fewer stages or channels, or larger patches (data.crop)",
    )


def policy_of(precision: Precision) -> str:
    """Keras' name for computing in `precision` with weights in float32."""
    return "float32" if precision == "float32" else f"mixed_{precision}"


def with_probability(model: keras.Model) -> keras.Model:
    """The same weights in standard Keras layers, with sigmoid or softmax on top.

    Such a model can be saved, loaded and used without this package.
    """
    model = to_plain(model)
    (logits,) = model.outputs
    activation = "sigmoid" if logits.shape[-1] == 1 else "softmax"
    return keras.Model(
        model.inputs,
        keras.layers.Activation(activation, dtype="float32", name="probability")(logits),
        name=model.name,
    )
