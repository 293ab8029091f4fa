"""Is a zip safe to read? Looked at before a byte of it is used."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from pcam_kit.data.raw import Progress, few
from pcam_kit.errors import DataError, StorageError
from pcam_kit.files import PARTIAL, check_space, storage_error, sync_folder, unsafe_name

MOST_RATIO = 100  # unpacked : packed; patches and HDF5 files pack to between 1 and 3
FREE_BYTES = 64 << 20  # a small archive may pack as well as it likes
MOST_MEMBERS = 2_000_000  # seven times those of the largest competition
BY_HAND = (
    "get the archive from its own page again; if it is the same there, look at it, unpack "
    "it by hand and use --from FOLDER"
)
BLOCK_BYTES = 4096  # the most that a file wastes on its disk


def check_zip(path: Path, *, name: str) -> None:
    """Raises DataError, about `name`, when the archive is not safe: see `open_zip`."""
    archive, _ = open_zip(path, name)
    archive.close()


def open_zip(path: Path, name: str = "") -> tuple[zipfile.ZipFile, dict[str, int]]:
    """The archive and its members' sizes, folders left out.

    Raises DataError for what is no zip or cut short, and for members that no honest archive of
    patches has: absolute names, `..`, backslashes, drive letters, links and devices, repeated
    names, encryption, an absurd number or unpacked size. `name`: what to call it, its path unless
    given.
    """
    called = name or str(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{called} cannot be read as a zip: {error}",
            hint="it may be cut short: download it again",
        ) from error
    members = archive.infolist()
    try:
        if len(members) > MOST_MEMBERS:
            raise DataError(
                f"{called} holds {len(members):,} files: expected at most {MOST_MEMBERS:,}",
                hint=BY_HAND,
            )
        faults = [f"{info.orig_filename!r} ({why})" for info in members if (why := _fault(info))]
        if faults:
            raise DataError(
                f"{called} is not safe to read: {few(faults, len(faults))}", hint=BY_HAND
            )
        files = [info for info in members if not info.is_dir()]
        sizes = {info.filename: info.file_size for info in files}
        if len(sizes) < len(files):
            twice = [
                name
                for name, times in Counter(info.filename for info in files).items()
                if times > 1
            ]
            raise DataError(
                f"{called}: {len(files) - len(sizes)} names are there more than once: "
                f"{few(twice, len(twice))}",
                hint=BY_HAND,
            )
        total, packed = sum(sizes.values()), path.stat().st_size
        if total > max(FREE_BYTES, MOST_RATIO * packed):
            sizes_told = (
                f"would unpack from {packed:,} to {total:,} bytes: expected at most "
                f"{MOST_RATIO} times its size"
            )
            raise DataError(f"{called} {sizes_told}", hint=BY_HAND)
    except DataError:
        archive.close()
        raise
    return archive, sizes


def unpack_zip(path: Path, destination: Path, progress: Progress) -> bool:
    """Lay the members of a safe zip into the new folder `destination`, all or nothing; False when
    they lie there already.

    Raises DataError as `open_zip` does and for a wrong CRC, StorageError for a full disk or a
    `destination` that holds something else.
    """
    archive, sizes = open_zip(path)
    with archive:
        if destination.exists():
            if all(
                (destination / name).is_file() and (destination / name).stat().st_size == size
                for name, size in sizes.items()
            ):
                return False
            raise StorageError(
                f"{destination} does not hold the files of {path.name}",
                hint=f"move {destination} away, then run it again",
            )
        check_space(destination.parent, sum(sizes.values()) + BLOCK_BYTES * len(sizes))
        partial = destination.with_name(f"{PARTIAL}{secrets.token_hex(4)}.{destination.name}")
        try:
            _unpack_members(archive, sizes, partial, progress)
            os.sync()  # once, not for each of 277,000 files
            partial.rename(destination)
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
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if why := unsafe_name(name.rstrip("/") if info.is_dir() else name):
        return why
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    if info.flag_bits & 0x1:
        return "encrypted"
    return ""
