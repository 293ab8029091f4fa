"""TIFF images of any size: tiled or in strips, with or without a pyramid, read piece by piece."""

# pyright: basic

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.tissue.colours import to_rgb
from pcam_kit.tissue.pictures import (
    IN_MEMORY,
    ArrayPicture,
    Level,
    Picture,
    UnfitError,
)
from pcam_kit.tissue.spacing import described_size, tagged_size
from pcam_kit.tissue.tif_pages import (
    JPEG,
    PLAIN,
    check_piece,
    check_pieces,
    first_pages,
    page_colours,
    piece_shape,
    reduced_pages,
    unpacked_bytes,
)

INSTALL = 'pip install "pcam-kit[slides]"'


class TifPicture(Picture):
    """The pages of a TIFF that are one image at several sizes."""

    def __init__(self, handle: BinaryIO, source: Path | None) -> None:
        """handle: at any place; closed by `close`. source: the file, where it is one on disk.

        Raises UnfitError for what is no image of tissue, and what the parsing does when damaged.
        """
        import tifffile

        self._handle = handle
        self._tif = tifffile.TiffFile(handle)
        pages = first_pages(self._tif)
        first: Any = pages[0]
        self.colours = page_colours(first)
        self._pages = [first, *reduced_pages(first, pages)]
        self.levels = tuple(
            Level(page.imagewidth, page.imagelength, first.imagewidth / page.imagewidth)
            for page in self._pages
        )
        for page in self._pages:
            check_pieces(page, handle.seek(0, 2))
        # whether a further package unpacks the pixels
        self.packed = any(int(page.compression) not in PLAIN for page in self._pages)
        self.striped = not first.is_tiled
        text = str(first.description or "")
        self.pixel_size = described_size(text) or tagged_size(
            first.resolution, int(first.resolutionunit), text
        )
        self._mapped = _mapped(first, source)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region of a level, from the pieces that it touches."""
        page: Any = self._pages[level]
        if level == 0 and self._mapped is not None:
            return to_rgb(self._mapped[y : y + height, x : x + width], self.colours)
        out = np.zeros((height, width, page.samplesperpixel), page.dtype)
        for index in _pieces(page, x, y, width, height):
            with _quiet():
                piece, at, _ = page.decode(*self._piece(page, index), **_tables(page))
            if piece is None:
                continue  # left out by the writer: 0, as it says
            plane, _, top, left, _ = at
            rows, columns = piece.shape[1:3]
            y0, y1 = max(y, top), min(y + height, top + rows)
            x0, x1 = max(x, left), min(x + width, left + columns)
            if y0 < y1 and x0 < x1:
                samples = slice(plane, plane + piece.shape[3])
                out[y0 - y : y1 - y, x0 - x : x1 - x, samples] = piece[
                    0, y0 - top : y1 - top, x0 - left : x1 - left
                ]
        return to_rgb(out, self.colours)

    def close(self) -> None:
        """Close the file."""
        self._mapped = None
        self._tif.close()
        self._handle.close()

    def _piece(self, page: Any, index: int) -> tuple[bytes | None, int]:
        """The stored bytes of a strip or tile. Raises ValueError when they are not all there."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:
            return None, index
        if count > unpacked_bytes(page) + (64 << 10):  # else it could unpack to a thousand times
            raise ValueError(f"a piece of {count:,} bytes, more than its pixels have")
        self._handle.seek(offset)
        data = self._handle.read(count)
        if len(data) < count:
            raise ValueError(f"it is cut short: {len(data):,} of {count:,} bytes at {offset:,}")
        check_piece(page, data)
        return data, index


def open_tif(handle: BinaryIO, source: Path | None = None) -> TifPicture:
    """A TIFF as a picture. Raises as TifPicture does."""
    try:
        with _quiet():
            return TifPicture(handle, source)
    except BaseException:
        handle.close()
        raise


def decode_small_tif(data: bytes) -> ArrayPicture:
    """A TIFF by OpenCV, which reads LZW and JPEG without further packages; checked before."""
    from pcam_kit.data.sources.tiffs import check_pixels, read_tiff

    tiff = read_tiff(data)
    if tiff.width * tiff.height > IN_MEMORY:
        raise UnfitError(f"{tiff.width:,}x{tiff.height:,} pixels in LZW or JPEG", INSTALL)
    check_pixels(tiff, data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{len(data):,} bytes that do not decode")
    return ArrayPicture(
        pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels
    )


def has_imagecodecs() -> bool:
    """Whether the package is installed that unpacks LZW, JPEG and JPEG 2000."""
    import importlib.util

    return importlib.util.find_spec("imagecodecs") is not None


def _pieces(page: Any, x: int, y: int, width: int, height: int) -> Generator[int]:
    """The numbers of the strips or tiles that a region touches."""
    rows, columns = piece_shape(page)
    across, down = -(-page.imagewidth // columns), -(-page.imagelength // rows)
    planes = page.samplesperpixel if int(page.planarconfig) == 2 else 1
    for plane in range(planes):
        for row in range(y // rows, min(down, -(-(y + height) // rows))):
            for column in range(x // columns, min(across, -(-(x + width) // columns))):
                yield (plane * down + row) * across + column


def _tables(page: Any) -> dict[str, Any]:
    if int(page.compression) != JPEG:
        return {}
    return {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}


def _mapped(page: Any, source: Path | None) -> NDArray[Any] | None:
    """The pixels of one unpacked run of rows as a memory map; None for any other storage."""
    if source is None or not page.is_memmappable or int(page.planarconfig) != 1:
        return None
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    offset = page.dataoffsets[0]
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)
    if offset + int(np.prod(shape)) * dtype.itemsize > source.stat().st_size:
        raise ValueError("it is cut short")
    mapped = np.memmap(source, dtype, "r", offset, shape)
    return mapped.astype(dtype.newbyteorder("=")) if mapped.size < IN_MEMORY else mapped


@contextmanager
def _quiet() -> Generator[None]:
    """Tifffile logs, and NumPy warns, about what they meet; what matters is raised."""
    logger = logging.getLogger("tifffile")
    before = logger.disabled
    logger.disabled = True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logger.disabled = before
