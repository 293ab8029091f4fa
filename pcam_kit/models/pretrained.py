"""Pretrained weights: those of ImageNet, which Keras downloads, or those of a file."""

# pyright: basic

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pcam_kit.config.schema import Model, Transfer
from pcam_kit.data.sources.hdf5_safety import check_tree, opened
from pcam_kit.errors import ConfigError, DataError
from pcam_kit.models.transfer import (
    BACKBONE,
    DEVIATION,
    FAMILIES,
    MEAN,
    build_application,
    build_trunk,
)
from pcam_kit.parsing import open_regular, parsing

INSIDE = "model.weights.h5"  # the weights in a .keras file
WEIGHT_BYTES = 4 << 30  # the most that such a file may take
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

    Raises ConfigError when the file is missing or not of this backbone, or the download fails. The
    messages of Keras go to stderr.
    """
    name = config.backbone
    if config.weights == "imagenet":
        application = _download(name)
    else:
        application = _read_file(Path(str(config.weights)), name)
    if FAMILIES[name].first_layer is not None:
        check_normalisation(str(config.weights), name, application)
    return build_trunk(name, application).get_weights()


def _read_file(path: Path, name: str) -> keras.Model:
    """The application with the weights of a file.

    From a .keras file only the weights are taken: the network in it is never built.
    """

    def fault(reason: str) -> ConfigError:
        return _wrong_weights(path, name, f"it cannot be read: {reason}")

    with tempfile.TemporaryDirectory() as folder:
        weights = path
        with parsing(fault):
            if path.suffix == ".keras":
                weights = Path(folder, INSIDE)
                _unpack(path, weights)
        shapes = _read_shapes(weights, path, name)
        application = build_application(name, SIZE)
        _compare_shapes(shapes, path, name, application)
        with parsing(lambda reason: _wrong_weights(path, name, reason)):
            application.load_weights(weights)
    return application


def _unpack(path: Path, target: Path) -> None:
    """The weights in a .keras file, as a file. Raises ValueError for too many, and as zipfile does.

    Memory does not grow with what the file declares.
    """
    with (
        open_regular(path) as handle,
        zipfile.ZipFile(handle) as archive,
        archive.open(INSIDE) as source,
        open(target, "wb") as out,
    ):
        if archive.getinfo(INSIDE).file_size > min(WEIGHT_BYTES, 100 * path.stat().st_size):
            raise ValueError(f"{INSIDE} in it unpacks to more than 100 times its size")
        shutil.copyfileobj(source, out)


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


def _read_shapes(weights: Path, path: Path, name: str) -> Counter[tuple[int, ...]]:
    """The number of weights of each shape in the file `weights`, which `path` is or contains.

    It is Keras' .weights.h5, or the older .h5; it may name no other file, as Keras follows links.
    """
    shapes: Counter[tuple[int, ...]] = Counter()
    try:
        with opened(weights, path.name) as file:
            for key, item in check_tree(file, path.name):
                parts = key.split("/")
                # variables of the optimiser and states of dropout are not weights
                if not parts[0].startswith("optimizer") and "seed_generator" not in parts:
                    shapes[tuple(item.shape)] += 1
    except DataError as error:
        raise _wrong_weights(path, name, f"it cannot be read: {error.message}") from error
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
    return ConfigError(
        f"model.weights: {path} does not hold the weights of {name} without its top: {why}",
        hint=f"save them with keras.applications.{name}(include_top=False, "
        f"...).save_weights('{name}.weights.h5'), or set model.backbone",
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
