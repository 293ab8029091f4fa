"""All files of a source: those in a folder, those in the archives in it, and archives in archives.

A member of an archive is where it would be if it were unpacked beside the archive. So several
archives give one tree, as they do when one download comes in several zips.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pcam_kit.data.sources.files import (
    FolderFiles,
    RawFiles,
    ZipFiles,
    is_hidden,
    unpack_file,
    unpacked_bytes,
    zip_files,
)
from pcam_kit.data.sources.names import (
    SPLIT_FOLDERS,
    base_name,
    is_archive,
    is_image,
    plain_name,
    stem_of,
)
from pcam_kit.data.sources.tars import tar_files
from pcam_kit.data.sources.zips import BY_HAND, FREE_BYTES, MAX_RATIO
from pcam_kit.errors import DataError
from pcam_kit.files import check_space
from pcam_kit.formatting import few
from pcam_kit.parsing import printable, reason_of
from pcam_kit.progress import Progress

log = logging.getLogger(__name__)

DEPTH = 4  # levels of folders that are searched below the one named
LEVELS = 3  # of archives in archives
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257


@dataclass(frozen=True)
class Packed:
    """An archive whose members are known only when it is unpacked.

    It is in another archive, or a compressed tar. folder: where its members go. level: how deep it
    is in others. outer: the file on disk that holds it, or is it.
    """

    files: RawFiles
    name: str
    folder: str
    level: int
    outer: Path

    @property
    def label(self) -> str:
        """The archive as messages name it."""
        path = self.files.local_path(self.name)
        return self.files.label(self.name) if path is None else printable(str(path))


@dataclass(eq=False)
class SourceFiles:
    """The files of a folder or archive, and of the archives in it: see `RawFiles`.

    sizes: by name. places: the archive, and the name in it, of what is not in `folder`. packed:
    archives that are not open yet. faults: why an archive could not be read. rivals: names of
    further files that would have the same name. renamed: what files with changed names were taken
    for. cut: the file that was taken in place of one that is cut short. notes: what else is worth
    telling. id_warnings: see `RawCompetition`. missed: whether something was looked for in vain.
    allow_missing: whether rows without an image, and images without a row, may be left out.
    """

    location: str
    folder: FolderFiles | None = None
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    places: dict[str, tuple[RawFiles, str]] = field(default_factory=dict[str, tuple[RawFiles, str]])
    packed: list[Packed] = field(default_factory=list[Packed])
    faults: list[DataError] = field(default_factory=list[DataError])
    unread_folders: list[DataError] = field(default_factory=list[DataError])
    rivals: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    renamed: dict[str, str] = field(default_factory=dict[str, str])
    cut: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    id_warnings: list[str] = field(default_factory=list[str])
    missed: bool = False
    allow_missing: bool = False

    def label(self, name: str) -> str:
        """The file and where it is, as messages name it."""
        if name in self.places:
            files, inner = self.places[name]
            return files.label(inner)
        return f"{self.location}: {printable(name)}"

    def open(self, name: str) -> BinaryIO:
        """The stored bytes as a stream."""
        files, inner = self._place(name)
        return files.open(inner)

    def local_path(self, name: str) -> Path | None:
        """The path of the file on disk; None inside an archive."""
        files, inner = self._place(name)
        return files.local_path(inner)

    def _place(self, name: str) -> tuple[RawFiles, str]:
        if name in self.places:
            return self.places[name]
        if self.folder is None:
            raise KeyError(name)
        return self.folder, name

    @cached_property
    def by_plain_name(self) -> dict[str, list[str]]:
        """The names of all files but images, by `plain_name`."""
        result: dict[str, list[str]] = {}
        for name in self.sizes:
            if not is_image(name):
                result.setdefault(plain_name(name), []).append(name)
        return result

    @cached_property
    def images_by_folder(self) -> dict[str, list[str]]:
        """The names of all images, by the folder that they are in."""
        result: dict[str, list[str]] = {}
        for name in self.sizes:
            if is_image(name):
                result.setdefault(name.rpartition("/")[0], []).append(name)
        return result

    def add_archive(self, place: Packed, path: Path) -> None:
        """Add the members of the archive at `path`. Raises DataError when it cannot be read."""
        archive = _open_archive(path, place)
        folder = place.folder + _own_folder(archive, place.name)
        longer = 0
        for name, size in archive.sizes.items():
            if not is_image(name) and is_archive(name):
                parent = folder + name.removesuffix(base_name(name))
                inner = Packed(archive, name, parent, place.level + 1, place.outer)
                self.packed.append(inner)
                continue
            target = folder + name
            if target not in self.sizes:
                self._add(target, archive, name)
            elif not is_image(target):
                rival = f"{folder}{base_name(place.name)}/{name}"
                self.rivals.setdefault(target, []).append(rival)
                self._add(rival, archive, name)
            elif size > self.sizes[target]:
                longer += 1
                self._add(target, archive, name)
        if longer:
            self.notes.append(
                f"{longer:,} images are longer in {printable(base_name(place.name))} than beside "
                "it: they are taken from it"
            )
        for computed in ("by_plain_name", "images_by_folder"):
            self.__dict__.pop(computed, None)

    def all_notes(self) -> list[str]:
        """What is worth telling about how the files were found."""
        notes = [
            f"{printable(cut)} is cut short: {printable(whole)} is taken"
            for cut, whole in self.cut.items()
        ]
        if self.renamed:
            pairs = [f"{printable(base_name(name))} for {to}" for name, to in self.renamed.items()]
            notes.append(f"taken under changed names: {few(pairs, len(pairs))}")
        return [*notes, *self.notes]

    def restart(self, notes: list[str]) -> None:
        """Forget what a first reading noted, but for `notes`, before one with more files."""
        self.notes[:] = notes
        self.renamed.clear()
        self.cut.clear()
        self.id_warnings.clear()
        self.missed = False

    def close(self) -> None:
        """Close the archives. Windows deletes no open file."""
        for files in {id(files): files for files, _ in self.places.values()}.values():
            if isinstance(files, ZipFiles):
                files.archive.close()

    def _add(self, target: str, archive: RawFiles, name: str) -> None:
        self.sizes[target] = archive.sizes[name]
        self.places[target] = (archive, name)


def open_files(path: Path, slug: str) -> SourceFiles:
    """The files at `path`: a folder with its archives, an archive, or one of several files.

    Compressed tars, and archives in archives, are left `packed`: see `unpack_archives`. An archive
    in a folder that cannot be read is one of the `faults`. Raises DataError when there is nothing
    at `path`, or it cannot be read.
    """
    location = printable(str(path))
    if path.is_file():
        if _is_archive_file(path):
            source = SourceFiles(location)
            files = FolderFiles(path.parent, {path.name: path.stat().st_size})
            place = Packed(files, path.name, "", 0, path)
            if _is_compressed_tar(path):
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
            if _is_compressed_tar(path / name):
                source.packed.append(place)
            else:
                source.add_archive(place, path / name)
        except DataError as fault:
            source.faults.append(fault)
    return source


def walk(
    folder: Path, depth: int = DEPTH, unread: list[DataError] | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """(name, stat) of each file down to `depth` levels below `folder`, no folder twice.

    Hidden files, pipes and devices are left out; so are folders below that cannot be read, which
    are added to `unread`. Raises OSError when `folder` cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    yield from _walk(folder, "", depth, seen, [] if unread is None else unread)


def _walk(
    folder: Path, prefix: str, depth: int, seen: set[tuple[int, int]], unread: list[DataError]
) -> Iterator[tuple[str, os.stat_result]]:
    stat = folder.stat()
    if (stat.st_dev, stat.st_ino) in seen:
        return  # a link to a folder above, or to one that was there already
    seen.add((stat.st_dev, stat.st_ino))
    folders: list[os.DirEntry[str]] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_hidden(entry.name):
                continue
            try:
                if entry.is_file():
                    yield prefix + entry.name, entry.stat()
                elif depth > 0 and entry.is_dir():
                    folders.append(entry)
            except PermissionError as error:  # a link into a folder that may not be read
                unread.append(_unread_error(entry.path, error))
            except OSError:  # a link to itself
                continue
    # links last, so that a folder has its own name
    for entry in sorted(folders, key=lambda entry: entry.is_symlink()):
        try:
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth - 1, seen, unread)
        except OSError as error:
            unread.append(_unread_error(entry.path, error))


def _unread_error(path: str, error: OSError) -> DataError:
    return DataError(
        f"{printable(path)} cannot be read: {reason_of(error)}",
        hint="allow yourself to read it, or move it away",
    )


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


def _open_archive(path: Path, place: Packed) -> RawFiles:
    """The members of a zip or an uncompressed tar: by its first bytes, else by its name."""
    is_zip = plain_name(place.name).endswith(".zip")
    if not _is_tar(path) and (is_zip or _head(path, 2) == b"PK"):
        return zip_files(path, place.label)
    return tar_files(path, place.label)


def _own_folder(archive: RawFiles, name: str) -> str:
    """`train/` for a `train.zip` whose images are in no such folder; "" for other archives."""
    stem = stem_of(name)
    if stem not in SPLIT_FOLDERS:
        return ""
    folders = [member.lower().split("/")[:-1] for member in archive.sizes if is_image(member)]
    if not folders or any(stem in parts for parts in folders):
        return ""
    return f"{stem}/"


def _head(path: Path, n: int) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read(n)
    except OSError as error:
        raise _unread_error(str(path), error) from error


def _is_tar(path: Path) -> bool:
    return _head(path, TAR_MAGIC_AT + len(TAR_MAGIC))[TAR_MAGIC_AT:] == TAR_MAGIC


def _is_archive_file(path: Path) -> bool:
    """Whether a file that was named is an archive: by its name, or by its first bytes."""
    return is_archive(path.name) or _head(path, 4) == b"PK\x03\x04" or _is_tar(path)


def _is_compressed_tar(path: Path) -> bool:
    """Whether a file with an archive's name is a tar that has to be unpacked."""
    return _head(path, 6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
