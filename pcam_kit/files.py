"""Atomic files, either complete or absent: temporary name, fsync, rename.

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

# prefix of every temporary name; such files are never read and may be deleted
PARTIAL = ".partial-"
# names that Windows reserves
DEVICES = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE)
SPARE_BYTES = 1 << 20  # kept free on top of the bytes that are needed


def storage_error(error: OSError, path: Path, doing: str = "write") -> StorageError:
    """The OSError as a StorageError about `path`, with a hint.

    doing: what was attempted, as a verb.
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
                "fix that, or choose other folders with --data-dir, --runs-dir, "
                "--submissions-dir; then run the same command again"
            )
            return StorageError(f"cannot {doing} {path}: {error.strerror or error}", hint=hint)


@contextmanager
def writing(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`, renamed to `path` when the block succeeds.

    It is fsynced first, and removed when the block fails. Raises StorageError when the disk is full
    or the folder is read-only; an existing file at `path` is then unchanged.
    """
    # the suffix stays the last part: Keras chooses the format by it
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
        with suppress(OSError):  # must not hide the error that is being raised
            temporary.unlink(missing_ok=True)


def clear_partial(folder: Path) -> None:
    """Delete the temporary files that killed processes left below `folder`.

    The caller must hold the lock of its writers.
    """
    for path in folder.rglob(f"{PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):  # a leftover file does no harm
                path.unlink()


def check_space(folder: Path, needed: int) -> None:
    """Check that the disk of `folder`, which must exist, has `needed` bytes free.

    Call it before anything is written. Raises StorageError.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StorageError(
            f"not enough space in {folder.parent}: {(needed + SPARE_BYTES) / 1e6:,.1f} MB "
            f"needed, {free / 1e6:,.1f} MB free",
            hint="free some space, or choose a folder on another disk with --data-dir",
        )


def unsafe_name(name: str) -> str:
    """Why a file from elsewhere must not get this relative name; "" when the name is safe.

    Names that are unsafe on Windows only are refused, too.
    """
    parts = name.split("/")
    if not name:
        return "no name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
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
    """Fsync `folder`, so that a rename inside it survives a power failure."""
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
    text = json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def append_json_line(path: Path, value: Any) -> None:
    """Append one JSON line, fsynced.

    If a killed process left an incomplete last line, a line break is added first, so that only that
    line is lost.
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
    """The values of a JSON-lines file, and the number of lines that are not valid JSON.

    A line is incomplete when its writer was killed. An absent file has no lines.
    """
    if not path.exists():
        return [], 0
    values: list[Any] = []
    invalid = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError:
            if line.strip():
                invalid += 1
    return values, invalid


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one when the file is absent or damaged.

    For files that can be written again.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file.

    Raises ValueError, which says why the file cannot be read.
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
    """Hex SHA-256 of a file.

    `progress` is called with the number of bytes read since the last call.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with open(path, "rb") as handle:
        while size := handle.readinto(buffer):
            digest.update(buffer[:size])
            if progress is not None:
                progress(size)
    return digest.hexdigest()


@contextmanager
def locked(path: Path, what: str) -> Generator[None]:
    """Hold an exclusive lock on `path`, an empty file that is never deleted.

    The kernel releases the lock when the process ends. Raises StorageError when another process
    holds it; `what` says what that process is doing.
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
