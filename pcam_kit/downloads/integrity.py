"""Checks that downloaded bytes are those that the server has.

By published or announced hashes and zip checksums; also unpacks the zip that Kaggle may wrap a
file in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import google_crc32c

from pcam_kit.errors import PcamError
from pcam_kit.files import writing
from pcam_kit.parsing import reason_of

BLOCK = 1 << 20  # bytes read at a time

ByteProgress = Callable[[int, int], None]  # bytes checked, total bytes


def announced_hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """The header `x-goog-hash: crc32c=BASE64,md5=BASE64` as {"crc32c": hex, "md5": hex}.

    Empty if absent, unreadable, or of the object before the storage unpacked it.
    """
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return {}
    hashes: dict[str, str] = {}
    header = headers.get("x-goog-hash", "")
    for name, size in (("crc32c", 4), ("md5", 16)):
        match = re.search(rf"(?:^|[,\s]){name}=([A-Za-z0-9+/]+=*)", header)
        if match is None:
            continue
        try:
            value = base64.b64decode(match.group(1), validate=True)
        except binascii.Error:
            continue
        if len(value) == size:
            hashes[name] = value.hex()
    return hashes


def compare_hashes(
    path: Path, expected: Mapping[str, str], progress: ByteProgress
) -> tuple[str, str]:
    """How an expected hash differs, "" when none does; and the file's CRC-32C in hex.

    The first is `md5: expected HEX, found HEX`. The file is read once. When an md5 is expected, a
    crc32c adds nothing and is not compared.
    """
    crc, md5 = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False)
    digests: list[Any] = [crc, md5] if "md5" in expected else [crc]
    total, done = path.stat().st_size, 0
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            for digest in digests:
                digest.update(block)
            done += len(block)
            progress(done, total)
    crc_hex = crc.digest().hex()
    name, found = ("md5", md5.hexdigest()) if "md5" in expected else ("crc32c", crc_hex)
    wanted = expected.get(name, found)
    return ("" if wanted == found else f"{name}: expected {wanted}, found {found}"), crc_hex


def crc32c(path: Path, progress: ByteProgress) -> str:
    """The CRC-32C of a file in hex, at the speed of the disk."""
    return compare_hashes(path, {}, progress)[1]


def zip_fault(path: Path, progress: ByteProgress) -> str:
    """Why `path` is not a complete zip; "" when it is one.

    Every member is read and compared to its CRC. The caller has checked that it is safe to read.
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
                progress(done, packed)
    except Exception as error:
        if not is_broken_zip(error):
            raise
        return reason_of(error)
    return ""


def is_broken_zip(error: Exception) -> bool:
    """Does the error of a library mean that a zip is damaged?

    Not one of this package, and not one of the disk: those have a number.
    """
    return not isinstance(error, PcamError) and not (isinstance(error, OSError) and error.errno)


def is_zip(path: Path) -> bool:
    """Can the directory of the archive be read, and is it not empty?"""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.infolist())
    except Exception as error:
        if not is_broken_zip(error):
            raise
        return False


def unwrap(part: Path, name: str, size: int, destination: Path) -> bool:
    """Unpack the file `name` from the zip that Kaggle put it in; False if `part` is no such zip.

    size: in bytes, 0 when unknown. Raises StorageError when `destination` cannot be written, and
    what zipfile raises (see `is_broken_zip`) when the zip is damaged.
    """
    if PurePosixPath(name).suffix.lower() == ".zip" or not is_zip(part):
        return False
    with zipfile.ZipFile(part) as archive:
        members = [m for m in archive.infolist() if not m.filename.endswith("/")]
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
