"""The files of a folder or a zip behind one interface: names, sizes, bytes."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pcam_kit.ahead import read_ahead
from pcam_kit.data.sources.zips import BY_HAND, FREE_BYTES, MAX_RATIO, open_zip
from pcam_kit.errors import DataError
from pcam_kit.files import PARTIAL, storage_error
from pcam_kit.parsing import GZIP, gunzip, parsing, printable

CHUNK_BYTES = 1 << 20
SMALL_BYTES = 256 << 20  # the most that a table may take, packed or not: they have up to 20 MB


class RawFiles(Protocol):
    """The files of a folder or archive: relative names with `/`, without hidden ones."""

    @property
    def location(self) -> str:
        """The folder or archive as messages name it."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by name."""
        ...

    def label(self, name: str) -> str:
        """The file and where it is, as messages name it."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The stored bytes as a stream. A zip's checksum is compared at its end."""
        ...

    def local_path(self, name: str) -> Path | None:
        """The path of the file on disk; None inside an archive."""
        ...


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder."""

    folder: Path
    sizes: dict[str, int]

    @property
    def location(self) -> str:
        return printable(str(self.folder))

    def label(self, name: str) -> str:
        return f"{self.location}: {printable(name)}"

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
    origin: str = ""  # how messages name it; its path by default

    @property
    def location(self) -> str:
        return self.origin or printable(str(self.path))

    def label(self, name: str) -> str:
        return f"{self.location}: {printable(name)}"

    def open(self, name: str) -> BinaryIO:
        return self.archive.open(name)  # type: ignore[return-value]

    def local_path(self, name: str) -> Path | None:
        return None


def zip_files(path: Path, origin: str = "") -> ZipFiles:
    """The members of a zip. Raises DataError as `open_zip` does."""
    archive, sizes = open_zip(path, origin or printable(str(path)))
    visible = {name: size for name, size in sizes.items() if not is_hidden(name)}
    return ZipFiles(path, archive, visible, origin)


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, of a Mac's own, or a temporary one of this package."""
    if name.startswith(".") or "/." in name or PARTIAL in name:
        return True
    return "__MACOSX" in name and "__MACOSX" in name.split("/")


def unreadable_error(files: RawFiles, name: str, reason: str) -> DataError:
    """The error for a file whose bytes cannot be read."""
    hint = "the file is damaged or cut short: download it again"
    if "permission denied" in reason:
        hint = "ask its owner for the right to read it, or: chmod u+r FILE"
    return DataError(f"{files.label(name)} cannot be read: {reason}", hint=hint)


def read_file(files: RawFiles, name: str, limit: int = SMALL_BYTES) -> bytes:
    """All bytes of a file, decompressed if it is gzip, whatever its name.

    For pictures and tables, not for HDF5. Raises DataError, also for more than `limit` bytes.
    """
    with parsing(partial(unreadable_error, files, name)):
        with files.open(name) as stream:
            expected = min(files.sizes[name], limit)
            data = stream.read(expected + 1)  # Python takes memory for as much as it may read
            if len(data) > expected:
                data += stream.read(limit - expected)
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
    """Stream the file's bytes, decompressed if they are gzip, bzip2 or xz, to `target`.

    `progress` gets the bytes written since its last call. Raises DataError when the source is
    damaged, or unpacks to an absurd size, StorageError when the target cannot be written.
    """
    limit = most_unpacked(files.sizes[name])
    size = 0
    try:
        with open(target, "wb") as out:
            for data in _chunks(files, name):
                size += len(data)
                if size > limit:
                    raise DataError(
                        f"{files.label(name)} unpacks from {files.sizes[name]:,} to more than "
                        f"{limit:,} bytes: expected at most {MAX_RATIO} times its size",
                        hint=BY_HAND,
                    )
                out.write(data)
                progress(len(data))
    except OSError as error:
        raise storage_error(error, target) from error


def _chunks(files: RawFiles, name: str) -> Iterator[bytes]:
    head = read_head(files, name, 6)
    with parsing(partial(unreadable_error, files, name)), files.open(name) as stream:
        source = _decompressed(stream, head)
        # unpacks while the last chunk is written
        yield from read_ahead(iter(partial(source.read, CHUNK_BYTES), b""))


def _gzip_file(stream: BinaryIO) -> Any:
    """What a gzip stream unpacks to; twice as fast where pcam-kit's extra `isal` is installed."""
    try:
        igzip: Any = import_module("isal.igzip")
    except ImportError:
        return gzip.GzipFile(fileobj=stream)
    return igzip.IGzipFile(fileobj=stream)


def _decompressed(stream: BinaryIO, head: bytes) -> Any:
    """What the bytes unpack to, by how they begin; themselves where they are not packed."""
    if head.startswith(GZIP):
        return _gzip_file(stream)
    if head.startswith(b"BZh"):
        import bz2  # some builds of Python lack it

        return bz2.BZ2File(stream)
    if head == b"\xfd7zXZ\0":
        import lzma

        return lzma.LZMAFile(stream)
    return stream
