"""The images of one batch: centre crops, augmented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcam_kit.pipeline.augment import Augmenter

# (rows int64 [n], number of the epoch) -> uint8 [n, crop, crop, 3]
MakeImages = Callable[[NDArray[np.int64], int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Images:
    """Makes images in this process, in any number of threads.

    stored: uint8 [total, h, w, 3], may be a memory map. crop: side of the centre crop in pixels.
    """

    stored: NDArray[np.uint8]
    crop: int
    augmenter: Augmenter

    def __call__(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
        """The images of `rows` in an epoch: uint8 [n, crop, crop, 3]."""
        crops = take(self.stored, rows, self.crop)
        return self.augmenter(crops, rows, epoch, len(self.stored), overwrite=True)


def take(images: NDArray[np.uint8], rows: NDArray[np.int64], crop: int) -> NDArray[np.uint8]:
    """The centre `crop` x `crop` pixels of `rows`, as a new array [n, crop, crop, 3]."""
    top, left = ((size - crop) // 2 for size in images.shape[1:3])
    return np.ascontiguousarray(images[rows, top : top + crop, left : left + crop])
