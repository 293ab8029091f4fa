"""Pretrained weights: ImageNet's, from Keras or an installed package, or those of a file."""

# pyright: basic

from __future__ import annotations

import io
import os
import sys
import warnings
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pcam_kit.config.schema import Model, Transfer
from pcam_kit.errors import ConfigError
from pcam_kit.imagenet import PACKAGES, package_of
from pcam_kit.models.efficientnet_lite import load_torch
from pcam_kit.models.saved import WEIGHTS, arrays_of, read_members
from pcam_kit.models.torch_file import read_tensors
from pcam_kit.models.transfer import (
    BACKBONE,
    DEVIATION,
    FAMILIES,
    MEAN,
    build_application,
    build_trunk,
)
from pcam_kit.parsing import open_regular, parsing

SIZE = 32  # side in pixels while reading; weights do not depend on it


def load_pretrained(model: keras.Model, config: Model) -> bool:
    """Load the weights that `config` names into `model`; False when it names none.

    Raises ConfigError like `read_pretrained`.
    """
    if not isinstance(config, Transfer) or config.weights is None:
        return False
    model.get_layer(BACKBONE).set_weights(read_pretrained(config))
    return True


def read_pretrained(config: Transfer) -> list[Any]:
    """The weights of `config`'s backbone, in the order of `get_weights`.

    Raises ConfigError when the file or package is missing or not of this backbone, or the download
    fails. The messages of Keras go to stderr.
    """
    name = config.backbone
    package = package_of(name, config.weights)
    if package is not None:
        path = package.path()
        package.check(path)
        application = _read_file(path, name)
    elif config.weights == "imagenet":
        application = _download(name)
    else:
        application = _read_file(Path(str(config.weights)), name)
    if FAMILIES[name].first_layer is not None:
        check_normalisation(str(config.weights), name, application)
    return build_trunk(name, application).get_weights()


def _read_file(path: Path, name: str) -> keras.Model:
    """The application with the weights of a file."""
    if path.suffix == ".pth":
        return _read_torch(path, name)
    shapes = _read_shapes(path, name)
    application = build_application(name, SIZE)
    _compare_shapes(shapes, path, name, application)
    with parsing(lambda reason: _wrong_weights(path, name, reason)):
        application.load_weights(path)
    return application


def _read_torch(path: Path, name: str) -> keras.Model:
    """EfficientNet-Lite with the weights of a PyTorch file, as its package has it."""
    if name not in PACKAGES:
        raise _wrong_weights(path, name, "a file of PyTorch is read for EfficientNet-Lite only")
    application = build_application(name, SIZE)
    with parsing(lambda reason: _wrong_weights(path, name, reason)):
        load_torch(application, read_tensors(path))
    return application


def _download(name: str) -> keras.Model:
    """The application with ImageNet's weights, from Keras' cache or the network."""
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():  # the progress of a download
            warnings.simplefilter("ignore")  # Keras warns that they were trained at 224 pixels
            return build_application(name, SIZE, "imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise ConfigError(
            f"model.weights: Keras could not download ImageNet's weights of {name}: "
            f"{' '.join(str(error).split())}",
            hint=f"try again with a network, or copy {cache} (Keras keeps its downloads there) "
            "from a machine that has them, "
            "or give a file: --set model.weights=PATH, or start from random weights: --set "
            "model.weights=null",
        ) from error


def _read_shapes(path: Path, name: str) -> Counter[tuple[int, ...]]:
    """The number of weights of each shape in a file.

    The file is Keras' .weights.h5, a .keras that contains one, or the older .h5.
    """
    shapes: Counter[tuple[int, ...]] = Counter()
    with parsing(lambda reason: _wrong_weights(path, name, f"it cannot be read: {reason}")):
        if path.suffix == ".keras":
            source: Any = io.BytesIO(read_members(path)[WEIGHTS])
        else:
            source = open_regular(path)
        with source, h5py.File(source, "r") as file:
            for key, shape in arrays_of(file):
                parts = key.strip("/").split("/")
                # variables of the optimiser and states of dropout are not weights
                if not parts[0].startswith("optimizer") and "seed_generator" not in parts:
                    shapes[shape] += 1
    return shapes


def _compare_shapes(
    shapes: Counter[tuple[int, ...]], path: Path, name: str, application: keras.Model
) -> None:
    """Check that the arrays of the file are exactly those of the model.

    Keras itself ignores superfluous arrays. Raises ConfigError.
    """
    expected = Counter(tuple(weight.shape) for weight in application.weights)
    if shapes == expected:
        return
    differences = {"missing": expected - shapes, "too many": shapes - expected}
    details = "; ".join(
        f"{kind}: {_list_shapes(difference)}"
        for kind, difference in differences.items()
        if difference
    )
    raise _wrong_weights(
        path, name, f"expected {expected.total()} arrays, found {shapes.total()} ({details})"
    )


def _list_shapes(shapes: Counter[tuple[int, ...]]) -> str:
    """`3 x [64], 1 x [3, 3, 64, 64], ...`, the largest first."""
    largest = sorted(shapes, key=np.prod, reverse=True)
    parts = [f"{shapes[shape]} x {list(shape)}" for shape in largest[:3]]
    if len(largest) > 3:
        parts.append("...")
    return ", ".join(parts)


def _wrong_weights(path: Path, name: str, why: str) -> ConfigError:
    if name in PACKAGES:
        hint = f"give {PACKAGES[name].file} of the package {PACKAGES[name].name}"
    else:
        hint = (
            f"save them with keras.applications.{name}(include_top=False, "
            f"...).save_weights('{name}.weights.h5')"
        )
    return ConfigError(
        f"model.weights: {path} does not hold the weights of {name} without its top: {why}",
        hint=f"{hint}, or set model.backbone",
    )


def check_normalisation(weights: str, name: str, application: keras.Model) -> None:
    """Check that the normalisation among the weights is the one that ours replaces.

    The published files have the standard deviation where Keras expects the variance, which Keras
    corrects in a further layer. Raises ConfigError.
    """
    layer = next(
        layer for layer in application.layers if isinstance(layer, keras.layers.Normalization)
    )
    mean, deviation = (
        np.asarray(keras.ops.convert_to_numpy(value)).ravel()
        for value in (layer.mean, layer.variance)
    )
    if not (np.allclose(mean, MEAN, atol=1e-3) and np.allclose(deviation, DEVIATION, atol=1e-3)):
        raise ConfigError(
            f"model.weights: {weights}: the Normalization layer of {name} should have ImageNet's "
            f"mean {list(MEAN)} and deviation "
            f"{list(DEVIATION)}, found {mean.round(4).tolist()} and {deviation.round(4).tolist()}",
            hint="these weights were not trained from ImageNet's; pcam preprocesses pixels as "
            "for those",
        )
