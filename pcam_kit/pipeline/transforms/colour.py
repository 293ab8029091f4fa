"""ColorJitter for whole batches: brightness, contrast, saturation and hue, in random order."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from pcam_kit.pipeline.transforms.base import (
    BatchTransform,
    Numbers,
    Pair,
    Patches,
    between,
    read_spread,
    uniform,
)

Pixels = NDArray[np.uint8]  # one patch, [h, w, channels]
Factor = Annotated[
    Pair, BeforeValidator(partial(read_spread, centre=1.0, least=0.0, most=float("inf")))
]
Hue = Annotated[Pair, BeforeValidator(partial(read_spread, centre=0.0, least=-0.5, most=0.5))]

# OpenCV rounds where albumentations drops the decimals; not -0.5, or whole numbers would be ties
DROP_DECIMALS = -0.4999
# of OpenCV's uint8 hues, each 2 degrees: row k is the table that turns them by k
TURNS = ((np.arange(256) + np.arange(180)[:, None]) % 180).astype(np.uint8)


class ColorJitter(BatchTransform):
    """Brightness, contrast, saturation and hue, each by a random factor, in random order."""

    columns: ClassVar[int] = 5
    brightness: Factor = (0.8, 1.2)
    contrast: Factor = (0.8, 1.2)
    saturation: Factor = (0.8, 1.2)
    hue: Hue = (-0.5, 0.5)  # added, in turns

    def draw(self, numbers: Numbers) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The four factors of each patch [n, 4], and the number of its permutation [n]."""
        drawn = uniform(numbers)
        ranges = [self.brightness, self.contrast, self.saturation, self.hue]
        return between(ranges, drawn[:, :4]), (drawn[:, 4] * len(ORDERS)).astype(np.int64)

    def apply(self, images: Patches, rows: list[int], numbers: Numbers) -> None:
        """Change the patches `rows`."""
        factors, orders = self.draw(numbers)
        for row, own, order in zip(rows, factors.tolist(), orders.tolist(), strict=True):
            for change in ORDERS[order]:
                CHANGES[change](images[row], own[change])


def _change_brightness(pixels: Pixels, factor: float) -> None:
    cv2.addWeighted(pixels, factor, pixels, 0, DROP_DECIMALS, pixels)


def _change_contrast(pixels: Pixels, factor: float) -> None:
    mean = cv2.mean(_grey(pixels))[0]
    cv2.addWeighted(pixels, factor, pixels, 0, mean * (1 - factor) + DROP_DECIMALS, pixels)


def _change_saturation(pixels: Pixels, factor: float) -> None:
    if pixels.shape[2] == 3:
        grey = cv2.cvtColor(_grey(pixels), cv2.COLOR_GRAY2RGB)
        cv2.addWeighted(pixels, factor, grey, 1 - factor, 0, pixels)


def _change_hue(pixels: Pixels, turn: float) -> None:
    # without a turn nothing is converted, because that alone changes most pixels
    if pixels.shape[2] == 3 and turn != 0:
        # One row of 1,024 pixels is converted 4 times faster than 32 rows of 32. Not so the way
        # back: OpenCV rounds differently in long rows, 0.3 levels darker.
        hsv = cv2.cvtColor(pixels.reshape(1, -1, 3), cv2.COLOR_RGB2HSV)
        hues = cv2.LUT(cv2.extractChannel(hsv, 0), TURNS[math.floor(180 * turn) % 180])
        cv2.insertChannel(hues, hsv, 0)
        cv2.cvtColor(hsv.reshape(pixels.shape), cv2.COLOR_HSV2RGB, pixels)


def _grey(pixels: Pixels) -> Any:
    return pixels if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


# in the order of the factors
CHANGES: tuple[Callable[[Pixels, float], None], ...] = (
    _change_brightness,
    _change_contrast,
    _change_saturation,
    _change_hue,
)
ORDERS = list(permutations(range(len(CHANGES))))
