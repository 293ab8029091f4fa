"""A folder and a zip, seen the same way: names, sizes, bytes."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pcam_kit.data.raw import few
from pcam_kit.data.sources.zips import open_zip
from pcam_kit.errors import DataError
from pcam_kit.files import PARTIAL, storage_error

DEPTH = 4  # folders below the given one that are looked into
GZIP = b"\x1f\x8b"
# gzip.BadGzipFile is an OSError
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)


class RawFiles(Protocol):
    """Files somewhere. Names are relative, with `/`; hidden and temporary ones are left out."""

    @property
    def where(self) -> str:
        """What to call the place in a message."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by name."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The stored bytes as a stream. A zip's checksum is compared at its end."""
        ...

    def local(self, name: str) -> Path | None:
        """Where the file lies on disk, None inside a zip."""
        ...


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder."""

    folder: Path
    sizes: dict[str, int]

    @property
    def where(self) -> str:
        return str(self.folder)

    def open(self, name: str) -> BinaryIO:
        return open(self.folder / name, "rb")

    def local(self, name: str) -> Path | None:
        return self.folder / name


@dataclass(frozen=True)
class ZipFiles:
    """The members of a zip, read in place."""

    path: Path
    archive: zipfile.ZipFile
    sizes: dict[str, int]

    @property
    def where(self) -> str:
        return str(self.path)

    def open(self, name: str) -> BinaryIO:
        return self.archive.open(name)  # type: ignore[return-value]

    def local(self, name: str) -> Path | None:
        return None


def open_files(path: Path, slug: str, looks_right: Callable[[str], bool]) -> RawFiles:
    """The files at `path`: a folder, a zip, a folder that holds the zip instead of the files, or
    one of several files.

    `looks_right` says of a base name whether the layout knows it.
    """
    if path.is_file():
        if path.suffix.lower() == ".zip":
            return _zip(path)
        return FolderFiles(path.parent, dict(_walk(path.parent, "", 0)))
    if not path.is_dir():
        raise DataError(
            f"there is nothing at {path}", hint=f"pcam fetch {slug} --from FOLDER_OR_ZIP"
        )
    try:
        sizes = dict(_walk(path, "", DEPTH))
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from error
    if not any(looks_right(name.rpartition("/")[2]) for name in sizes):
        zips = [name for name in sizes if name.lower().endswith(".zip")]
        named = [name for name in zips if name.rpartition("/")[2].lower() == f"{slug}.zip"]
        for choice in (named, zips):
            if len(choice) == 1:
                return _zip(path / choice[0])
    return FolderFiles(path, sizes)


def _zip(path: Path) -> ZipFiles:
    archive, sizes = open_zip(path)
    return ZipFiles(
        path, archive, {name: size for name, size in sizes.items() if not _hidden(name)}
    )


def _hidden(name: str) -> bool:
    return (
        any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
        or PARTIAL in name
    )


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if _hidden(entry.name):
                continue
            if entry.is_file():
                yield prefix + entry.name, entry.stat().st_size
            elif depth > 0 and entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)


def find(files: RawFiles, names: Sequence[str]) -> str | None:
    """The file with one of these base names, the one least deep.

    Raises DataError when two lie equally deep.
    """
    found = [name for name in files.sizes if name.rpartition("/")[2] in names]
    if not found:
        return None
    least = min(name.count("/") for name in found)
    best = sorted(
        (name for name in found if name.count("/") == least),
        key=lambda name: names.index(name.rpartition("/")[2]),
    )
    same = [name for name in best if name.rpartition("/")[2] == best[0].rpartition("/")[2]]
    if len(same) > 1:
        raise DataError(
            f"{files.where} holds {same[0].rpartition('/')[2]} more than once: "
            f"{few(same, len(same))}",
            hint="name the folder of one",
        )
    return best[0]


def missing(files: RawFiles, what: str, looked_for: str, slug: str) -> DataError:
    """The error for a part that is not there: what was looked for, and what there is instead."""
    there = few(sorted(files.sizes), len(files.sizes), 6) or "no files"
    return DataError(
        f"{files.where} has no {what}: looked for {looked_for}, found {there}",
        hint=f"pcam fetch {slug} --from FOLDER_OR_ZIP",
    )


def unreadable(files: RawFiles, name: str, error: Exception) -> DataError:
    """The error for a file whose bytes cannot be had."""
    why = "it is cut short" if isinstance(error, EOFError) else str(error) or type(error).__name__
    return DataError(
        f"{files.where}: {name} cannot be read: {why}",
        hint="the file is damaged or cut short: download it again",
    )


def read(files: RawFiles, name: str) -> bytes:
    """All bytes of a file, gzip undone whatever it is called. For tifs and tables, not for HDF5."""
    try:
        with files.open(name) as stream:
            data = stream.read()
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except UNREADABLE as error:
        raise unreadable(files, name, error) from error


def is_packed(files: RawFiles, name: str) -> bool:
    """Does the file have to be unpacked before it can be read at any position?"""
    return files.local(name) is None or head(files, name, 2) == GZIP


def head(files: RawFiles, name: str, n: int) -> bytes:
    """The first bytes of a file."""
    try:
        with files.open(name) as stream:
            return stream.read(n)
    except UNREADABLE as error:
        raise unreadable(files, name, error) from error


def unpacked_bytes(files: RawFiles, name: str) -> int:
    """About how large the file is when unpacked. gzip keeps its size modulo 4 GiB, at its end."""
    stored = files.sizes[name]
    if head(files, name, 2) != GZIP:
        return stored
    local = files.local(name)
    if local is None or stored < 18:
        return 2 * stored
    with open(local, "rb") as stream:
        stream.seek(-4, io.SEEK_END)
        size = int.from_bytes(stream.read(4), "little")
    while size < stored * 0.9:
        size += 1 << 32
    return size


def unpack(files: RawFiles, name: str, target: Path, tell: Callable[[int], None]) -> None:
    """Write the file's bytes, gzip undone, to `target` in a stream; `tell` gets the bytes written
    since the last call.

    Raises DataError when the source is damaged, StorageError when the target cannot be written.
    """
    try:
        with open(target, "wb") as out:
            for data in _chunks(files, name):
                out.write(data)
                tell(len(data))
    except OSError as error:
        raise storage_error(error, target) from error


def _chunks(files: RawFiles, name: str) -> Iterator[bytes]:
    packed = head(files, name, 2) == GZIP
    try:
        with (
            files.open(name) as stream,
            gzip.GzipFile(fileobj=stream) if packed else stream as source,
        ):
            while data := source.read(1 << 20):
                yield data
    except UNREADABLE as error:
        raise unreadable(files, name, error) from error
