"""Archives by their first bytes, and where their members belong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pcam_kit.data.sources.files import RawFiles, zip_files
from pcam_kit.data.sources.folders import unread_error
from pcam_kit.data.sources.names import (
    CLASS_FOLDERS,
    SPLIT_FOLDERS,
    is_archive,
    is_image,
    plain_name,
    stem_of,
)
from pcam_kit.data.sources.tars import tar_files
from pcam_kit.parsing import printable

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


def open_archive(path: Path, place: Packed) -> RawFiles:
    """The members of a zip or an uncompressed tar: by its first bytes, else by its name."""
    is_zip = plain_name(place.name).endswith(".zip")
    if not _is_tar(path) and (is_zip or _head(path, 2) == b"PK"):
        return zip_files(path, place.label)
    return tar_files(path, place.label)


def own_folder(archive: RawFiles, name: str) -> str:
    """`train/` for a `train.zip` whose images are in no such folder; "" for other archives.

    Also `0/` for a `0.zip`, which is a class.
    """
    stem = stem_of(name)
    if stem not in SPLIT_FOLDERS and stem not in CLASS_FOLDERS:
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
        raise unread_error(str(path), error) from error


def _is_tar(path: Path) -> bool:
    return _head(path, TAR_MAGIC_AT + len(TAR_MAGIC))[TAR_MAGIC_AT:] == TAR_MAGIC


def is_archive_file(path: Path) -> bool:
    """Whether a file that was named is an archive: by its name, or by its first bytes."""
    return is_archive(path.name) or _head(path, 4) == b"PK\x03\x04" or _is_tar(path)


def is_compressed_tar(path: Path) -> bool:
    """Whether a file with an archive's name is a tar that has to be unpacked."""
    return _head(path, 6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
