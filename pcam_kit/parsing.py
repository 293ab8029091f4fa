"""Bytes from elsewhere: the one boundary between what libraries raise and this package's errors.

Every file, answer or name that this process did not write itself may be damaged, foreign or
hostile. It is parsed inside `parsing`, which turns whatever a library raises into a PcamError.
What a file declares is compared with a limit before anything is allocated. `printable` makes text
from elsewhere safe to show.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pcam_kit.errors import PcamError
from pcam_kit.text import printable as printable  # for those that parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

JSON_BYTES = 64 << 20  # the largest JSON file that is read: a manifest or ledger has a few MB
NPZ_BYTES = 2 << 30  # the most that the arrays of one .npz may take
GZIP = b"\x1f\x8b"
HDF5 = b"\x89HDF\r\n\x1a\n"
BOLD = re.compile(r"\x1b\[[01]m")
CALLING = "Exception encountered when calling"
HEAD_BYTES = 512  # enough for `describe_bytes`
_BLOCK = 1 << 20

_RENAME = "rename it so that it ends in {}, or unpack it, then run the same command again"
_UNPACK = "unpack it, then run the same command again"
_AGAIN = "download the file again, in a browser that is signed in"
_CONVERT = "this is another kind of file: give the one that was published, or convert it"
# how files begin: bytes, their place, what it is, and what to do where another kind is expected
_KINDS: tuple[tuple[bytes, int, str, str], ...] = (
    (
        b"version https://git-lfs",
        0,
        "a git-lfs pointer: the file itself was not fetched",
        "run `git lfs pull` where it was cloned (needs git-lfs), then the same command again",
    ),
    (b"PK\x03\x04", 0, "a zip archive", _RENAME.format(".zip")),
    (b"PK\x05\x06", 0, "an empty zip archive", _AGAIN),
    (GZIP, 0, "a gzip file", _RENAME.format(".gz")),
    (b"BZh", 0, "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ\0", 0, "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", 0, "a zstd file", _UNPACK),
    (b"\x04\x22\x4d\x18", 0, "an lz4 file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", 0, "a RAR archive", _UNPACK),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (HDF5, 0, "an HDF5 file", _RENAME.format(".h5")),
    (b"\x93NUMPY", 0, "a NumPy array (.npy)", _CONVERT),
    (b"PAR1", 0, "a Parquet file", _CONVERT),
    (b"II*\0", 0, "a TIFF picture", _CONVERT),
    (b"MM\0*", 0, "a TIFF picture", _CONVERT),
    (b"II+\0", 0, "a BigTIFF picture", _CONVERT),
    (b"MM\0+", 0, "a BigTIFF picture", _CONVERT),
    (b"\x89PNG\r\n\x1a\n", 0, "a PNG picture", _CONVERT),
    (b"\xff\xd8\xff", 0, "a JPEG picture", _CONVERT),
    (b"GIF8", 0, "a GIF picture", _CONVERT),
    (b"WEBP", 8, "a WebP picture", _CONVERT),
    (b"BM", 0, "a BMP picture", _CONVERT),
    (b"\0\0\0\x0cjP  ", 0, "a JPEG 2000 picture", _CONVERT),
    (b"DICM", 128, "a DICOM picture", _CONVERT),
    (b"MATLAB ", 0, "a MATLAB file", _CONVERT),
    (b"SQLite format 3", 0, "an SQLite database", _CONVERT),
    (b"%PDF", 0, "a PDF document", _CONVERT),
    (b"\xd0\xcf\x11\xe0", 0, "an old Office document", _CONVERT),
    (b"\x80\x02", 0, "a Python pickle, which is never opened: it can run code", _CONVERT),
    (b"\x80\x03", 0, "a Python pickle, which is never opened: it can run code", _CONVERT),
    (b"\x80\x04", 0, "a Python pickle, which is never opened: it can run code", _CONVERT),
    (b"\x80\x05", 0, "a Python pickle, which is never opened: it can run code", _CONVERT),
    (b"\xff\xfe", 0, "UTF-16 text", "save it as UTF-8, then run the same command again"),
    (b"\xfe\xff", 0, "UTF-16 text", "save it as UTF-8, then run the same command again"),
)
_PAGE = re.compile(rb"<!doctype html|<html|<head|<body|<script", re.IGNORECASE)


@contextmanager
def parsing(to_error: Callable[[str], PcamError]) -> Generator[None]:
    """Turn what a library raises on bytes it cannot read into `to_error(reason)`.

    `reason` is one line for people. A PcamError, Ctrl-C, a full memory and an end of the process
    pass through. Inside belongs only the parsing: a fault of our own would be hidden, too.
    """
    try:
        yield
    except (PcamError, MemoryError):
        raise
    except Exception as error:
        raise to_error(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """What an error of a library says, as one printable line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case EOFError():
            return "it is cut short"
        case KeyError():
            return f"it has no {error}"  # a KeyError shows its key in quotes and escaped
        case _:
            # Keras writes in bold, and says first which layer was called, then what is wrong
            lines = [line.strip() for line in BOLD.sub("", str(error)).splitlines()]
            lines = [line for line in lines if line and not line.startswith(CALLING)]
            return printable(lines[0]) if lines else type(error).__name__


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for any text that is not JSON.

    Also for NaN and Infinity, which JSON does not have, and for what is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def read_json(path: Path, limit: int = JSON_BYTES) -> Any:
    """The JSON value in a file of at most `limit` bytes.

    Raises OSError when it cannot be opened, ValueError when it is too large or not JSON.
    """
    return parse_json(read_bytes(path, limit))


def read_bytes(path: Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises OSError when it cannot be opened, ValueError for more than `limit` bytes and for anything
    that is not a file: a pipe would wait for ever.
    """
    with open_regular(path) as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return data


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError, and ValueError for a pipe, device or socket."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a folder: OSError when opened
        raise ValueError("it is a pipe or a device, not a file")
    return open(path, "rb")


def open_own(path: Path, mode: Literal["a", "a+", "w", "r+"]) -> BinaryIO:
    """Open a file of this package for writing bytes, never through a link, never a pipe.

    A link that somebody else put there would have its target changed, and a pipe would wait for
    ever. Raises OSError.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    # Windows has no O_NOFOLLOW; elsewhere the reason is clearer than ELOOP's
    if path.is_symlink():
        raise OSError(f"{path} is a link, and nothing is written through links")
    if not is_plain(path):
        raise OSError(f"{path} is no ordinary file")
    return open(path, f"{mode}b", opener=opener)  # type: ignore[return-value]


def is_plain(path: Path) -> bool:
    """Is this an ordinary file, or nothing yet: no link, folder, pipe or device?"""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def gunzip(stream: BinaryIO, limit: int) -> bytes:
    """What a gzip stream unpacks to.

    Raises ValueError for more than `limit` bytes, and what `gzip` raises for damaged ones.
    """
    import gzip

    parts: list[bytes] = []
    size = 0
    with gzip.GzipFile(fileobj=stream) as source:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > limit:
                raise ValueError(f"it unpacks to more than {limit:,} bytes")
            parts.append(block)
    return b"".join(parts)


def read_npz(path: Path, limit: int = NPZ_BYTES) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file; `limit`: the most bytes that they may take.

    Raises ValueError, which says why the file cannot be read. What the file declares is checked
    before memory is allocated; objects, which would run code, are refused.
    """
    try:
        with open_regular(path) as handle, zipfile.ZipFile(handle) as archive:
            members = archive.infolist()
            declared = sum(info.file_size for info in members)
            if declared > limit:
                raise ValueError(f"its arrays take {declared:,} bytes: expected at most {limit:,}")
            arrays: dict[str, NDArray[Any]] = {}
            for info in members:
                name = info.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"{name!r} is in it twice")
                arrays[name] = _read_array(archive, info)
            return arrays
    except MemoryError:
        raise
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"it is no .npz file, or damaged: {_other_than_zip(path, error)}"
        ) from error
    except Exception as error:
        raise ValueError(reason_of(error)) from error


def _other_than_zip(path: Path, error: zipfile.BadZipFile) -> str:
    """What a file is that is no zip, or why a zip cannot be read."""
    with open_regular(path) as handle:
        kind = describe_bytes(handle.read(HEAD_BYTES))
    if kind and not kind.endswith("zip archive"):
        return f"found {kind}"
    return reason_of(error)


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array of an .npz. Raises ValueError when it is not what the member's size says."""
    import numpy as np
    from numpy.lib import format as npy

    with archive.open(info) as member:
        try:
            version = npy.read_magic(member)
            read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            if version not in read_header:
                raise ValueError(f"{info.filename} has version {version} of the format")
            shape, fortran, dtype = read_header[version](member)
        except zlib.error as error:
            raise ValueError(f"{info.filename} is damaged: {error}") from error
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects, not numbers or text")
        if dtype.names is not None:
            raise ValueError(f"{info.filename} holds records, not numbers or text")
        count = 1
        for side in shape:  # Python's numbers: NumPy's would overflow
            if side < 0:
                raise ValueError(f"{info.filename} has the shape {shape}")
            count *= side
        if member.tell() + count * dtype.itemsize != info.file_size:
            raise ValueError(f"{info.filename} holds another number of values than it declares")
        data = member.read()  # reads to the end, where the checksum is compared
    array = np.frombuffer(bytearray(data), dtype=dtype) if count and dtype.itemsize else None
    if array is None:
        return np.zeros(shape, dtype)
    # as numbers: Python itself cannot hold, or show, characters beyond the last
    if dtype.kind == "U" and array.view(f"{dtype.byteorder}u4").max() > sys.maxunicode:
        raise ValueError(f"{info.filename} holds text with characters that do not exist")
    return array.reshape(shape, order="F" if fortran else "C")


def describe_bytes(head: bytes) -> str:
    """What a file really is, by its first HEAD_BYTES bytes: "a zip archive", "a web page: 'Hi'".

    "" when that cannot be told. `advice_for` says what to do about it.
    """
    return _describe(head)[0]


def advice_for(head: bytes) -> str:
    """The hint for a file that is not what its name says, by its first bytes; "" for no better one.

    It belongs to what `describe_bytes` says of the same bytes.
    """
    return _describe(head)[1]


def _describe(head: bytes) -> tuple[str, str]:
    if not head:
        return "an empty file", _AGAIN
    if not head.strip(b"\0"):
        return "nothing but zeros, as an unfinished download leaves them", _AGAIN
    for start, place, what, advice in _KINDS:
        if head.startswith(start, place):
            return what, advice
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PAGE.match(text) or (text.startswith(b"<!--") and _PAGE.search(text)):
        title = re.search(rb"<title[^>]*>\s*([^<]{1,60})", text, re.IGNORECASE)
        return f"a web page{_quoted(title.group(1) if title else b'')}", _AGAIN
    if text.startswith(b"<?xml"):
        return f"the answer of a server (XML){_quoted(text[:60])}", _AGAIN
    if text.startswith((b"{", b"[")):
        return f"JSON text{_quoted(text[:60])}", _AGAIN
    try:
        words = text.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(text) - 3:  # not only the last character, which was cut
            return "", ""
        words = text[: error.start].decode("utf-8")
    if words and all(character.isprintable() or character in "\r\n\t" for character in words):
        return f"text{_quoted(text[:60])}", _AGAIN
    return "", ""


def _quoted(text: bytes) -> str:
    """`: 'the first line'`; nothing where there is no text."""
    words = " ".join(text.decode("utf-8", "replace").split())
    return f": {words!r}" if words else ""  # repr escapes what `printable` does
