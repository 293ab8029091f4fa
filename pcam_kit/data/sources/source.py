"""All files of a source: those in a folder, those in the archives in it, and archives in archives.

A member of an archive is where it would be if it were unpacked beside the archive. So several
archives give one tree, as they do when one download comes in several zips.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pcam_kit.data.sources.archives import Packed, open_archive, own_folder
from pcam_kit.data.sources.files import FolderFiles, RawFiles, ZipFiles
from pcam_kit.data.sources.names import base_name, is_archive, is_image, plain_name
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import printable


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
        archive = open_archive(path, place)
        folder = place.folder + own_folder(archive, place.name)
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
