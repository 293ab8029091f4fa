"""Affine, RandomResizedCrop and ElasticTransform for whole batches."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from pcam_kit.pipeline.transforms.base import (
    BatchTransform,
    Numbers,
    Pair,
    Patches,
    between,
    read_pair,
    read_range,
    uniform,
)

Floats = NDArray[np.float64]
Range = Annotated[Pair, BeforeValidator(read_range)]
Share = Annotated[Pair, BeforeValidator(partial(read_pair, least=0.0, most=1.0))]
Ratio = Annotated[Pair, BeforeValidator(partial(read_pair, least=1e-6))]
Fill = float | tuple[float, ...]
# numbers of OpenCV
Interpolation = Literal[0, 1, 2, 3, 4]  # nearest, linear, cubic, area, Lanczos
BorderMode = Literal[0, 1, 2, 3, 4]  # constant, replicate, reflect, wrap, reflect without the edge


class Affine(BatchTransform):
    """Scale, rotate, shear, then move; about the middle of the patch.

    x and y have the same range and are drawn separately. A number in place of a range is fixed.
    """

    columns: ClassVar[int] = 7
    scale: Range = (1.0, 1.0)
    rotate: Range = (0.0, 0.0)  # degrees, counter-clockwise
    shear: Range = (0.0, 0.0)  # degrees
    translate_percent: Range | None = None  # of the side, whole pixels
    translate_px: Range | None = None
    keep_ratio: bool = False  # the same scale for x and y
    interpolation: Interpolation = 1
    border_mode: BorderMode = 0
    fill: Fill = 0.0

    @model_validator(mode="after")
    def _check_translation(self) -> Affine:
        if self.translate_percent is not None and self.translate_px is not None:
            raise ValueError("expected translate_percent or translate_px, not both")
        return self

    def apply(self, images: Patches, rows: list[int], numbers: Numbers) -> None:
        """Change the patches `rows`."""
        height, width = images.shape[1:3]
        matrices = self.draw(numbers, height, width)
        target = np.empty_like(images[0])
        for row, matrix in zip(rows, matrices, strict=True):
            cv2.warpAffine(
                images[row],
                matrix,
                (width, height),
                target,
                flags=self.interpolation,
                borderMode=self.border_mode,
                borderValue=_four(self.fill),
            )
            images[row] = target

    def draw(self, numbers: Numbers, height: int, width: int) -> Floats:
        """From pixels of a patch (x, y, 1) to where they go: [n, 2, 3]."""
        drawn = uniform(numbers)
        ranges = [self.scale, self.scale, self.rotate, self.shear, self.shear]
        scale_x, scale_y, angle, shear_x, shear_y = between(ranges, drawn[:, :5]).T
        if self.keep_ratio:
            scale_y = scale_x
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        # albumentations shears against the sign of the angle
        tan_x, tan_y = np.tan(np.deg2rad(-shear_x)), np.tan(np.deg2rad(-shear_y))
        # [[1, tan_x], [tan_y, 1]] @ [[cos, sin], [-sin, cos]] @ diag(scale_x, scale_y)
        matrices = np.empty((len(numbers), 2, 3))
        matrices[:, 0, 0] = (cos - tan_x * sin) * scale_x
        matrices[:, 0, 1] = (sin + tan_x * cos) * scale_y
        matrices[:, 1, 0] = (tan_y * cos - sin) * scale_x
        matrices[:, 1, 1] = (tan_y * sin + cos) * scale_y
        # the middle stays where it is, before it is moved
        middle = (width - 1) / 2, (height - 1) / 2
        moves = self._draw_translations(drawn[:, 5:], width, height)
        for i in range(2):
            turned = matrices[:, i, 0] * middle[0] + matrices[:, i, 1] * middle[1]
            matrices[:, i, 2] = middle[i] - turned + moves[:, i]
        return matrices

    def _draw_translations(self, drawn: Floats, width: int, height: int) -> Floats:
        """Whole pixels to the right and down: [n, 2]."""
        if self.translate_px is not None:
            low, high = (int(end) for end in self.translate_px)
            return low + np.floor((high - low + 1) * drawn)
        if self.translate_percent is not None:
            shares = between([self.translate_percent] * 2, drawn)
            return np.trunc(shares * [width, height])
        return np.zeros_like(drawn)


class RandomResizedCrop(BatchTransform):
    """A random part of the patch, enlarged to its size.

    Area and ratio of width to height are drawn up to ten times, until the part fits.
    """

    columns: ClassVar[int] = 22
    size: tuple[int, int]  # height and width, those of the patch
    scale: Share = (0.08, 1.0)  # area of the part, of the patch's
    ratio: Ratio = (3 / 4, 4 / 3)
    interpolation: Literal[0, 1, 2, 3, 4, 5, 6] = 1

    def apply(self, images: Patches, rows: list[int], numbers: Numbers) -> None:
        """Change the patches `rows`. Raises ValueError when they would have another size."""
        height, width = images.shape[1:3]
        if self.size != (height, width):
            raise ValueError(
                f"expected size [{height}, {width}] like the patches, found {list(self.size)}"
            )
        target = np.empty_like(images[0])
        parts = self.draw(numbers, height, width).tolist()
        for row, (left, top, right, bottom) in zip(rows, parts, strict=True):
            part = images[row, top:bottom, left:right]
            cv2.resize(part, (width, height), target, interpolation=self.interpolation)
            images[row] = target

    def draw(self, numbers: Numbers, height: int, width: int) -> NDArray[np.int64]:
        """Left, top, right and bottom of each part, the last two excluded: [n, 4]."""
        drawn = uniform(numbers)
        low, high = np.log(self.ratio).tolist()
        areas = height * width * between([self.scale] * 10, drawn[:, :10])
        ratios = np.exp(between([(low, high)] * 10, drawn[:, 10:20]))
        sizes = np.rint([np.sqrt(areas * ratios), np.sqrt(areas / ratios)])  # [2, n, 10]
        limits = np.array([width, height])[:, None, None]
        fits = ((sizes > 0) & (sizes <= limits)).all(axis=0)
        first = fits.argmax(axis=1)
        size = sizes[:, np.arange(len(first)), first].T
        start = np.floor(([width, height] - size + 1) * drawn[:, 20:])
        # none of the ten fits: the middle, as large as the ratio allows
        none = fits.sum(axis=1) == 0
        size[none] = self._largest(height, width)
        start[none] = ([width, height] - size[none]) // 2
        return np.concatenate([start, start + size], axis=1).astype(np.int64)

    def _largest(self, height: int, width: int) -> tuple[int, int]:
        """Width and height."""
        narrowest, widest = self.ratio
        if width / height < narrowest:
            return width, round(width / narrowest)
        if width / height > widest:
            return round(height * widest), height
        return width, height


class ElasticTransform(BatchTransform):
    """Each pixel moves by smooth noise, its neighbours almost likewise (Simard et al. 2003)."""

    columns: ClassVar[int] = 1
    alpha: float = Field(default=1.0, ge=0)  # pixels, before smoothing
    sigma: float = Field(default=50.0, ge=1)  # pixels
    interpolation: Interpolation = 1
    border_mode: BorderMode = 0
    fill: Fill = 0.0

    def apply(self, images: Patches, rows: list[int], numbers: Numbers) -> None:
        """Change the patches `rows`."""
        height, width = images.shape[1:3]
        y, x = np.indices((height, width), np.float32)
        target = np.empty_like(images[0])
        for row, seed in zip(rows, numbers[:, 0].tolist(), strict=True):
            right, down = self.draw(seed, height, width)
            cv2.remap(
                images[row],
                x + right,
                y + down,
                self.interpolation,
                target,
                borderMode=self.border_mode,
                borderValue=_four(self.fill),
            )
            images[row] = target

    def draw(self, seed: int, height: int, width: int) -> NDArray[np.float32]:
        """How far to the right and how far down each pixel comes from: [2, h, w]."""
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((2 * height, width), dtype=np.float32)
        noise *= self.alpha / np.abs(noise).max()
        # one image above the other, as albumentations smooths them
        smooth = cv2.GaussianBlur(noise, (0, 0), self.sigma, borderType=cv2.BORDER_REPLICATE)
        return smooth.reshape(2, height, width)


def _four(fill: Fill) -> Any:
    """A value for each of OpenCV's four channels."""
    return fill if isinstance(fill, tuple) else (fill,) * 4
