"""Tar archives, read in place: each member is a piece of one file, and nothing is extracted."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pcam_kit.data.sources.files import is_hidden
from pcam_kit.data.sources.zips import BY_HAND, MAX_MEMBERS
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.names import unsafe_name
from pcam_kit.parsing import open_regular, parsing, printable

NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class TarFiles:
    """The members of an uncompressed tar.

    offsets: where the bytes of each member begin. origin: how messages name the archive.
    """

    path: Path
    sizes: dict[str, int]
    offsets: dict[str, int] = field(repr=False)
    origin: str

    @property
    def location(self) -> str:
        return self.origin

    def label(self, name: str) -> str:
        return f"{self.location}: {printable(name)}"

    def open(self, name: str) -> BinaryIO:
        return _Piece(self.path, self.offsets[name], self.sizes[name])  # type: ignore[return-value]

    def local_path(self, name: str) -> Path | None:
        return None


class _Piece(io.RawIOBase):
    """`size` bytes of a file from `offset` on, with a handle of its own: threads may read it."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._left = size
        self._handle = open(path, "rb")  # noqa: SIM115  closed in close()
        self._handle.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self._handle.read(min(len(buffer), self._left))
        if not data and self._left:
            raise EOFError
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or size > self._left:
            size = self._left
        data = self._handle.read(size)
        if len(data) < size:
            raise EOFError
        self._left -= size
        return data

    def close(self) -> None:
        self._handle.close()
        super().close()


def tar_files(path: Path, origin: str = "") -> TarFiles:
    """The files in an uncompressed tar; folders and hidden files are left out.

    origin: how messages name it, its path by default. Raises DataError for a file that is no tar or
    cut short, and, as `open_zip` does, for unsafe and repeated names, links, devices and an absurd
    number of members.
    """
    label = origin or printable(str(path))
    sizes: dict[str, int] = {}
    offsets: dict[str, int] = {}
    faults: list[str] = []

    def to_error(reason: str) -> DataError:
        return DataError(
            f"{label} cannot be read as a tar: {reason}",
            hint="it may be cut short: download it again",
        )

    with (
        parsing(to_error),
        open_regular(path) as handle,
        tarfile.open(fileobj=handle, mode="r:") as archive,
    ):
        number = 0
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  it would keep every member
            number += 1
            if number > MAX_MEMBERS:
                raise DataError(f"{label} holds more than {MAX_MEMBERS:,} files", hint=BY_HAND)
            name = member.name.removeprefix("./")
            why = _fault(member, name) or ("there more than once" if name in sizes else "")
            if why:
                faults.append(f"{name!r} ({why})")
            elif member.isfile():
                sizes[name], offsets[name] = member.size, member.offset_data
        # TarFile takes a damaged header for the end, which is a block of zeros
        handle.seek(archive.offset)
        if handle.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise to_error(f"it is cut short or damaged after {number:,} members")
    if faults:
        raise DataError(f"{label} is not safe to read: {few(faults, len(faults))}", hint=BY_HAND)
    visible = {name: size for name, size in sizes.items() if not is_hidden(name)}
    return TarFiles(path, visible, offsets, label)


def _fault(member: tarfile.TarInfo, name: str) -> str:
    """Why a member is not safe to read; empty if it is."""
    if member.isdir() and name in ("", "."):
        return ""
    # nothing is extracted, so bytes that are not UTF-8 do no harm in a name
    why = unsafe_name(NOT_UTF8.sub("_", name.rstrip("/")))
    if not why and not member.isdir() and (not member.isfile() or member.issparse()):
        why = "a link or device"
    return why
