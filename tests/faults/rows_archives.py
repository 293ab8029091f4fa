"""Faults of a whole competition that comes as one zip: 61 files, about 50 kB."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

from acts import fails
from rows import FINE, Act, Ends, Row
from world import World

# bytes; what unpacks to more than this, and to more than a hundred times its size, is refused
ZEROS = 65 << 20


def row(id: str, fault: str, arrange: Act, ends: Ends = FINE, **more: Any) -> Row:
    return Row(id, "archives", fault, arrange, ends, "tifs", mend=proper, **more)


def proper(world: World) -> None:
    world.competition.archive = None


def archive(make: Callable[[bytes], bytes]) -> Act:
    """Another archive, made of the proper one, with hashes that fit it."""

    def act(world: World) -> None:
        world.competition.archive = make(world.kaggle.content(world.competition, "")[0])

    return act


def more(
    name: str, data: bytes = b"evil", *, kind: int = stat.S_IFREG, method: int = zipfile.ZIP_STORED
) -> Act:
    """The archive with one more member."""

    def make(proper: bytes) -> bytes:
        buffer = io.BytesIO(proper)
        # of a name that is there twice
        with zipfile.ZipFile(buffer, "a") as made, warnings.catch_warnings(action="ignore"):
            info = zipfile.ZipInfo(
                "PLACE" + "x" * (len(name) - 5) if "\\" in name else name, (2024, 1, 2, 3, 4, 6)
            )
            info.external_attr = (kind | 0o644) << 16
            info.compress_type = method
            made.writestr(info, data)
        return buffer.getvalue().replace(info.filename.encode(), name.encode())

    return archive(make)


def bad_crc(proper: bytes) -> bytes:
    """One bit of the first member's packed bytes."""
    size, extra = struct.unpack("<HH", proper[26:30])
    at = 30 + size + extra + 40
    return proper[:at] + bytes([proper[at] ^ 1]) + proper[at + 1 :]


def huge_claim(proper: bytes) -> bytes:
    """The first member claims to unpack to 4 GB."""
    at = proper.index(b"PK\x01\x02")
    return proper[: at + 24] + struct.pack("<I", 0xFFFFFFF0) + proper[at + 28 :]


def encrypted(proper: bytes) -> bytes:
    """The first member claims to be encrypted."""
    at = proper.index(b"PK\x01\x02")
    return proper[: at + 8] + struct.pack("<H", 1) + proper[at + 10 :]


UNSAFE = Ends(3, ("not safe",))

ROWS = [
    row("zip-cut", "the zip is cut in the middle", fails("storage", truncate=20_000)),
    row(
        "zip-short",
        "half the zip, headers and hashes that agree with it, always",
        archive(lambda data: data[: len(data) // 2]),
        Ends(7),
    ),
    row(
        "zip-none",
        "something else than a zip, always",
        archive(lambda data: b"no zip" * 1000),
        Ends(7),
    ),
    row("zip-corrupt", "one byte differs from the md5 told, once", fails("storage", corrupt=True)),
    row(
        "zip-crc", "a member does not have its CRC, hashes agree, always", archive(bad_crc), Ends(7)
    ),
    row(
        "zip-bomb",
        "a bomb: a member that unpacks from 140 kB to 68 MB",
        more("train/a.bin", b"\0" * ZEROS, method=zipfile.ZIP_DEFLATED),
        Ends(3),
    ),
    row(
        "zip-claim", "a bomb: a member that claims to unpack to 4 GB", archive(huge_claim), Ends(3)
    ),
    row("zip-up", "a member ../../evil.tif", more("../../evil.tif"), UNSAFE),
    row("zip-root", "a member /tmp/evil.tif", more("/tmp/evil.tif"), UNSAFE),
    row("zip-drive", "a member C:/evil.tif", more("C:/evil.tif"), UNSAFE),
    row("zip-backslash", "a member ..\\..\\evil.tif", more("..\\..\\evil.tif"), UNSAFE),
    row(
        "zip-link",
        "a member that is a link to /etc/passwd",
        more("train/evil.tif", b"/etc/passwd", kind=stat.S_IFLNK),
        UNSAFE,
    ),
    row(
        "zip-twice",
        "a name that is there twice",
        more("train_labels.csv", b"id,class\n"),
        Ends(3, ("more than once",)),
    ),
    row("zip-encrypted", "an encrypted member", archive(encrypted), Ends(3)),
]
