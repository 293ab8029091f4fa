"""Handwritten digits: MNIST from a file or through Keras, and scikit-learn's small digits where
there is no network.
"""

# pyright: basic

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import DataError
from pcam_kit.files import read_npz

SIZE = 28  # pixels a side
CLASSES = 10
STAND_IN = "digits"  # what --from calls scikit-learn's digits
PATIENCE = 20.0  # seconds without an answer before a download is given up
_PARTS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Digits:
    """Images uint8 [n, 28, 28, 1], ink bright on dark, and labels int8 [n] in 0..9; `name` says
    which digits they are.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int8]


def load_digits(source: str | None, warn: Callable[[str], None]) -> Digits:
    """MNIST from the file `source` in Keras' layout; None: through Keras, which downloads it once;
    "digits": scikit-learn's.

    Where Keras cannot download it, scikit-learn's digits stand in and `warn` is told so. Raises
    DataError when a file is not MNIST.
    """
    if source == STAND_IN:
        return stand_in()
    if source is not None:
        return from_npz(Path(source))
    try:
        return _through_keras()
    except Exception as error:  # Keras raises just that when a download fails
        why = " ".join(str(error).split())
        warn(
            f"MNIST cannot be downloaded ({why}); scikit-learn's digits stand in, so no score "
            "here is one on MNIST"
        )
        return stand_in()


def from_npz(path: Path) -> Digits:
    """MNIST from an .npz with x_train, y_train, x_test, y_test.

    Raises DataError saying what does not fit.
    """
    hint = (
        "the file that Keras keeps as ~/.keras/datasets/mnist.npz fits; --from digits needs no file"
    )
    if not path.is_file():
        raise DataError(f"no file {path}", hint=hint)
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise DataError(f"cannot read {path}: {error}", hint=hint) from error
    if lost := [name for name in _PARTS if name not in arrays]:
        raise DataError(
            f"{path} has no {', '.join(lost)}; it has {', '.join(arrays) or 'nothing'}", hint=hint
        )
    parts = [arrays[name] for name in _PARTS]
    for (images, labels), split in zip((parts[:2], parts[2:]), ("train", "test"), strict=True):
        if images.ndim != 3 or images.shape[1:] != (SIZE, SIZE) or images.dtype != np.uint8:
            raise DataError(
                f"{path}: x_{split} must be uint8 [n, 28, 28], found {images.dtype} "
                f"{list(images.shape)}",
                hint=hint,
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or not len(labels):
            found = f"{labels.dtype} {list(labels.shape)}"
            raise DataError(
                f"{path}: y_{split} must be whole numbers [{len(images)}], found {found}", hint=hint
            )
        if labels.min() < 0 or labels.max() >= CLASSES:
            raise DataError(
                f"{path}: y_{split} must lie in 0..9, found {labels.min()} to {labels.max()}",
                hint=hint,
            )
    return _digits("MNIST", *parts)


def stand_in() -> Digits:
    """scikit-learn's 1,797 digits of 8x8 pixels, enlarged to 20x20 in the middle of 28x28; the last
    500 are the test part.
    """
    import cv2
    from sklearn.datasets import load_digits as small_digits

    data: Any = small_digits()
    images = np.zeros((len(data.images), SIZE, SIZE), np.uint8)
    for image, small in zip(images, data.images, strict=True):
        large = cv2.resize(small * (255 / 16), (20, 20), interpolation=cv2.INTER_CUBIC)
        image[4:24, 4:24] = np.clip(np.rint(large), 0, 255)
    cut = len(images) - 500
    return _digits(
        "scikit-learn digits", images[:cut], data.target[:cut], images[cut:], data.target[cut:]
    )


def _through_keras() -> Digits:
    import keras

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its progress bar
            train, test = keras.datasets.mnist.load_data()
    finally:
        socket.setdefaulttimeout(patience)
    return _digits("MNIST", *train, *test)


def _digits(
    name: str, x_train: NDArray, y_train: NDArray, x_test: NDArray, y_test: NDArray
) -> Digits:
    return Digits(
        name, x_train[..., None], y_train.astype(np.int8), x_test[..., None], y_test.astype(np.int8)
    )
