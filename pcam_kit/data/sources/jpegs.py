"""JPEG data: the size that it declares, and whether its pixels are all there.

OpenCV gives a picture with wrong or grey parts where JPEG pixels are damaged, without an error. So
the Huffman codes are counted: they must stand for as many blocks as the picture has, and end where
the data end. JPEG has no checksum: other codes of the same length for as many blocks are not
noticed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2  # markers of the part with the size
HUFFMAN, QUANTISATION, INTERVAL, SCAN, END = 0xC4, 0xDB, 0xDD, 0xDA, 0xD9
BLOCK_ENDS = 100  # in place of a step: the rest of the block is zeros
MAX_BLOCKS = 1 << 20
# for any next 16 bits: how many belong to the code and its value, and how many places it fills
Codes = tuple[list[int], list[int]]


def jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and channels. Raises ValueError, or what `struct` does, when damaged."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("JPEG pixels without a beginning")
    at = 2
    while True:
        marker, length = _segment(data, at)
        if marker in (BASELINE, EXTENDED, PROGRESSIVE):
            height, width, channels = struct.unpack_from(">HHB", data, at + 5)
            return width, height, channels
        if marker in (SCAN, END):
            raise ValueError("JPEG pixels without a size")
        at += 2 + length


@dataclass
class _Parts:
    """What was read of the parts before the pixels."""

    size: tuple[int, int] = (0, 0)  # width, height
    progressive: bool = False
    # of each component its number of blocks across and down in a unit
    components: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    tables: dict[int, bytes] = field(default_factory=dict[int, bytes])  # counts and symbols
    quantised: bool = False
    interval: int = 0  # units between restarts; 0: there are none

    def read(self, marker: int, part: bytes) -> None:
        """Take in one part."""
        if marker in (BASELINE, EXTENDED, PROGRESSIVE):
            height, width, n = struct.unpack_from(">xHHB", part)
            self.size, self.progressive = (width, height), marker == PROGRESSIVE
            for i in range(n):
                name, sampling = part[6 + 3 * i], part[7 + 3 * i]
                self.components[name] = sampling >> 4, sampling & 15
            if not all(0 < side < 5 for pair in self.components.values() for side in pair):
                raise ValueError("JPEG pixels with an impossible sampling")
        elif marker == HUFFMAN:
            at = 0
            while at < len(part):
                symbols = sum(part[at + 1 : at + 17])
                self.tables[part[at]] = part[at + 1 : at + 17 + symbols]
                at += 17 + symbols
        elif marker == QUANTISATION:
            self.quantised = True
        elif marker == INTERVAL:
            (self.interval,) = struct.unpack(">H", part)
        elif 0xC3 <= marker <= 0xCF:
            raise ValueError("JPEG pixels of a rare kind (arithmetic, lossless)")


def check_jpeg(data: bytes, width: int, height: int, tables: bytes = b"") -> None:
    """Check the size and the pixels of JPEG data.

    tables: those that a TIFF keeps elsewhere. Raises ValueError, IndexError, or what `struct` does.
    """
    parts, scans = _Parts(), 0
    for source in (tables, data):
        at = 2
        while at < len(source):
            marker, length = _segment(source, at)
            if marker == END:
                break
            part = source[at + 4 : at + 2 + length]
            at += 2 + length
            parts.read(marker, part)
            if marker == SCAN:
                if parts.size != (width, height):
                    raise ValueError(f"JPEG pixels of {parts.size} instead of {width}x{height}")
                pieces, at = _scan(source, at)
                scans += 1
                if not parts.progressive:
                    _count_blocks(parts, part, pieces)
        else:
            if source is data:
                raise ValueError("JPEG pixels without an end")
    if not scans or not parts.quantised:
        raise ValueError("JPEG pixels without a scan or tables")


def _segment(data: bytes, at: int) -> tuple[int, int]:
    """Marker and length of the part at `at`; a length of 0 for the end."""
    while data[at : at + 2] == b"\xff\xff":  # filling
        at += 1
    if at + 2 > len(data) or data[at] != 0xFF:
        raise ValueError(f"JPEG pixels that are damaged or cut short at {at:,}")
    marker = data[at + 1]
    if marker == END:
        return marker, 0
    (length,) = struct.unpack_from(">H", data, at + 2)
    if length < 2 or at + 2 + length > len(data):
        raise ValueError(f"JPEG pixels that are damaged or cut short at {at:,}")
    return marker, length


def _scan(data: bytes, at: int) -> tuple[list[bytes], int]:
    """The coded pixels between restarts, and where the next part is."""
    pieces: list[bytes] = []
    start = at
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ValueError("JPEG pixels that are cut short")
        marker = data[at + 1]
        if marker == 0:
            at += 2
            continue
        pieces.append(data[start:at].replace(b"\xff\0", b"\xff"))
        if not 0xD0 <= marker <= 0xD7:
            return pieces, at
        if marker != 0xD0 + (len(pieces) - 1) % 8:
            raise ValueError(f"JPEG pixels with a part missing at {at:,}")
        at += 2
        start = at


def _count_blocks(parts: _Parts, scan: bytes, pieces: list[bytes]) -> None:
    """Check that the codes of one scan stand for all its blocks, and nothing is left."""
    chosen = {scan[1 + 2 * i]: scan[2 + 2 * i] for i in range(scan[0])}
    across, down = (max(pair[i] for pair in parts.components.values()) for i in (0, 1))
    width, height = parts.size
    unit: list[tuple[Codes, Codes]] = []
    for name, number in chosen.items():
        first, others = parts.tables[number >> 4], parts.tables[16 + number % 16]
        tables = _codes(first, True), _codes(others, False)
        own = parts.components[name]
        # alone in a scan, a component's blocks come one by one
        unit += [tables] * (1 if len(chosen) == 1 else own[0] * own[1])
    if len(chosen) == 1:
        (own,) = (parts.components[name] for name in chosen)
        sides = -(-width * own[0] // (8 * across)), -(-height * own[1] // (8 * down))
    else:
        sides = -(-width // (8 * across)), -(-height // (8 * down))
    left = sides[0] * sides[1]
    if left * len(unit) > MAX_BLOCKS:
        raise ValueError("JPEG pixels in too many blocks")
    for piece in pieces:
        units = min(left, parts.interval or left)
        bits = _read_units(piece, unit, units)
        if not 0 <= 8 * len(piece) - bits < 8 or (not units and piece):
            raise ValueError("JPEG pixels that are damaged: they end early or late")
        left -= units
    if left:
        raise ValueError("JPEG pixels that are cut short")


def _read_units(piece: bytes, unit: list[tuple[Codes, Codes]], n: int) -> int:
    """The bits that the codes of `n` units take."""
    data = np.frombuffer(piece + b"\xff" * 4, np.uint8).astype(np.uint32)
    words = (data[:-2] << 16) | (data[1:-1] << 8) | data[2:]
    # the 16 bits from every place on
    windows: list[int] = ((words[:, None] >> np.arange(8, 0, -1)) & 0xFFFF).ravel().tolist()
    at = 0
    for _ in range(n):
        for (first, _), (bits, steps) in unit:
            at += first[windows[at]]
            k = 1
            while k < 64:
                following = windows[at]
                at += bits[following]
                k += steps[following]
            if 64 < k < BLOCK_ENDS:
                raise ValueError("JPEG pixels that are damaged: a block has too many values")
    return at


@lru_cache(64)
def _codes(counts_and_symbols: bytes, first: bool) -> Codes:
    """A table of codes, spread over all bits that may follow one.

    first: of a block's first value. Bits that are no code lead out of the data, where reading
    raises an IndexError. Raises ValueError for a table that cannot be.
    """
    bits, steps = [1 << 40] * (1 << 16), [1] * (1 << 16)
    at, code = 16, 0
    for length in range(1, 17):
        for _ in range(counts_and_symbols[length - 1]):
            symbol = counts_and_symbols[at]
            at += 1
            run, size = (0, symbol) if first else (symbol >> 4, symbol & 15)
            start, end = code << (16 - length), (code + 1) << (16 - length)
            if end > 1 << 16:
                raise ValueError("JPEG pixels with a damaged table of codes")
            bits[start:end] = [length + size] * (end - start)
            steps[start:end] = [run + 1 if size or run == 15 else BLOCK_ENDS] * (end - start)
            code += 1
        code <<= 1
    return bits, steps
