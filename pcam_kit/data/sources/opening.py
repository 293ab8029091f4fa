"""Opens a source: a folder with its archives, an archive, or one of several files."""

from __future__ import annotations

import logging
from pathlib import Path

from pcam_kit.data.sources.archives import Packed, is_archive_file, is_compressed_tar
from pcam_kit.data.sources.files import FolderFiles, unpack_file, unpacked_bytes
from pcam_kit.data.sources.folders import DEPTH, walk
from pcam_kit.data.sources.names import base_name, is_archive, is_image
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.data.sources.zips import BY_HAND, FREE_BYTES, MAX_RATIO
from pcam_kit.errors import DataError
from pcam_kit.files import check_space
from pcam_kit.parsing import printable, reason_of
from pcam_kit.progress import Progress

log = logging.getLogger(__name__)

LEVELS = 3  # of archives in archives


def open_files(path: Path, slug: str) -> SourceFiles:
    """The files at `path`: a folder with its archives, an archive, or one of several files.

    Compressed tars, and archives in archives, are left `packed`: see `unpack_archives`. An archive
    in a folder that cannot be read is one of the `faults`. Raises DataError when there is nothing
    at `path`, or it cannot be read.
    """
    location = printable(str(path))
    if path.is_file():
        if is_archive_file(path):
            source = SourceFiles(location)
            files = FolderFiles(path.parent, {path.name: path.stat().st_size})
            place = Packed(files, path.name, "", 0, path)
            if is_compressed_tar(path):
                source.packed.append(place)
            else:
                source.add_archive(place, path)
            return source
        return _folder_files(path.parent, 0)
    if path.is_dir():
        return _folder_files(path, DEPTH)
    what = "there is nothing at"
    if path.exists():
        what = "expected a folder or a file, found a pipe or a device:"
    raise DataError(f"{what} {location}", hint=f"pcam fetch {slug} --from FOLDER_OR_ARCHIVE")


def _folder_files(path: Path, depth: int) -> SourceFiles:
    """The files of a folder and, unless `depth` is 0, of its archives."""
    location = printable(str(path))
    unread: list[DataError] = []
    try:
        sizes = {name: stat.st_size for name, stat in walk(path, depth, unread)}
    except OSError as error:
        raise DataError(f"cannot read the folder {location}: {reason_of(error)}") from error
    for fault in unread:
        log.warning(f"{fault}; it is left out")
    archives = [name for name in sizes if not is_image(name) and is_archive(name)] if depth else []
    folder = FolderFiles(path, sizes)
    places = {
        name: Packed(folder, name, name.removesuffix(base_name(name)), 0, path / name)
        for name in archives
    }
    source = SourceFiles(location, folder, {**sizes}, unread_folders=unread)
    for name, place in places.items():
        try:
            if is_compressed_tar(path / name):
                source.packed.append(place)
            else:
                source.add_archive(place, path / name)
        except DataError as fault:
            source.faults.append(fault)
    return source


def unpack_archives(source: SourceFiles, work: Path, progress: Progress) -> None:
    """Open the `packed` archives of the source, after unpacking them into the folder `work`.

    One that cannot be read is then one of the `faults`. Raises StorageError when the disk is too
    small.
    """
    spent: dict[Path, int] = {}  # bytes that came out of each file on disk
    number = 0
    while source.packed:
        place = source.packed.pop(0)
        target = work / f"archive-{number}"
        number += 1
        try:
            if place.level > LEVELS:
                raise DataError(f"{place.label} is more than {LEVELS} archives deep", hint=BY_HAND)
            spent[place.outer] = spent.get(place.outer, 0) + _unpack(place, target, progress)
            limit = max(FREE_BYTES, MAX_RATIO * place.outer.stat().st_size)
            if spent[place.outer] > limit:
                raise DataError(
                    f"{printable(str(place.outer))}: the archives in it unpack to more than "
                    f"{limit:,} bytes: expected at most {MAX_RATIO} times its size",
                    hint=BY_HAND,
                )
            source.add_archive(place, target)
        except DataError as fault:
            source.faults.append(fault)


def _unpack(place: Packed, target: Path, progress: Progress) -> int:
    """Unpack the archive to the file `target`; the bytes that were written."""
    size = max(1, unpacked_bytes(place.files, place.name))
    check_space(target.parent, size)
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        progress("unpacking archives", min(done, size), size)

    unpack_file(place.files, place.name, target, count)
    return done
