"""A network of the user's own: made by a function, or read from a `.keras` file."""

# pyright: basic

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from pcam_kit.config.load import import_object
from pcam_kit.config.schema import Custom
from pcam_kit.errors import ConfigError
from pcam_kit.models.saved import find_code, read_model
from pcam_kit.models.task import Task
from pcam_kit.parsing import parsing

WHERE = "model.builder"


def custom(config: Custom, task: Task) -> keras.Model:
    """Call the builder with the pixels a side and its options, or read the file.

    Raises ConfigError when that fails, or when the network does not fit (`check_network`).
    """
    if config.is_saved:
        network = _read(Path(config.builder))
    else:
        build = import_object(config.builder, WHERE)
        network = call_builder(build, config.builder, task.size, config.options)
    check_network(network, config.builder, task)
    return network


def call_builder(build: Any, name: str, size: int, options: dict[str, Any]) -> Any:
    """`build(size, **options)`. Raises ConfigError when that fails."""
    hint = "it is called with the pixels a side and model.options, and returns a keras.Model"
    with parsing(
        lambda reason: ConfigError(f"{WHERE}: {name}({size}, ...) failed: {reason}", hint=hint)
    ):
        return build(size, **options)


def check_network(network: Any, name: str, task: Task) -> None:
    """Raises ConfigError unless it takes pixels [n, size, size, channels] and gives logits."""
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise ConfigError(
            f"{WHERE}: {name}: expected a functional or Sequential keras.Model with an Input, "
            f"found {type(network).__name__}"
        )
    expected = (None, task.size, task.size, task.channels)
    shape = tuple(network.input_shape)
    fits = len(shape) == 4 and all(
        given in (None, wanted) for given, wanted in zip(shape, expected, strict=True)
    )
    if not fits or tuple(network.output_shape) != (None, task.outputs):
        raise ConfigError(
            f"{WHERE}: {name}: expected pixels {list(expected)} in and logits "
            f"{[None, task.outputs]} out, found {list(shape)} in and "
            f"{list(network.output_shape)} out",
            hint="the patches' size is data.crop, or the whole patch; end with Dense(1)",
        )
    activation = getattr(getattr(network.layers[-1], "activation", None), "__name__", "linear")
    if activation in ("sigmoid", "softmax"):
        raise ConfigError(
            f"{WHERE}: {name}: expected logits out, found probabilities: the last layer has "
            f"activation {activation!r}",
            hint="leave the last activation out: pcam adds it to the model that it saves",
        )
    if fault := find_code(keras.saving.serialize_keras_object(network), custom=True):
        raise ConfigError(
            f"{WHERE}: {name}: the model could be saved, but not loaded again: {fault}",
            hint="write a layer as a class of a module: a subclass of keras.layers.Layer",
        )


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(
            f"{WHERE}: no file {path} (a relative path starts at the config's folder or at "
            f"{Path.cwd()})",
            hint="give a .keras file, or module:function",
        )
    if keras.config.dtype_policy().name != "float32":
        raise ConfigError(
            f"{WHERE}: {path}: a saved network computes in its own precision",
            hint="leave training.precision at auto, or give module:function",
        )

    def unusable(reason: str) -> ConfigError:
        hint = "import the module that defines its layers first, or give module:function"
        return ConfigError(f"{WHERE}: cannot read {path}: {reason}", hint=hint)

    return read_model(path, unusable, custom=True)
