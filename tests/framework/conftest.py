"""Small data on which a network can learn something in a second."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Patches:
    """images uint8 [n, 16, 16, 3], darker in the middle where the label is 1; rows of a train and a
    valid part.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int8]
    train: NDArray[np.int64]
    valid: NDArray[np.int64]


@pytest.fixture(scope="session")
def patches() -> Patches:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=160).astype(np.int8)
    images = rng.integers(90, 256, size=(160, 16, 16, 3)).astype(np.uint8)
    images[:, 5:11, 5:11] -= (labels * 45).astype(np.uint8)[:, None, None, None]
    return Patches(images, labels, np.arange(104), np.arange(104, 160))


def image_workers() -> list[psutil.Process]:
    """The processes of this one that make images."""
    return [
        process
        for process in psutil.Process().children()
        if "pcam_kit.pipeline.image_worker" in process.cmdline()
    ]
