"""Are the bytes that arrived the bytes that Kaggle has?

Announced hashes, zip checksums, and the zip that Kaggle may wrap a file in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import google_crc32c

from pcam_kit.files import writing

BLOCK = 1 << 20  # bytes read at a time
# NotImplementedError is a RuntimeError
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError)

Tell = Callable[[int, int], None]  # bytes checked, bytes in all


def announced_hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """`x-goog-hash: crc32c=BASE64,md5=BASE64` as {"crc32c": hex, "md5": hex}.

    Empty if absent, unreadable, or of the object before the storage unpacked it.
    """
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return {}
    found: dict[str, str] = {}
    for name, size in (("crc32c", 4), ("md5", 16)):
        match = re.search(rf"(?:^|[,\s]){name}=([A-Za-z0-9+/]+=*)", headers.get("x-goog-hash", ""))
        if match is not None:
            try:
                value = base64.b64decode(match.group(1), validate=True)
            except binascii.Error:
                continue
            if len(value) == size:
                found[name] = value.hex()
    return found


def compare(path: Path, expected: Mapping[str, str], tell: Tell) -> tuple[str, str]:
    """The name of an announced hash that differs, "" when none does; and the CRC-32C of the file in
    hex. Reads it once.

    Beside an md5 an announced crc32c has nothing to add, and is not compared.
    """
    crc, md5 = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False)
    digests: list[Any] = [crc, md5] if "md5" in expected else [crc]
    total, done = path.stat().st_size, 0
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            for digest in digests:
                digest.update(block)
            done += len(block)
            tell(done, total)
    found = crc.digest().hex()
    if "md5" in expected:
        return ("" if md5.hexdigest() == expected["md5"] else "md5"), found
    return ("" if expected.get("crc32c", found) == found else "crc32c"), found


def crc32c(path: Path, tell: Tell) -> str:
    """The CRC-32C of a file in hex, at the speed of the disk."""
    return compare(path, {}, tell)[1]


def zip_fault(path: Path, tell: Tell) -> str:
    """Why `path` is not a whole zip, every member read and compared to its CRC; "" when it is one.

    Whether it is safe was asked before.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = sum(member.compress_size for member in members)
            done = 0
            for member in members:
                with archive.open(member) as stream:
                    while stream.read(BLOCK):
                        pass
                done += member.compress_size
                tell(done, packed)
    except BROKEN_ZIP as error:
        return str(error) or type(error).__name__
    return ""


def is_zip(path: Path) -> bool:
    """Can its directory be read?"""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.infolist())
    except BROKEN_ZIP:
        return False


def unwrap(part: Path, name: str, size: int, destination: Path) -> bool:
    """Take the file `name` of `size` bytes (0: not known) out of the zip that Kaggle put it in;
    False if the part is no such zip.

    Raises one of BROKEN_ZIP when it is damaged, StorageError when `destination` cannot be written.
    """
    if PurePosixPath(name).suffix.lower() == ".zip" or not is_zip(part):
        return False
    with zipfile.ZipFile(part) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1 or size not in {0, members[0].file_size}:
            return False
        if PurePosixPath(members[0].filename).name != PurePosixPath(name).name:
            return False
        with (
            writing(destination) as temporary,
            archive.open(members[0]) as wrapped,
            open(temporary, "wb") as plain,
        ):
            shutil.copyfileobj(wrapped, plain, BLOCK)  # checks the CRC at the end
    return True
