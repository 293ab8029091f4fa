"""Pictures in files: checked before they are decoded, as OpenCV accepts damaged ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from pcam_kit.data.raw import Images
from pcam_kit.data.sources.files import RawFiles, read_file
from pcam_kit.data.sources.jpegs import check_jpeg, jpeg_size
from pcam_kit.data.sources.tiffs import check_pixels, is_tiff, plain_pixels, read_tiff
from pcam_kit.errors import DataError
from pcam_kit.parsing import HEAD_BYTES, advice_for, describe_bytes, printable, reason_of

PICTURE_BYTES = 16 << 20  # the most that the file of one patch may have; a published one has 28 kB
PNG = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 64 << 20
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
AGAIN = "download the file again"
CONVERT = (
    "convert all of them with ImageMagick: magick mogrify -depth 8 -type TrueColor -alpha off "
    "-compress None FOLDER/*.tif"
)
FIRST_PAGE = "keep the first page with ImageMagick: magick 'FILE.tif[0]' FILE.tif"


class _Other(ValueError):
    """What was found instead of the picture, and the hint that helps."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found)
        self.hint = hint


def decode(files: RawFiles, name: str, size: int, out: Images) -> None:
    """Decode one picture (TIFF, PNG or JPEG, by its bytes) to RGB in `out`: uint8 [size, size, 3].

    Raises DataError naming what was expected and found. What a file declares is compared before it
    is decoded.
    """
    data = read_file(files, name, PICTURE_BYTES)
    plain = plain_pixels(data, size)
    if plain is not None:
        out[:] = np.frombuffer(data, np.uint8, out.size, plain).reshape(out.shape)
        return
    expected = (
        f"{files.location}: {printable(name)}: expected a whole {size}x{size} 8-bit RGB image"
    )
    try:
        _check(data, size)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise _Other(f"{len(data):,} bytes that do not decode", AGAIN)
        height, width, channels = (*image.shape, 1)[:3]
        _compare(width, height, channels, str(image.dtype), size)
    except _Other as error:
        raise DataError(f"{expected}, found {error}", hint=error.hint) from error
    except MemoryError:
        raise
    except Exception as error:
        found = f"a damaged one: {reason_of(error)}"
        raise DataError(f"{expected}, found {found}", hint=AGAIN) from error
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=out)


def _check(data: bytes, size: int) -> None:
    """Check that the bytes are a whole picture of this size.

    Raises _Other for another one, and what the parsing raises for a damaged one.
    """
    if is_tiff(data):
        tiff = read_tiff(data)
        _compare(tiff.width, tiff.height, tiff.channels, tiff.numbers, size)
        if tiff.pages > 1:
            raise _Other("several pages", FIRST_PAGE)
        check_pixels(tiff, data)
    elif data.startswith(PNG):
        check_png(data, partial(_compare, size=size))
    elif data.startswith(b"\xff\xd8"):
        _compare(*jpeg_size(data), "uint8", size)
        check_jpeg(data, size, size)
    else:
        kind = describe_bytes(data[:HEAD_BYTES])
        raise _Other(
            kind or f"{len(data):,} bytes that do not decode",
            advice_for(data[:HEAD_BYTES]) or AGAIN,
        )


def _compare(width: int, height: int, channels: int, numbers: str, size: int) -> None:
    """Raises _Other when that is not `size` x `size` RGB in uint8."""
    if (width, height, channels, numbers) == (size, size, 3, "uint8"):
        return
    found = f"{width}x{height}, {channels} channels of {numbers}"
    raise _Other(found, CONVERT if (width, height) == (size, size) else "")


def check_png(data: bytes, compare: Callable[[int, int, int, str], None]) -> None:
    """Check that a PNG is whole: every part has its checksum, and the pixels have their length.

    compare: is given width, height, channels (of a palette 3) and the kind of numbers before any
    pixel is unpacked, and raises what it will. Raises ValueError, or what the parsing does, for a
    damaged one.
    """
    at, pixels = len(PNG), zlib.decompressobj()
    length, expected = 0, 0  # bytes of pixels; 0: not known
    kind = b""
    while kind != b"IEND":
        n, kind = struct.unpack_from(">I4s", data, at)
        part = data[at + 8 : at + 8 + n]
        (crc,) = struct.unpack_from(">I", data, at + 8 + n)
        if zlib.crc32(part, zlib.crc32(kind)) != crc:
            raise ValueError(f"its part {kind!r} does not have its checksum")
        if kind == b"IHDR":
            width, height, bits, colours, _, _, interlace = struct.unpack(">IIBBBBB", part)
            channels = PNG_CHANNELS.get(colours, 0)
            if not interlace:
                expected = (-(-width * channels * bits // 8) + 1) * height
            if colours == 3:  # colours from a palette
                channels, bits = 3, 8
            compare(width, height, channels, f"uint{bits}")
        elif kind == b"IDAT":
            length += len(pixels.decompress(part, max(expected + 1, MOST_PIXELS)))
        at += 12 + n
    if not pixels.eof or (expected and length != expected):
        raise ValueError(f"its pixels unpack to {length:,} bytes")
