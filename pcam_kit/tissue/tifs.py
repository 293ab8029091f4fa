"""TIFF images of any size: tiled or in strips, with or without a pyramid, read piece by piece."""

# pyright: basic

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from operator import add
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.sources.jpegs import jpeg_size
from pcam_kit.tissue.colours import DEPTH, NUMBERS, SAMPLES, Colours, Kind, to_rgb
from pcam_kit.tissue.pictures import (
    CONVERT_LARGE,
    IN_MEMORY,
    ArrayPicture,
    Level,
    Picture,
    UnfitError,
)
from pcam_kit.tissue.spacing import described_size, tagged_size

MAX_PAGES = 64  # that are looked at; slides have about 12
MAX_SIDE = 1 << 20  # pixels; the largest slides have about 300,000
PIECE_BYTES = 128 << 20  # the most that one strip or tile may unpack to
SURE_BYTES = 256 << 20  # what a deflated piece may unpack to without being measured first
NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
JPEG2000 = (33005, 34712)  # 33003 is YCbCr, which its decoder does not know
PLAIN = (NONE, DEFLATE, OLD_DEFLATE, PACKBITS)  # what tifffile reads by itself
READABLE = (*PLAIN, LZW, JPEG, *JPEG2000)
INSTALL = 'pip install "pcam-kit[slides]"'
BLACK_IS_0, WHITE_IS_0, RGB, PALETTE, CMYK, YCBCR = 1, 0, 2, 3, 5, 6


class TifPicture(Picture):
    """The pages of a TIFF that are one image at several sizes."""

    def __init__(self, handle: BinaryIO, source: Path | None) -> None:
        """handle: at any place; closed by `close`. source: the file, where it is one on disk.

        Raises UnfitError for what is no image of tissue, and what the parsing does when damaged.
        """
        import tifffile

        self._handle = handle
        with _quiet():
            self._tif = tifffile.TiffFile(handle)
            pages = _first_pages(self._tif)
        first: Any = pages[0]
        self.colours = _colours(first)
        self._pages = [first, *_reduced(first, pages)]
        self.levels = tuple(
            Level(page.imagewidth, page.imagelength, first.imagewidth / page.imagewidth)
            for page in self._pages
        )
        for page in self._pages:
            _check_pieces(page, handle.seek(0, 2))
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
        if count > _unpacked_bytes(page) + (64 << 10):  # else it could unpack to a thousand times
            raise ValueError(f"a piece of {count:,} bytes, more than its pixels have")
        self._handle.seek(offset)
        data = self._handle.read(count)
        if len(data) < count:
            raise ValueError(f"it is cut short: {len(data):,} of {count:,} bytes at {offset:,}")
        _check_size(page, data)
        return data, index


def open_tif(handle: BinaryIO, source: Path | None = None) -> TifPicture:
    """A TIFF as a picture. Raises as TifPicture does."""
    try:
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


def _first_pages(tif: Any) -> list[Any]:
    """The first pages, and the ones that the first refers to. Raises UnfitError for none."""
    pages: list[Any] = []
    for page in tif.pages:
        pages.append(page)
        if len(pages) == MAX_PAGES:
            break
    if not pages:
        raise UnfitError("no page")
    below = pages[0].pages if pages[0].subifds else []
    for i, page in enumerate(below or []):
        if i == MAX_PAGES:
            break
        pages.append(page)
    for page in pages:
        if not (0 < page.imagewidth <= MAX_SIDE and 0 < page.imagelength <= MAX_SIDE):
            raise UnfitError(f"a page of {page.imagewidth:,}x{page.imagelength:,} pixels")
    return pages


def _reduced(first: Any, pages: list[Any]) -> list[Any]:
    """The pages that are the first one at smaller sizes, largest first.

    Raises UnfitError for several pages of one size: a stack or a series.
    """
    found: dict[int, Any] = {}
    for page in pages[1:]:
        factor = first.imagewidth / page.imagewidth
        if page.imagewidth == first.imagewidth and page.imagelength == first.imagelength:
            raise UnfitError(
                "several pages of the same size, as a stack has",
                'keep the page you mean: magick "FILE.tif[0]" OUT.tif',
            )
        across, down = page.imagewidth * factor, page.imagelength * factor
        same = abs(down - first.imagelength) <= max(2 * factor, 0.01 * first.imagelength)
        alike = (page.photometric, page.samplesperpixel, page.dtype, page.is_tiled) == (
            first.photometric,
            first.samplesperpixel,
            first.dtype,
            first.is_tiled,
        )
        if factor > 1.2 and same and alike and across and page.compression in READABLE:
            found.setdefault(page.imagewidth, page)
    return [found[width] for width in sorted(found, reverse=True)]


def _colours(page: Any) -> Colours:
    """How a page stores colours. Raises UnfitError for kinds that are no picture of tissue."""
    photometric, samples = int(page.photometric), page.samplesperpixel
    numbers = str(np.dtype(page.dtype)) if page.dtype is not None else "unknown numbers"
    bits = page.bitspersample
    if numbers not in NUMBERS or bits not in (8, 16):
        kind = f"{bits}-bit values" if numbers in NUMBERS else f"values of {numbers}"
        raise UnfitError(f"{kind}: expected 8 or 16 bits, without sign", DEPTH)
    kinds: dict[tuple[int, int], Kind] = {
        (RGB, 3): "rgb",
        (RGB, 4): "rgba",
        (YCBCR, 3): "rgb",
        (BLACK_IS_0, 1): "grey",
        (WHITE_IS_0, 1): "grey",
        (BLACK_IS_0, 2): "grey+alpha",
        (PALETTE, 1): "palette",
        (CMYK, 4): "cmyk",
    }
    name = getattr(page.photometric, "name", str(photometric))
    if (photometric, samples) not in kinds:
        raise UnfitError(f"{samples} channels of {name}: expected RGB", DEPTH)
    if photometric == YCBCR and int(page.compression) != JPEG:
        raise UnfitError("YCbCr without JPEG: expected RGB", DEPTH)
    kind = kinds[photometric, samples]
    palette = None
    if kind == "palette":
        table = np.asarray(page.colormap)
        palette = np.ascontiguousarray((table >> 8).astype(np.uint8).T)
    if page.imagedepth != 1 or SAMPLES[kind] != samples:
        raise UnfitError("several planes of depth: expected a flat image", DEPTH)
    return Colours(kind, numbers, photometric == WHITE_IS_0, palette)


def _check_pieces(page: Any, size: int) -> None:
    """Check what a page of a file of `size` bytes declares of its strips or tiles.

    Raises UnfitError, ValueError.
    """
    packing = int(page.compression)
    if packing not in READABLE:
        name = getattr(page.compression, "name", str(packing))
        raise UnfitError(f"pixels packed with {name}", CONVERT_LARGE)
    expected = int(np.prod(page.chunked))
    if not len(page.dataoffsets) == len(page.databytecounts) == expected:
        raise ValueError(f"{len(page.dataoffsets)} pieces instead of {expected}")
    end = max(map(add, page.dataoffsets, page.databytecounts))
    if end > size:
        raise ValueError(f"it is cut short: {size:,} of {end:,} bytes")
    if packing != NONE and _unpacked_bytes(page) > PIECE_BYTES:
        raise UnfitError(
            f"one packed piece of {page.imagewidth:,} pixels by {_piece_shape(page)[0]:,} rows, "
            "which has to be unpacked as a whole",
            CONVERT_LARGE,
        )


def _piece_shape(page: Any) -> tuple[int, int]:
    """Rows and columns of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _unpacked_bytes(page: Any) -> int:
    rows, columns = _piece_shape(page)
    samples = page.samplesperpixel if int(page.planarconfig) == 1 else 1
    return rows * columns * samples * np.dtype(page.dtype).itemsize


def _pieces(page: Any, x: int, y: int, width: int, height: int) -> Generator[int]:
    """The numbers of the strips or tiles that a region touches."""
    rows, columns = _piece_shape(page)
    across, down = -(-page.imagewidth // columns), -(-page.imagelength // rows)
    planes = page.samplesperpixel if int(page.planarconfig) == 2 else 1
    for plane in range(planes):
        for row in range(y // rows, min(down, -(-(y + height) // rows))):
            for column in range(x // columns, min(across, -(-(x + width) // columns))):
                yield (plane * down + row) * across + column


def _check_size(page: Any, data: bytes) -> None:
    """Raises ValueError where a piece would unpack to far more than its pixels."""
    packing, expected = int(page.compression), _unpacked_bytes(page)
    if packing == JPEG:
        width, height, _ = jpeg_size(data)
    elif packing in JPEG2000:
        at = data.find(b"\xff\x51", 0, 512)
        width, height = struct.unpack_from(">II", data, at + 6) if at >= 0 else (0, 0)
    else:
        if packing in (DEFLATE, OLD_DEFLATE) and len(data) * 1032 > SURE_BYTES:
            length = len(zlib.decompressobj().decompress(data, expected + 1))
            if length > expected:
                raise ValueError("a piece unpacks to more than its pixels have")
        return
    rows, columns = _piece_shape(page)
    if not (0 < width <= columns + 16 and 0 < height <= rows + 16):
        raise ValueError(f"a piece of {width:,}x{height:,} instead of {columns}x{rows} pixels")


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
    """Tifffile logs about what it meets; what matters is raised."""
    logger = logging.getLogger("tifffile")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
