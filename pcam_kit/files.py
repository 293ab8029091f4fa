"""Files that are either whole or absent: temporary name, fsync, rename.

Used for every write of this package.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcam_kit.errors import StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# begins every temporary name; what carries it is never read and may be deleted
PARTIAL = ".partial-"
DEVICES = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE)
SPARE_BYTES = 1 << 20  # left free beside what is known to be needed


def storage_error(error: OSError, path: Path, doing: str = "write") -> StorageError:
    """The OSError as a sentence about `path` and what was being done with it, with what to do about
    it.
    """
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StorageError(
                f"no space left on the disk while writing {path}",
                hint="free some space, then run the same command again",
            )
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return StorageError(
                f"cannot {doing} {path}: {os.strerror(error.errno or 0).lower()}",
                hint="choose a folder you may use with --data-dir, --runs-dir or --submissions-dir",
            )
        case _:
            hint = (
                "mend that, or choose other folders with --data-dir, --runs-dir, "
                "--submissions-dir; then run the same command again"
            )
            return StorageError(f"cannot {doing} {path}: {error.strerror or error}", hint=hint)


@contextmanager
def writing(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`, on
    failure removed.

    Raises StorageError when the disk is full or the folder is read-only; what stood at `path` is
    then untouched.
    """
    # Keras wants its suffix kept
    temporary = path.with_name(f"{PARTIAL}{secrets.token_hex(4)}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise storage_error(error, path) from error
    finally:
        with suppress(OSError):  # the error under way is the one that matters
            temporary.unlink(missing_ok=True)


def clear_partial(folder: Path) -> None:
    """Delete what killed writers left below `folder`.

    The caller holds the lock under which it is written.
    """
    for path in folder.rglob(f"{PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):  # it is in nobody's way
                path.unlink()


def check_space(folder: Path, needed: int) -> None:
    """Raises StorageError when the disk of `folder`, which is there, has not `needed` bytes free,
    before anything is written.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StorageError(
            f"not enough space in {folder.parent}: {(needed + SPARE_BYTES) / 1e6:,.1f} MB "
            f"needed, {free / 1e6:,.1f} MB free",
            hint="free some space, or choose a folder on another disk with --data-dir",
        )


def unsafe_name(name: str) -> str:
    """Why a file from elsewhere must not be written under this relative name, here or on Windows;
    "" when it may.
    """
    parts = name.split("/")
    if not name or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path" if name else "no name"
    if ".." in parts:
        return "a path that leaves its folder"
    if "\\" in name or any(ord(character) < 32 or character == "\x7f" for character in name):
        return "a backslash or control character in its name"
    if (
        not name.isprintable()
        or len(name) > 1000
        or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    ):
        return "characters or a length that no file name has"
    if any(DEVICES.fullmatch(part) for part in parts):
        return "the name of a device"
    return ""


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_bytes(
        path, (json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n").encode()
    )


def append_json_line(path: Path, value: Any) -> None:
    """Append one JSON line, fsynced.

    A half line left by a killed writer is closed off first, so it stays one bad line.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(value, allow_nan=False) + "\n").encode()
        with open(path, "ab+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            end = handle.seek(0, os.SEEK_END)
            if end > 0:
                handle.seek(end - 1)
                if handle.read(1) != b"\n":
                    line = b"\n" + line
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise storage_error(error, path) from error


def read_json_lines(path: Path) -> tuple[list[Any], int]:
    """The values of a JSON-lines file, and how many lines could not be read (a writer was killed
    half-way).
    """
    values: list[Any] = []
    bad = 0
    for line in (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ()
    ):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError:
            bad += bool(line.strip())
    return values, bad


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object that can be made again: an absent or damaged file is an empty one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz.

    Raises ValueError saying why it cannot be read: absent, cut short, damaged, or something else.
    """
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex SHA-256 of a file; `progress` is called with the bytes read since the last call."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with open(path, "rb") as handle:
        while n := handle.readinto(buffer):
            digest.update(buffer[:n])
            if progress is not None:
                progress(n)
    return digest.hexdigest()


@contextmanager
def locked(path: Path, what: str) -> Generator[None]:
    """Hold an exclusive lock on `path` (kept as an empty file; the kernel frees it when the process
    dies).

    Raises StorageError when another process holds it, naming `what` it is doing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "ab")  # noqa: SIM115
    except OSError as error:
        raise storage_error(error, path) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"another process is {what} (lock: {path})",
                hint="wait for it to end, then run the same command again",
            ) from error
        yield
