"""Folders in object storage: a local mirror of each, on which the rest of the package works.

    folder_of("s3://bucket/runs", "runs") -> the local folder, a Path

What is written below such a folder is uploaded at once (`files.listeners`); what is read there is
brought by `refresh` and `bring`. For other folders all of this does nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pcam_kit import files
from pcam_kit.mirrors.address import Kind, check_path, is_url, parse

if TYPE_CHECKING:
    from pcam_kit.mirrors.mirror import Mirror

__all__ = [
    "address_of",
    "bring",
    "exists",
    "flush",
    "folder_of",
    "is_url",
    "push",
    "refresh",
    "writer_of",
]

_mirrors: dict[Path, Mirror] = {}  # by their folders


def folder_of(place: str | os.PathLike[str], kind: Kind) -> Path:
    """The folder to work with: of a URL that of its mirror, else the path itself.

    Nothing is asked of the storage yet. Raises UsageError for a URL that cannot be one.
    """
    text = os.fspath(place)
    if not is_url(text):
        check_path(Path(text))
        return Path(text)
    from pcam_kit.mirrors.mirror import Mirror  # SQLite and more, which paths do without

    address = parse(text)
    root = (address.home(kind) / "files").resolve()
    if root not in _mirrors:
        mirror = Mirror(address, kind)
        _mirrors[mirror.root] = mirror
    if _changed not in files.listeners:
        files.listeners.append(_changed)
    return root


def address_of(folder: Path) -> str | None:
    """The URL whose mirror this folder is; None for other folders."""
    mirror = _mirrors.get(folder)
    return None if mirror is None else mirror.address.url


def refresh(folder: Path) -> None:
    """Bring the small files below a mirror that changed elsewhere. Raises RemoteError."""
    if folder in _mirrors:
        _mirrors[folder].refresh()


def bring(path: Path) -> None:
    """Bring a file, or all of a folder, below a mirror. Raises RemoteError."""
    mirror = _mirror_of(path)
    if mirror is not None:
        mirror.bring(mirror.name_of(path.absolute()))


def exists(path: Path) -> bool:
    """Whether a file is here or, after `refresh`, in the storage."""
    mirror = _mirror_of(path)
    there = mirror is not None and mirror.is_there(mirror.name_of(path.absolute()))
    return there or path.is_file()


def push(path: Path) -> None:
    """Upload a file now if it still waits. Raises RemoteError when it cannot."""
    mirror = _mirror_of(path)
    if mirror is not None:
        mirror.push(mirror.name_of(path.absolute()))


def flush() -> None:
    """Upload what could not be uploaded when it was written. Raises RemoteError."""
    for mirror in _mirrors.values():
        mirror.flush()


def writer_of(folder: Path) -> str | None:
    """The id under which this machine writes into a mirror; None for other folders."""
    mirror = _mirrors.get(folder)
    return None if mirror is None else mirror.writer


def _mirror_of(path: Path) -> Mirror | None:
    if not _mirrors:
        return None
    whole = path.absolute()
    return next((m for root, m in _mirrors.items() if root in whole.parents), None)


def _changed(path: Path) -> None:
    mirror = _mirror_of(path)
    if mirror is not None:
        mirror.changed(path.absolute())
