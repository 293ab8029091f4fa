"""Images as regions of RGB at several levels, and those that fit into memory: PNG, JPEG, arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.sources.images import PNG, check_png
from pcam_kit.data.sources.jpegs import check_jpeg, jpeg_size
from pcam_kit.errors import DataError
from pcam_kit.tissue.colours import Colours, colours_of, to_rgb
from pcam_kit.tissue.spacing import PixelSize

JPEG = b"\xff\xd8"
IN_MEMORY = 64 << 20  # pixels of an image that is decoded as a whole: 192 MB of RGB
COUNTED_JPEG = 1 << 20  # pixels of a JPEG whose codes are counted: a second or so
CONVERT_LARGE = (
    "convert it to a tiled tif, with libvips: "
    "vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg"
)


class UnfitError(ValueError):
    """An image that is whole and cannot be used: why, and what helps."""

    def __init__(self, found: str, hint: str = "") -> None:
        super().__init__(found)
        self.hint = hint


def damaged(label: str, reason: str) -> DataError:
    """The error for an image whose pixels cannot be read."""
    return DataError(f"{label}: the image is damaged: {reason}", hint="get the file again")


@dataclass(frozen=True)
class Level:
    """One level of a pyramid: its size, and how many level-0 pixels a pixel is wide."""

    width: int
    height: int
    downsample: float


class Picture(ABC):
    """An image of any size, read region by region.

    levels: from the finest, level 0, on. pixel_size: of level 0, where the file says one. striped:
    whether rows are stored as a whole, so that a region costs as much as its rows.
    """

    levels: tuple[Level, ...]
    colours: Colours
    pixel_size: PixelSize | None = None
    striped: ClassVar[bool] | bool = False

    @property
    def width(self) -> int:
        return self.levels[0].width

    @property
    def height(self) -> int:
        return self.levels[0].height

    @abstractmethod
    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region inside a level, in its pixels: RGB uint8 [height, width, 3].

        Raises ValueError, or what a library does, where the file is damaged.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Give back what is open."""


class ArrayPicture(Picture):
    """An image in memory, [h, w] or [h, w, channels]."""

    def __init__(self, pixels: NDArray[Any], colours: Colours | None = None) -> None:
        """colours None: by the channels. Raises ValueError for what has none."""
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise UnfitError(f"an array {list(pixels.shape)}: expected [height, width, 3]")
        self._pixels = pixels
        self.colours = colours or colours_of(pixels.shape[2], str(pixels.dtype))
        self.levels = (Level(pixels.shape[1], pixels.shape[0], 1.0),)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region of the array."""
        return to_rgb(self._pixels[y : y + height, x : x + width], self.colours)


def decode_picture(data: bytes) -> ArrayPicture:
    """A PNG or JPEG, checked before it is decoded.

    Raises UnfitError for one that is too large, ValueError, or what the parsing does, for a damaged
    one.
    """
    if data.startswith(PNG):
        check_png(data, _compare)
    else:
        width, height, channels = jpeg_size(data)
        _compare(width, height, channels, "uint8")
        if width * height <= COUNTED_JPEG:
            check_jpeg(data, width, height)
        elif not data[-(64 << 10) :].rstrip(b"\0").endswith(b"\xff\xd9"):
            raise ValueError("JPEG pixels without an end")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{len(data):,} bytes that do not decode")
    if pixels.ndim == 3:  # OpenCV has blue first
        order = [2, 1, 0, 3][: pixels.shape[2]]
        pixels = pixels[..., order]
    return ArrayPicture(pixels)


def _compare(width: int, height: int, _channels: int, _numbers: str) -> None:
    if width * height > IN_MEMORY:
        raise UnfitError(
            f"{width:,}x{height:,} pixels: expected at most {IN_MEMORY:,} in a PNG or JPEG, which "
            "is decoded as a whole",
            CONVERT_LARGE,
        )
