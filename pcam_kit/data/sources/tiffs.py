"""TIFF files: what one declares, and whether its pixels are all there.

OpenCV gives a picture with missing or wrong rows where compressed pixels are damaged, without an
error. So the lengths to which strips and tiles unpack are compared with those declared. What
cannot be noticed: other bytes of the same length, in pixels without a checksum (all compressions
but Deflate).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pcam_kit.data.sources.jpegs import check_jpeg

Tags = dict[int, tuple[int, ...]]

WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS = 256, 257, 258, 259, 262
OFFSETS, CHANNELS, ROWS, COUNTS, PLANES = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, NUMBERS, JPEG_TABLES = (
    322,
    323,
    324,
    325,
    339,
    347,
)
RGB = 2  # of COLOURS
HEADER = 8  # bytes before all else
MOST_AROUND = 4096  # bytes around the pixels; those of Kaggle's files are 287
# the kind of page, texts and the resolution: they change no pixel
HARMLESS = {254, 269, 270, 271, 272, 282, 283, 296, 305, 306, 315}
SHAPE = {WIDTH, HEIGHT, BITS, CHANNELS, NUMBERS}
PLACE = {COMPRESSION, COLOURS, OFFSETS, ROWS, COUNTS, PLANES}
PLAIN_TAGS = HARMLESS | SHAPE | PLACE
NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
OTHERS = {
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    6: "old JPEG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
# bytes of a value, by the type of a tag
SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
UNSIGNED = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}
MAX_TAGS = 1000
CLEAR, END = 256, 257  # codes of LZW
# the bit at which each code begins, from the one after CLEAR on: codes grow from 9 to 12 bits
_WIDTHS = np.repeat([9, 10, 11, 12], [254, 512, 1024, 2400])
_STARTS = np.concatenate([[0], np.cumsum(_WIDTHS)[:-1]])


@dataclass(frozen=True)
class Tiff:
    """What a TIFF declares of its first page.

    numbers: the kind of its values, e.g. "uint8". pages: 1, or 2 for more than one.
    """

    width: int
    height: int
    channels: int
    numbers: str
    pages: int
    tags: Tags


def is_tiff(data: bytes) -> bool:
    """Do the bytes begin as TIFF or BigTIFF?"""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(data: bytes) -> Tiff:
    """What a TIFF declares. Raises ValueError, or what `struct` does, for a damaged one."""
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    place, entry, count = ("Q", "HHQ", "Q") if big else ("I", "HHI", "H")
    (start,) = struct.unpack_from(order + place, data, 8 if big else 4)
    (n,) = struct.unpack_from(order + count, data, start)
    if n > MAX_TAGS:
        raise ValueError(f"it has {n:,} tags")
    start += struct.calcsize(order + count)
    head, inline = struct.calcsize(order + entry), struct.calcsize(order + place)
    tags: Tags = {}
    for at in range(start, start + n * (head + inline), head + inline):
        tag, kind, values = struct.unpack_from(order + entry, data, at)
        if kind not in UNSIGNED:
            continue
        size = values * SIZES[kind]
        if size > len(data):
            raise ValueError(f"tag {tag} declares {values:,} values")
        where = at + head
        if size > inline:
            (where,) = struct.unpack_from(order + place, data, where)
        tags[tag] = struct.unpack_from(f"{order}{values}{UNSIGNED[kind]}", data, where)
    (following,) = struct.unpack_from(order + place, data, start + n * (head + inline))
    channels = _one(tags, CHANNELS, 1)
    bits = tags.get(BITS, (1,))
    kind = {1: "uint", 2: "int", 3: "float"}.get(_one(tags, NUMBERS, 1), "number")
    return Tiff(
        _one(tags, WIDTH),
        _one(tags, HEIGHT),
        channels,
        f"{kind}{max(bits, default=1)}",
        2 if following else 1,
        tags,
    )


def plain_pixels(data: bytes, size: int) -> int | None:
    """Where the pixels of an uncompressed TIFF begin, `size` x `size` x RGB, one row after another.

    None for all others. The files of one program differ only in their pixels, so what surrounds
    these is looked through once.
    """
    pixels = 3 * size**2
    around = len(data) - pixels
    if not HEADER < around <= MOST_AROUND or not is_tiff(data):
        return None
    directory = int.from_bytes(data[4:HEADER], "little" if data[:1] == b"I" else "big")
    before = around if directory < around else HEADER
    fits = _declares_plain(data[:before], data[before + pixels :], size)
    return before if fits else None


@lru_cache(maxsize=256)
def _declares_plain(before: bytes, after: bytes, size: int) -> bool:
    """Whether these bytes around the pixels say that the pixels are there, and plain.

    In place of the pixels there are zeros: no valid value of a tag can lie among them.
    """
    try:
        tiff = read_tiff(before + bytes(3 * size**2) + after)
        tags = tiff.tags
        rows = min(_one(tags, ROWS, size), size)
    except (ValueError, struct.error):
        return False
    if not set(tags) <= PLAIN_TAGS or rows < 1:
        return False
    strips = [3 * size * min(rows, size - top) for top in range(0, size, rows)]
    starts = [len(before) + 3 * size * top for top in range(0, size, rows)]
    declared = (tiff.width, tiff.height, tiff.channels, tiff.numbers, tiff.pages)
    return (
        declared == (size, size, 3, "uint8", 1)
        and tags.get(BITS) == (8, 8, 8)
        and _one(tags, COMPRESSION, NONE) == NONE
        and _one(tags, COLOURS, 0) == RGB
        and _one(tags, PLANES, 1) == 1
        and list(tags.get(OFFSETS, ())) == starts
        and list(tags.get(COUNTS, ())) == strips
    )


def _one(tags: Tags, tag: int, otherwise: int | None = None) -> int:
    """The first value of a tag. Raises ValueError for a missing one without `otherwise`."""
    values = tags.get(tag) or (() if otherwise is None else (otherwise,))
    if not values:
        raise ValueError(f"it has no tag {tag}")
    return values[0]


def check_pixels(tiff: Tiff, data: bytes) -> None:
    """Check that every strip or tile is in the file and unpacks to its size.

    Raises ValueError, or what the unpacking does. The caller has compared the sizes of the picture.
    """
    tags = tiff.tags
    packing = _one(tags, COMPRESSION, NONE)
    if packing not in (NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS):
        raise ValueError(f"pixels packed with {OTHERS.get(packing, f'method {packing}')}")
    if _one(tags, COLOURS, 2) == 6 and packing != JPEG:
        raise ValueError("pixels in YCbCr without JPEG")
    planes = tiff.channels if _one(tags, PLANES, 1) == 2 else 1
    each = tags.get(BITS, (1,))
    bits = (sum(each) if len(each) == tiff.channels else each[0] * tiff.channels) // planes
    if TILE_OFFSETS in tags:
        width, height = _one(tags, TILE_WIDTH), _one(tags, TILE_HEIGHT)
        if not 0 < width * height <= 1 << 24:
            raise ValueError(f"tiles of {width}x{height}")
        across, down = -(-tiff.width // width), -(-tiff.height // height)
        rows = [height] * (across * down * planes)
        offsets, counts = tags[TILE_OFFSETS], tags.get(TILE_COUNTS, ())
    else:
        width, height = tiff.width, min(_one(tags, ROWS, tiff.height), tiff.height)
        if height < 1:
            raise ValueError("strips without rows")
        full, rest = divmod(tiff.height, height)
        rows = ([height] * full + [rest] * (rest > 0)) * planes
        offsets, counts = tags.get(OFFSETS, ()), tags.get(COUNTS, ())
    if not len(rows) == len(offsets) == len(counts):
        raise ValueError(f"{len(offsets)} pieces with {len(counts)} sizes, instead of {len(rows)}")
    line = -(-width * bits // 8)
    tables = bytes(tags.get(JPEG_TABLES, ()))
    for n, offset, count in zip(rows, offsets, counts, strict=True):
        piece = data[offset : offset + count]
        if len(piece) < count or not count:
            raise ValueError(f"{len(piece):,} of {count:,} bytes of pixels at {offset:,}")
        if packing == JPEG:
            check_jpeg(piece, width, n, tables)
            continue
        size = _unpacked(packing, piece, n * line)
        if size != n * line:
            raise ValueError(f"pixels that unpack to {size:,} of {n * line:,} bytes")


def _unpacked(packing: int, piece: bytes, size: int) -> int:
    """The bytes that a strip unpacks to; at most a few more than `size`."""
    match packing:
        case 5:
            return _lzw_length(piece, size)
        case 8 | 32946:
            unpacker = zlib.decompressobj()
            length = len(unpacker.decompress(piece, size + 1))
            # the end of it is a checksum of the pixels
            return length if unpacker.eof or length > size else -1
        case 32773:
            return _packbits_length(piece, size)
        case _:
            return min(len(piece), size)  # some programs write longer strips


def _packbits_length(piece: bytes, size: int) -> int:
    length = at = 0
    while at < len(piece) and length < size:
        count = piece[at]
        if count < 128:
            length += count + 1
            at += count + 2
        else:
            length += (257 - count) % 129
            at += 2 if count > 128 else 1
    return length if at == len(piece) or len(piece) - at == 1 else -1


def _lzw_length(piece: bytes, size: int) -> int:
    """The bytes that LZW codes stand for; -1 when they do not end where the pixels do.

    Between two CLEARs the place of every code is known, so all of them are read at once. A code
    stands for one byte more than the code before the one that made its entry.
    """
    data = np.frombuffer(piece + bytes(4), np.uint8).astype(np.int64)
    length, bit = 0, 0
    while bit + 9 <= 8 * len(piece):
        starts = bit + _STARTS
        starts = starts[starts + _WIDTHS <= 8 * len(piece)]
        widths, at = _WIDTHS[: len(starts)], starts >> 3
        word = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
        codes = (word >> (24 - (starts & 7) - widths)) & ((1 << widths) - 1)
        ends = np.flatnonzero((codes == CLEAR) | (codes == END))
        if not len(ends):
            return -1
        end = int(ends[0])
        lengths = _code_lengths(codes[:end])
        if lengths is None:
            return -1
        length += int(lengths.sum())
        bit = int(starts[end] + widths[end])
        if codes[end] == END:
            return length if -(-bit // 8) >= len(piece) - 1 else -1
        if length > size:
            return length
    return -1


def _code_lengths(codes: np.ndarray) -> np.ndarray | None:
    """How many bytes each code stands for; None when one has no entry yet."""
    parents = codes - 258  # the code whose entry it is, continued by the next one
    order = np.arange(len(codes))
    if (parents >= order).any():
        return None
    known = codes < 256
    lengths = np.where(known, 1, 0)
    pointers = np.where(known, order, parents)
    steps = np.where(known, 0, 1)
    while True:
        following = pointers[pointers]
        if (following == pointers).all():
            return lengths[pointers] + steps
        steps = steps + steps[pointers]
        pointers = following
