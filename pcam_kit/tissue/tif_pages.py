"""Pages of a TIFF: which are one image at several sizes, its colours, what its pieces declare."""

# pyright: basic

from __future__ import annotations

import struct
import zlib
from operator import add
from typing import Any

import numpy as np

from pcam_kit.data.sources.jpegs import jpeg_size
from pcam_kit.tissue.colours import DEPTH, NUMBERS, SAMPLES, Colours, Kind
from pcam_kit.tissue.pictures import CONVERT_LARGE, UnfitError

MAX_PAGES = 64  # that are looked at; slides have about 12
MAX_SIDE = 1 << 20  # pixels; the largest slides have about 300,000
PIECE_BYTES = 128 << 20  # the most that one strip or tile may unpack to
SURE_BYTES = 256 << 20  # what a deflated piece may unpack to without being measured first
NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
JPEG2000 = (33005, 34712)  # 33003 is YCbCr, which its decoder does not know
PLAIN = (NONE, DEFLATE, OLD_DEFLATE, PACKBITS)  # what tifffile reads by itself
READABLE = (*PLAIN, LZW, JPEG, *JPEG2000)
BLACK_IS_0, WHITE_IS_0, RGB, PALETTE, CMYK, YCBCR = 1, 0, 2, 3, 5, 6


def first_pages(tif: Any) -> list[Any]:
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


def reduced_pages(first: Any, pages: list[Any]) -> list[Any]:
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


def page_colours(page: Any) -> Colours:
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


def check_pieces(page: Any, size: int) -> None:
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
    if packing != NONE and unpacked_bytes(page) > PIECE_BYTES:
        raise UnfitError(
            f"one packed piece of {page.imagewidth:,} pixels by {piece_shape(page)[0]:,} rows, "
            "which has to be unpacked as a whole",
            CONVERT_LARGE,
        )


def piece_shape(page: Any) -> tuple[int, int]:
    """Rows and columns of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def unpacked_bytes(page: Any) -> int:
    rows, columns = piece_shape(page)
    samples = page.samplesperpixel if int(page.planarconfig) == 1 else 1
    return rows * columns * samples * np.dtype(page.dtype).itemsize


def check_piece(page: Any, data: bytes) -> None:
    """Raises ValueError where a piece would unpack to far more than its pixels."""
    packing, expected = int(page.compression), unpacked_bytes(page)
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
    rows, columns = piece_shape(page)
    if not (0 < width <= columns + 16 and 0 < height <= rows + 16):
        raise ValueError(f"a piece of {width:,}x{height:,} instead of {columns}x{rows} pixels")
