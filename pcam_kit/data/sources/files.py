"""The files of raw data, in a folder or a zip, behind one interface: names, sizes, bytes."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from pcam_kit.data.sources.zips import FREE_BYTES, MAX_RATIO, open_zip
from pcam_kit.errors import DataError
from pcam_kit.files import PARTIAL, storage_error
from pcam_kit.formatting import few
from pcam_kit.parsing import GZIP, gunzip, parsing

DEPTH = 4  # levels of folders that are searched below the one named
CHUNK_BYTES = 1 << 20
SMALL_BYTES = 256 << 20  # the most that a table may take, packed or not: they have up to 20 MB


class RawFiles(Protocol):
    """The files of a folder or zip: relative names with `/`, without hidden and temporary ones."""

    @property
    def location(self) -> str:
        """The folder or zip as messages name it."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by name."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The stored bytes as a stream. A zip's checksum is compared at its end."""
        ...

    def local_path(self, name: str) -> Path | None:
        """The path of the file on disk; None inside a zip."""
        ...


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder."""

    folder: Path
    sizes: dict[str, int]

    @property
    def location(self) -> str:
        return str(self.folder)

    def open(self, name: str) -> BinaryIO:
        return open(self.folder / name, "rb")

    def local_path(self, name: str) -> Path | None:
        return self.folder / name


@dataclass(frozen=True)
class ZipFiles:
    """The members of a zip, read in place."""

    path: Path
    archive: zipfile.ZipFile
    sizes: dict[str, int]

    @property
    def location(self) -> str:
        return str(self.path)

    def open(self, name: str) -> BinaryIO:
        return self.archive.open(name)  # type: ignore[return-value]

    def local_path(self, name: str) -> Path | None:
        return None


def open_files(path: Path, slug: str, in_layout: Callable[[str], bool]) -> RawFiles:
    """The files at `path`: a folder, a zip, a folder with the zip in it, or one of several files.

    `in_layout` says of a base name whether it belongs to the layout. Raises DataError when there is
    nothing, or it cannot be read.
    """
    if path.is_file():
        if path.suffix.lower() == ".zip":
            return _open_zip(path)
        return FolderFiles(path.parent, dict(_walk(path.parent, "", 0)))
    if not path.is_dir():
        raise DataError(
            f"there is nothing at {path}", hint=f"pcam fetch {slug} --from FOLDER_OR_ZIP"
        )
    try:
        sizes = dict(_walk(path, "", DEPTH))
    except OSError as error:
        raise DataError(f"cannot read the folder {path}: {error.strerror}") from error
    if not any(in_layout(_base_name(name)) for name in sizes):
        zips = [name for name in sizes if name.lower().endswith(".zip")]
        named_by_slug = [name for name in zips if _base_name(name).lower() == f"{slug}.zip"]
        for candidates in (named_by_slug, zips):
            if len(candidates) == 1:
                return _open_zip(path / candidates[0])
    return FolderFiles(path, sizes)


def _open_zip(path: Path) -> ZipFiles:
    archive, sizes = open_zip(path)
    visible = {name: size for name, size in sizes.items() if not _is_hidden(name)}
    return ZipFiles(path, archive, visible)


def _base_name(name: str) -> str:
    return name.rpartition("/")[2]


def _is_hidden(name: str) -> bool:
    if PARTIAL in name:
        return True
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    """(name, size) of each file down to `depth` levels below `folder`."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if _is_hidden(entry.name):
                continue
            if entry.is_file():
                yield prefix + entry.name, entry.stat().st_size
            elif depth > 0 and entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)


def find_file(files: RawFiles, names: Sequence[str]) -> str | None:
    """The least deep file with one of these base names; of equally deep ones, the first of `names`.

    Raises DataError when there are two of that name equally deep.
    """
    matches = [name for name in files.sizes if _base_name(name) in names]
    if not matches:
        return None
    depth = min(name.count("/") for name in matches)
    matches = [name for name in matches if name.count("/") == depth]
    matches.sort(key=lambda name: names.index(_base_name(name)))
    base_name = _base_name(matches[0])
    equal = [name for name in matches if _base_name(name) == base_name]
    if len(equal) > 1:
        raise DataError(
            f"{files.location} holds {base_name} more than once: {few(equal, len(equal))}",
            hint="name the folder of one",
        )
    return matches[0]


def require_file(
    files: RawFiles, names: Sequence[str], what: str, looked_for: str, slug: str
) -> str:
    """As `find_file`; raises DataError, about `what` and `looked_for`, where there is none."""
    name = find_file(files, names)
    if name is None:
        raise missing_error(files, what, looked_for, slug)
    return name


def missing_error(files: RawFiles, what: str, looked_for: str, slug: str) -> DataError:
    """The error for a missing part: what was looked for, and which files there are instead."""
    existing = few(sorted(files.sizes), len(files.sizes), 6) or "no files"
    return DataError(
        f"{files.location} has no {what}: looked for {looked_for}, found {existing}",
        hint=f"pcam fetch {slug} --from FOLDER_OR_ZIP",
    )


def unreadable_error(files: RawFiles, name: str, reason: str) -> DataError:
    """The error for a file whose bytes cannot be read."""
    hint = "the file is damaged or cut short: download it again"
    if "permission denied" in reason:
        hint = "ask its owner for the right to read it, or: chmod u+r FILE"
    return DataError(f"{files.location}: {name} cannot be read: {reason}", hint=hint)


def read_file(files: RawFiles, name: str, limit: int = SMALL_BYTES) -> bytes:
    """All bytes of a file, decompressed if it is gzip, whatever its name.

    For pictures and tables, not for HDF5. Raises DataError, also for more than `limit` bytes.
    """
    with parsing(partial(unreadable_error, files, name)):
        with files.open(name) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return gunzip(io.BytesIO(data), limit) if data.startswith(GZIP) else data


def is_packed(files: RawFiles, name: str) -> bool:
    """Whether the file has to be unpacked before it can be read at any position."""
    return files.local_path(name) is None or read_head(files, name, 2) == GZIP


def read_head(files: RawFiles, name: str, n: int) -> bytes:
    """The first `n` bytes of a file. Raises DataError."""
    with parsing(partial(unreadable_error, files, name)), files.open(name) as stream:
        return stream.read(n)


def unpacked_bytes(files: RawFiles, name: str) -> int:
    """About how large the file is when unpacked."""
    stored = files.sizes[name]
    if read_head(files, name, 2) != GZIP:
        return stored
    path = files.local_path(name)
    if path is None or stored < 18:
        return 2 * stored
    with open(path, "rb") as stream:
        stream.seek(-4, io.SEEK_END)
        # gzip ends with the size modulo 4 GiB
        size = int.from_bytes(stream.read(4), "little")
    while size < stored * 0.9:
        size += 1 << 32
    return min(size, most_unpacked(stored))


def most_unpacked(stored: int) -> int:
    """The most bytes to which so many may unpack; more is a trap, not data."""
    return max(FREE_BYTES, MAX_RATIO * stored)


def unpack_file(files: RawFiles, name: str, target: Path, progress: Callable[[int], None]) -> None:
    """Stream the file's bytes, decompressed if they are gzip, to `target`.

    `progress` gets the bytes written since its last call. Raises DataError when the source is
    damaged, StorageError when the target cannot be written.
    """
    try:
        with open(target, "wb") as out:
            for data in _chunks(files, name):
                out.write(data)
                progress(len(data))
    except OSError as error:
        raise storage_error(error, target) from error


def _chunks(files: RawFiles, name: str) -> Iterator[bytes]:
    packed = read_head(files, name, 2) == GZIP
    most, size = most_unpacked(files.sizes[name]), 0
    with (
        parsing(partial(unreadable_error, files, name)),
        files.open(name) as stream,
        gzip.GzipFile(fileobj=stream) if packed else stream as source,
    ):
        while data := source.read(CHUNK_BYTES):
            size += len(data)
            if size > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            yield data
