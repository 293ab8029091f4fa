"""Weights that a training begins with: ImageNet's, which Keras downloads, or those of a file."""

# pyright: basic

from __future__ import annotations

import io
import os
import sys
import warnings
import zipfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pcam_kit.config.schema import Model, Transfer
from pcam_kit.errors import ConfigError
from pcam_kit.models.transfer import BACKBONE, DEVIATION, FAMILIES, MEAN, application, trunk

SIZE = 32  # pixels a side while reading; weights do not depend on it


def load_pretrained(model: keras.Model, config: Model) -> bool:
    """Put the weights that `config` names into `model`; False when it names none.

    Raises ConfigError as `read_pretrained`.
    """
    if not isinstance(config, Transfer) or config.weights is None:
        return False
    model.get_layer(BACKBONE).set_weights(read_pretrained(config))
    return True


def read_pretrained(config: Transfer) -> list[Any]:
    """The weights of `config`'s backbone, in the order of `get_weights`.

    Raises ConfigError when the file is missing or not of this backbone, or the download fails. What
    Keras tells goes to stderr.
    """
    name = config.backbone
    if config.weights == "imagenet":
        whole = _downloaded(name)
    else:
        path = Path(str(config.weights))
        found = _shapes(path, name)
        whole = application(name, SIZE)
        _compare(found, path, name, whole)
        try:
            whole.load_weights(path)
        except (ValueError, KeyError, OSError) as error:
            raise _unfit(path, name, " ".join(str(error).split())) from error
    if FAMILIES[name].first is not None:
        check_normalisation(str(config.weights), name, whole)
    return trunk(name, whole).get_weights()


def _downloaded(name: str) -> keras.Model:
    """The model with ImageNet's weights, from Keras' cache or the network."""
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():  # the progress of a download
            warnings.simplefilter("ignore")  # that the weights were made for 224 pixels
            return application(name, SIZE, "imagenet")
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


def _shapes(path: Path, name: str) -> Counter[tuple[int, ...]]:
    """How many weights a file has of each shape: Keras' .weights.h5, the one inside a .keras, or
    the older .h5.
    """
    shapes: Counter[tuple[int, ...]] = Counter()

    def visit(key: str, item: Any) -> None:
        # not weights: the optimiser's variables and the states of dropout
        parts = key.split("/")
        if (
            isinstance(item, h5py.Dataset)
            and not parts[0].startswith("optimizer")
            and "seed_generator" not in parts
        ):
            shapes[tuple(item.shape)] += 1

    try:
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            file.visititems(visit)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise _unfit(path, name, f"it cannot be read: {' '.join(str(error).split())}") from error
    return shapes


def _compare(found: Counter[tuple[int, ...]], path: Path, name: str, whole: keras.Model) -> None:
    """Every array of the file has its place in the model and the other way round.

    Keras alone overlooks what is too much.
    """
    expected = Counter(tuple(weight.shape) for weight in whole.weights)
    if found != expected:
        differences = {"missing": expected - found, "too many": found - expected}
        apart = "; ".join(
            f"{what}: {_some(shapes)}" for what, shapes in differences.items() if shapes
        )
        raise _unfit(
            path, name, f"expected {expected.total()} arrays, found {found.total()} ({apart})"
        )


def _some(shapes: Counter[tuple[int, ...]]) -> str:
    """`3 x [64], 1 x [3, 3, 64, 64], ...`, the largest first."""
    largest = sorted(shapes, key=np.prod, reverse=True)
    return ", ".join(
        [f"{shapes[shape]} x {list(shape)}" for shape in largest[:3]] + ["..."] * (len(largest) > 3)
    )


def _unfit(path: Path, name: str, why: str) -> ConfigError:
    return ConfigError(
        f"model.weights: {path} does not hold the weights of {name} without its top: {why}",
        hint=f"save them with keras.applications.{name}(include_top=False, "
        f"...).save_weights('{name}.weights.h5'), or set model.backbone",
    )


def check_normalisation(weights: str, name: str, whole: keras.Model) -> None:
    """The normalisation among the weights is the one that ours stands for. Raises ConfigError.

    The published files keep the deviation where Keras expects the variance, which a further layer
    puts right.
    """
    layer = next(layer for layer in whole.layers if isinstance(layer, keras.layers.Normalization))
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
