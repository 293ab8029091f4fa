"""Zip archives: checked for safety before any of their contents are used, and unpacked."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pcam_kit.errors import DataError, StorageError
from pcam_kit.files import PARTIAL, check_space, move, storage_error, sync_folder
from pcam_kit.formatting import few
from pcam_kit.names import unsafe_name
from pcam_kit.parsing import (
    HEAD_BYTES,
    advice_for,
    describe_bytes,
    open_regular,
    parsing,
    reason_of,
)
from pcam_kit.progress import Progress

MAX_RATIO = 100  # unpacked : packed; it is between 1 and 3 for patches and HDF5 files
FREE_BYTES = 64 << 20  # no ratio is too high for archives that unpack to less
MAX_MEMBERS = 2_000_000  # seven times those of the largest competition
BY_HAND = (
    "get the archive from its own page again; if it is the same there, look at it, unpack "
    "it by hand and use --from FOLDER"
)
UNPACK = "unpack it by hand with {}, then use --from FOLDER"
# ways of packing that Python has no program for, by their number
METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    10: "PKWARE Implode",
    20: "Zstandard",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
COPY_BYTES = 1 << 20
MANY = 1000
BLOCK_BYTES = 4096  # space that each file may waste on its disk


def check_zip(path: Path, *, name: str) -> None:
    """Raises DataError, about `name`, when the archive is not safe to read: see `open_zip`."""
    archive, _ = open_zip(path, name)
    archive.close()


def open_zip(path: Path, name: str = "") -> tuple[zipfile.ZipFile, dict[str, int]]:
    """The archive, and the sizes of its members without folders.

    `name`: how messages name it, its path by default. Raises DataError for a file that is no zip or
    cut short, and for members that no honest archive of patches has: absolute names, `..`,
    backslashes, drive letters, links and devices, repeated names, a file where a folder is,
    encryption, a packing that cannot be undone, an absurd number or unpacked size.
    """
    label = name or str(path)
    head = b""
    archive: zipfile.ZipFile | None = None
    try:
        with open_regular(path) as handle:
            head = handle.read(HEAD_BYTES)
        archive = zipfile.ZipFile(path)
        sizes = _safe_sizes(archive, label, path.stat().st_size)
        _compare_headers(archive, sizes)
        return archive, sizes
    except BaseException as error:
        if archive is not None:
            archive.close()
        if isinstance(error, (DataError, MemoryError)) or not isinstance(error, Exception):
            raise
        raise _unreadable(label, head, error) from error


def _unreadable(label: str, head: bytes, error: Exception) -> DataError:
    """The error for a file that is no zip, or a damaged one; it says what else it is."""
    kind = describe_bytes(head) if head else ""
    if kind and not kind.endswith("zip archive"):
        return DataError(f"{label} cannot be read as a zip: it is {kind}", hint=advice_for(head))
    return DataError(
        f"{label} cannot be read as a zip: {reason_of(error)}",
        hint="it may be cut short: download it again",
    )


def _safe_sizes(archive: zipfile.ZipFile, label: str, packed: int) -> dict[str, int]:
    """The sizes of the files in an archive of `packed` bytes. Raises DataError for unsafe ones."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise DataError(
            f"{label} holds {len(members):,} files: expected at most {MAX_MEMBERS:,}", hint=BY_HAND
        )
    faults = [f"{info.orig_filename!r} ({why})" for info in members if (why := _fault(info))]
    if faults:
        raise DataError(f"{label} is not safe to read: {few(faults, len(faults))}", hint=BY_HAND)
    _check_methods(members, label)
    files = [info for info in members if not _is_folder(info)]
    _check_places([info.filename for info in files], label)
    sizes = {info.filename: info.file_size for info in files}
    if len(sizes) < len(files):
        counts = Counter(info.filename for info in files)
        repeated = [name for name, count in counts.items() if count > 1]
        raise DataError(
            f"{label}: {len(files) - len(sizes)} names are there more than once: "
            f"{few(repeated, len(repeated))}",
            hint=BY_HAND,
        )
    total = sum(sizes.values())
    if total > max(FREE_BYTES, MAX_RATIO * packed):
        raise DataError(
            f"{label} would unpack from {packed:,} to {total:,} bytes: expected at most "
            f"{MAX_RATIO} times its size",
            hint=BY_HAND,
        )
    return sizes


def unpack_zip(path: Path, destination: Path, progress: Progress) -> bool:
    """Unpack a safe zip into the new folder `destination`, all or nothing.

    False when its members are in `destination` already. Raises DataError as `open_zip` does and for
    a wrong CRC, StorageError for a full disk or a `destination` that holds something else.
    """
    archive, sizes = open_zip(path)
    with archive:
        if destination.exists():
            if _all_unpacked(destination, sizes):
                return False
            raise StorageError(
                f"{destination} does not hold the files of {path.name}",
                hint=f"move {destination} away, then run it again",
            )
        check_space(destination.parent, sum(sizes.values()) + BLOCK_BYTES * len(sizes))
        partial = destination.with_name(f"{PARTIAL}{secrets.token_hex(4)}.{destination.name}")
        try:
            _unpack_members(archive, sizes, partial, progress)
            _sync_disks()
            move(partial, destination)
            sync_folder(destination.parent)
        except OSError as error:
            raise storage_error(error, destination) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return True


def _sync_disks() -> None:
    """Fsync all files at once, not each of 277,000; nothing on Windows, which cannot do that."""
    sync = getattr(os, "sync", None)
    if sync is not None:
        sync()


def _all_unpacked(folder: Path, sizes: dict[str, int]) -> bool:
    paths = {folder / name: size for name, size in sizes.items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def _unpack_members(
    archive: zipfile.ZipFile, sizes: dict[str, int], folder: Path, progress: Progress
) -> None:
    done, total = 0, sum(sizes.values())

    def fault(reason: str) -> DataError:
        return DataError(
            f"{archive.filename} cannot be unpacked: {reason}",
            hint="it is damaged: download it again",
        )

    for name, size in sizes.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as plain:
            with parsing(fault):
                packed = archive.open(name)
            with packed:
                while True:
                    with parsing(fault):
                        block = packed.read(COPY_BYTES)
                    if not block:
                        break
                    plain.write(block)
        done += size
        progress("unpacking", done, total)


def _fault(info: zipfile.ZipInfo) -> str:
    """Why a member is not safe to unpack; empty if it is."""
    name = info.orig_filename
    why = unsafe_name(name.rstrip("/") if _is_folder(info) else name)
    if why:
        return why
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    return ""


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """As `info.is_dir()`, which fails for an empty name."""
    return info.filename.endswith("/")


def _compare_headers(archive: zipfile.ZipFile, sizes: dict[str, int]) -> None:
    """Compare the names in the directory with those before the members.

    A table whose name was damaged would be overlooked. Of many files of one kind, which are all
    read later, only the others are compared. Raises what zipfile does.
    """
    kinds = Counter(name.rpartition(".")[2] for name in sizes)
    compared = [name for name in sizes if kinds[name.rpartition(".")[2]] <= MANY]
    for name in compared:
        archive.open(name).close()


def _check_methods(members: Sequence[zipfile.ZipInfo], label: str) -> None:
    """Raises DataError for members that are encrypted, or packed in a way that cannot be undone."""
    for info in members:
        if info.flag_bits & 0x1:
            raise DataError(
                f"{label} is not safe to read: {info.filename!r} (encrypted)",
                hint=UNPACK.format("its password"),
            )
        if info.compress_type not in READABLE:
            method = METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise DataError(
                f"{label} cannot be read: {info.filename!r} is packed with {method}: expected "
                "Deflate or no packing",
                hint=UNPACK.format("7-Zip"),
            )


def _check_places(names: Sequence[str], label: str) -> None:
    """Raises DataError for names that cannot lie in one folder on every system.

    That is a file where others have a folder, or names that differ in upper and lower case only.
    """
    folded = {name.casefold(): name for name in names}
    for name in names:
        other = folded[name.casefold()]
        parts = name.casefold().split("/")[:-1]
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        other = next((folded[folder] for folder in above if folder in folded), other)
        if other != name:
            raise DataError(
                f"{label} is not safe to read: {name!r} and {other!r} cannot lie in one folder",
                hint=BY_HAND,
            )
