"""JPEG data: the size that it declares, and whether its parts are all there."""

from __future__ import annotations

import struct

SIZES = (0xC0, 0xC1, 0xC2)  # markers of the part with the size: baseline, extended, progressive
SCAN, END = 0xDA, 0xD9
TABLES = (0xC4, 0xDB)  # Huffman and quantisation


def jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and channels. Raises ValueError, or what `struct` does, when damaged."""
    at, found = 2, None
    if data[:2] != b"\xff\xd8":
        raise ValueError("JPEG pixels without a beginning")
    while found is None:
        marker, length = _segment(data, at)
        if marker in SIZES:
            height, width, channels = struct.unpack_from(">HHB", data, at + 5)
            found = width, height, channels
        at += 2 + length
    return found


def check_jpeg(data: bytes, width: int, height: int, tables: bytes = b"") -> None:
    """Check the size and the parts of JPEG data.

    tables: those that a TIFF keeps elsewhere. Raises ValueError. Bits that were changed inside the
    pixels are not noticed.
    """
    found = jpeg_size(data)[:2]
    if found != (width, height):
        raise ValueError(f"JPEG pixels of {found[0]}x{found[1]} instead of {width}x{height}")
    at, scans = 2, 0
    known = {marker for marker in TABLES if bytes((0xFF, marker)) in tables}
    while True:
        marker, length = _segment(data, at)
        if marker == END:
            break
        at += 2 + length
        known.add(marker)
        if marker == SCAN:
            scans += 1
            at = _scan_end(data, at)
    if not scans or not known.issuperset(TABLES):
        raise ValueError("JPEG pixels without their tables")
    if data[at + 2 :].strip(b"\0\xff"):
        raise ValueError("JPEG pixels that end early")


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


def _scan_end(data: bytes, at: int) -> int:
    """Where the marker after the coded pixels is; those between are restarts, in their order."""
    expected = 0
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ValueError("JPEG pixels that are cut short")
        marker = data[at + 1]
        if marker == 0:
            at += 2
        elif 0xD0 <= marker <= 0xD7:
            if marker != 0xD0 + expected:
                raise ValueError(f"JPEG pixels with a part missing at {at:,}")
            expected = (expected + 1) % 8
            at += 2
        else:
            return at
