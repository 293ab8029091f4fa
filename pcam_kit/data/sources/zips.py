"""Zip archives: checked for safety before any of their contents are used, and unpacked."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from pcam_kit.errors import DataError, StorageError
from pcam_kit.files import PARTIAL, check_space, move, storage_error, sync_folder
from pcam_kit.formatting import few
from pcam_kit.names import unsafe_name
from pcam_kit.progress import Progress

MAX_RATIO = 100  # unpacked : packed; it is between 1 and 3 for patches and HDF5 files
FREE_BYTES = 64 << 20  # no ratio is too high for archives that unpack to less
MAX_MEMBERS = 2_000_000  # seven times those of the largest competition
BY_HAND = (
    "get the archive from its own page again; if it is the same there, look at it, unpack "
    "it by hand and use --from FOLDER"
)
BLOCK_BYTES = 4096  # space that each file may waste on its disk


def check_zip(path: Path, *, name: str) -> None:
    """Raises DataError, about `name`, when the archive is not safe to read: see `open_zip`."""
    archive, _ = open_zip(path, name)
    archive.close()


def open_zip(path: Path, name: str = "") -> tuple[zipfile.ZipFile, dict[str, int]]:
    """The archive, and the sizes of its members without folders.

    `name`: how messages name it, its path by default. Raises DataError for a file that is no zip or
    cut short, and for members that no honest archive of patches has: absolute names, `..`,
    backslashes, drive letters, links and devices, repeated names, encryption, an absurd number or
    unpacked size.
    """
    label = name or str(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{label} cannot be read as a zip: {error}",
            hint="it may be cut short: download it again",
        ) from error
    try:
        sizes = _safe_sizes(archive, label, path.stat().st_size)
    except DataError:
        archive.close()
        raise
    return archive, sizes


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
    files = [info for info in members if not info.is_dir()]
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
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DataError(
                f"{path} cannot be unpacked: {error}", hint="it is damaged: download it again"
            ) from error
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
    for name, size in sizes.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as packed, open(target, "xb") as plain:
            shutil.copyfileobj(packed, plain)
        done += size
        progress("unpacking", done, total)


def _fault(info: zipfile.ZipInfo) -> str:
    """Why a member is not safe to unpack; empty if it is."""
    name = info.orig_filename
    why = unsafe_name(name.rstrip("/") if info.is_dir() else name)
    if why:
        return why
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    if info.flag_bits & 0x1:
        return "encrypted"
    return ""
