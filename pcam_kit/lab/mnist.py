"""Handwritten digits: MNIST from a file or through Keras, or scikit-learn's small digits.

The small digits need no network.
"""

# pyright: basic

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import DataError
from pcam_kit.parsing import read_npz

log = logging.getLogger(__name__)

SIZE = 28  # pixels a side
CLASSES = 10
SMALL_DIGITS = "digits"  # the source that means scikit-learn's digits
SMALL_DIGITS_TEST = 500  # of scikit-learn's digits, the last
TIMEOUT = 20.0  # seconds without an answer before a download is given up
FILE_HINT = (
    "the file that Keras keeps as ~/.keras/datasets/mnist.npz fits; --from digits needs no file"
)
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Digits:
    """Digits of known class, in a training and a test part.

    name: which digits they are. Images uint8 [n, 28, 28, 1], ink bright on dark; labels int8 [n] in
    0..9.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int8]


def load_digits(source: str | None) -> Digits:
    """The digits of `source`: an .npz in Keras' layout, or "digits" for scikit-learn's.

    None: MNIST through Keras, which downloads it once. When that fails a warning is logged and
    scikit-learn's digits are returned. Raises DataError when a file is not MNIST.
    """
    if source == SMALL_DIGITS:
        return small_digits()
    if source is not None:
        return from_npz(Path(source))
    try:
        return _through_keras()
    except Exception as error:  # Keras raises just that when a download fails
        reason = " ".join(str(error).split())
        log.warning(
            f"MNIST cannot be downloaded ({reason}); scikit-learn's digits are used instead, so no "
            "score here is one on MNIST"
        )
        return small_digits()


def from_npz(path: Path) -> Digits:
    """MNIST from an .npz with x_train, y_train, x_test, y_test.

    Raises DataError naming what does not fit.
    """
    if not path.is_file():
        raise DataError(f"no file {path}", hint=FILE_HINT)
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise DataError(f"cannot read {path}: {error}", hint=FILE_HINT) from error
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}",
            hint=FILE_HINT,
        )
    for split in ("train", "test"):
        _check_part(path, split, arrays[f"x_{split}"], arrays[f"y_{split}"])
    return _digits("MNIST", *(arrays[name] for name in _ARRAYS))


def small_digits() -> Digits:
    """scikit-learn's 1,797 digits of 8x8 pixels, enlarged to 20x20 in the middle of 28x28.

    The last 500 are the test part.
    """
    import cv2
    from sklearn.datasets import load_digits as load_small_digits

    data: Any = load_small_digits()
    images = np.zeros((len(data.images), SIZE, SIZE), np.uint8)
    for image, small in zip(images, data.images, strict=True):
        large = cv2.resize(small * (255 / 16), (20, 20), interpolation=cv2.INTER_CUBIC)
        image[4:24, 4:24] = np.clip(np.rint(large), 0, 255)
    n = len(images) - SMALL_DIGITS_TEST
    return _digits("scikit-learn digits", images[:n], data.target[:n], images[n:], data.target[n:])


def _check_part(path: Path, split: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
    """Raises DataError when images or labels do not have the form of MNIST."""
    if images.ndim != 3 or images.shape[1:] != (SIZE, SIZE) or images.dtype != np.uint8:
        raise DataError(
            f"{path}: x_{split} must be uint8 [n, 28, 28], found {images.dtype} "
            f"{list(images.shape)}",
            hint=FILE_HINT,
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(
            f"{path}: y_{split} must be whole numbers [{len(images)}], found {labels.dtype} "
            f"{list(labels.shape)}",
            hint=FILE_HINT,
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(
            f"{path}: y_{split} must lie in 0..9, found {labels.min()} to {labels.max()}",
            hint=FILE_HINT,
        )


def _through_keras() -> Digits:
    import keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its progress bar
            train, test = keras.datasets.mnist.load_data()
    finally:
        socket.setdefaulttimeout(timeout)
    return _digits("MNIST", *train, *test)


def _digits(
    name: str, x_train: NDArray, y_train: NDArray, x_test: NDArray, y_test: NDArray
) -> Digits:
    return Digits(
        name, x_train[..., None], y_train.astype(np.int8), x_test[..., None], y_test.astype(np.int8)
    )
