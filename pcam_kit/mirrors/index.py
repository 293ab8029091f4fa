"""What a mirror knew of each file when both sides were last the same: an SQLite file."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pcam_kit.errors import StorageError
from pcam_kit.text import printable

log = logging.getLogger(__name__)

WAIT = 60.0  # seconds for another process that writes
_TABLE = """
CREATE TABLE IF NOT EXISTS files (
  name TEXT PRIMARY KEY, tag TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
  sending TEXT NOT NULL, gone INTEGER NOT NULL
)
"""


@dataclass(frozen=True)
class Known:
    """A file at the last time that both sides were the same.

    tag: the storage's word for its content, "" before the first upload. size, mtime: of the local
    file, bytes and nanoseconds; -1 before. sending: MD5 of what is being uploaded. gone: deleted
    here on purpose, and not yet there.
    """

    tag: str = ""
    size: int = -1
    mtime: int = -1
    sending: str = ""
    gone: bool = False

    def fits(self, stat: os.stat_result) -> bool:
        """Whether the local file is still as it was."""
        return (self.size, self.mtime) == (stat.st_size, stat.st_mtime_ns)


class Index:
    """The index at `path`, for any number of processes and threads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self, below: str = "") -> dict[str, Known]:
        """Each file by its name; below: those in this folder only, or this file."""
        with self._open() as database:
            if below:  # "0" is what follows "/"
                query = "SELECT * FROM files WHERE name = ? OR (name > ? AND name < ?)"
                rows = database.execute(query, (below, f"{below}/", f"{below}0")).fetchall()
            else:
                rows = database.execute("SELECT * FROM files").fetchall()
        return {row[0]: Known(row[1], row[2], row[3], row[4], bool(row[5])) for row in rows}

    def get(self, name: str) -> Known | None:
        """What is known of one file."""
        return self.all(name).get(name)

    def put(self, name: str, known: Known) -> None:
        """Remember a file."""
        row = (name, known.tag, known.size, known.mtime, known.sending, int(known.gone))
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def drop(self, *names: str) -> None:
        """Forget files."""
        with self._open() as database:
            database.executemany("DELETE FROM files WHERE name = ?", [(name,) for name in names])

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(self._connect()) as database, database:
                yield database
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot use {self._path}: {error}",
                hint="free some space, or name another folder for copies: PCAM_CACHE_DIR",
            ) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._begin()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # without it files are compared byte by byte
            log.warning(f"{printable(str(self._path))} is damaged ({error}): it is made anew")
            self._path.unlink(missing_ok=True)
            return self._begin()

    def _begin(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=WAIT)
        try:
            # a power failure may cost what is in it, which is compared anew then
            database.execute("PRAGMA synchronous = OFF")
            database.execute(_TABLE)
        except sqlite3.Error:
            database.close()
            raise
        return database
