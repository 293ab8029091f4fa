"""What is done of a long work, beside its result: `OUT.part`, a line a batch, so it can resume."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcam_kit.errors import StorageError, UsageError
from pcam_kit.files import storage_error
from pcam_kit.parsing import open_own, parse_json, printable, read_bytes

FORMAT = 1
BYTES = 2 << 30  # the largest part that is read: 60 bytes a tile


@dataclass(frozen=True, slots=True)  # there may be a million
class Row:
    """One tile and its answer. image: its number in the order of the command."""

    image: int
    x: int
    y: int
    probability: float


@dataclass(frozen=True)
class Place:
    """Where the work goes on: the image, and the number of its next tile."""

    image: int = 0
    tile: int = 0


class Journal:
    """The rows so far and where to go on; kept in a file where there is one.

    path None: nothing is kept. command: what the work depends on, by name. A file of another
    command raises UsageError, which says what differs; a last line that is cut short is dropped.
    """

    def __init__(self, path: Path | None, command: dict[str, Any]) -> None:
        self.rows: list[Row] = []
        self.next = Place()
        self.path = path
        self._handle = None
        if path is None:
            return
        keep = self._read(path, command) if path.exists() else 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open_own(path, "r+" if keep else "w")
            self._handle.truncate(keep)
            self._handle.seek(keep)
        except OSError as error:
            raise storage_error(error, path) from error
        if not keep:
            self._write({"format": FORMAT, "command": command})

    def add(self, rows: list[Row], following: Place) -> None:
        """Keep a batch; on the disk before this returns. Raises StorageError."""
        self.rows += rows
        self.next = following
        values = [[row.image, row.x, row.y, row.probability] for row in rows]
        if self._handle is not None:
            self._write({"next": [following.image, following.tile], "rows": values})

    def delete(self) -> None:
        """Close and delete the file: its result is written."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, value: dict[str, Any]) -> None:
        assert self._handle is not None
        assert self.path is not None
        try:
            self._handle.write((json.dumps(value, allow_nan=False) + "\n").encode())
            self._handle.flush()
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _read(self, path: Path, command: dict[str, Any]) -> int:
        """Take in what a file holds; how many of its bytes are whole lines."""
        shown = printable(str(path))
        hint = f"delete {shown}, then run the same command again"
        try:
            data = read_bytes(path, BYTES)
        except (OSError, ValueError) as error:
            raise StorageError(f"{shown} cannot be read: {error}", hint=hint) from error
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return 0
        try:
            first, *lines = [parse_json(line) for line in whole.splitlines()]
            before = first["command"]
            if first["format"] != FORMAT or not isinstance(before, dict):
                raise ValueError("it is of another version")
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{shown} is no part that this command can resume", hint=hint) from (
                error
            )
        changed = differences(before, command)
        if changed:
            raise UsageError(
                f"{shown} was begun by another command; different: {changed}",
                hint=f"to resume it, give what it was begun with; to start anew, delete {shown}, "
                "or choose another --out",
            )
        try:
            for line in lines:
                rows = [Row(int(i), int(x), int(y), float(p)) for i, x, y, p in line["rows"]]
                image, tile = line["next"]
                self.rows += rows
                self.next = Place(int(image), int(tile))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{shown} is damaged", hint=hint) from error
        return len(whole)


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What two commands differ in, for people; "" for nothing."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return ", ".join(
        f"{printable(name)} ({printable(str(before.get(name)))} before, now {now.get(name)})"
        if name not in ("images", "model")
        else f"{name} (other or changed files)"
        for name in names
    )
