"""The files of a folder and of the folders below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pcam_kit.data.sources.files import is_hidden
from pcam_kit.errors import DataError
from pcam_kit.parsing import printable, reason_of

DEPTH = 4  # levels of folders that are searched below the one named


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
                unread.append(unread_error(entry.path, error))
            except OSError:  # a link to itself
                continue
    # links last, so that a folder has its own name
    for entry in sorted(folders, key=lambda entry: entry.is_symlink()):
        try:
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth - 1, seen, unread)
        except OSError as error:
            unread.append(unread_error(entry.path, error))


def unread_error(path: str, error: OSError) -> DataError:
    """The error for a file or folder that may not be read."""
    return DataError(
        f"{printable(path)} cannot be read: {reason_of(error)}",
        hint="allow yourself to read it, or move it away",
    )
