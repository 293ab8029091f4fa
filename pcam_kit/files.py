"""Atomic files, either complete or absent: temporary name, fsync, rename; and locks.

Used for every write of this package. What Windows does otherwise is dealt with here: it renames
and deletes nothing that a program has open, and opens no folders.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import lock_descriptor, unlock_descriptor

from pcam_kit.errors import LockedError, StorageError, UsageError
from pcam_kit.parsing import open_own, parse_json, printable, read_json

log = logging.getLogger(__name__)

# prefix of every temporary name; such files are never read and may be deleted
PARTIAL = ".partial-"
SPARE_BYTES = 1 << 20  # kept free on top of the bytes that are needed
# Windows' numbers of errors: access denied (a folder with an open file in it, or no right to it),
# sharing violation (an open file), lock violation
DENIED, OPEN_ELSEWHERE = 5, {32, 33}
LONGEST_PATH = 259  # characters; longer ones need a setting of Windows
# how file systems say that they have no locks (NFS without its lock service, many in user space),
# or no fsync of folders (CIFS, and some in user space)
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
LARGEST_OWN = 64 << 20  # bytes; of a file that may be replaced because it is ours
RENAME_SECONDS = 2.0  # virus scanners and the search index have a new file open for so long at most


def storage_error(error: OSError, path: Path, doing: str = "write") -> StorageError:
    """The OSError as a StorageError about `path`, with a hint.

    doing: what was attempted, as a verb.
    """
    code = getattr(error, "winerror", None)  # only on Windows
    if code in OPEN_ELSEWHERE or code == DENIED:
        reason = "another program has it open"
        if code == DENIED:
            reason = "another program has it open, or you may not use that folder"
        return StorageError(
            f"cannot {doing} {path}: {reason}",
            hint="close that program (a notebook with the store counts, too), then run the same "
            "command again",
        )
    if code is not None and len(str(path.absolute())) > LONGEST_PATH:
        return StorageError(
            f"cannot {doing} {path}: the path is longer than {LONGEST_PATH} characters",
            hint="work in a folder with a shorter path, or allow long paths in Windows",
        )
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
def storage_errors(path: Path, doing: str = "write") -> Generator[None]:
    """Inside, an OSError becomes the `storage_error` of `path`; a StorageError stays."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, path, doing) from error


# called with the path of each file or folder of ours that was written, moved or deleted; `mirrors`
# listens once there is a mirror
listeners: list[Callable[[Path], None]] = []


def _announce(path: Path) -> None:
    for listener in listeners:
        listener(path)


@contextmanager
def writing(path: Path, *, announced: bool = True) -> Generator[Path]:
    """Yield a temporary path beside `path`, renamed to `path` when the block succeeds.

    It is fsynced first, and removed when the block fails. announced: to `listeners`. Raises
    StorageError when the disk is full or the folder is read-only; an existing file at `path` is
    then unchanged.
    """
    # the suffix stays the last part: Keras chooses the format by it
    temporary = path.with_name(f"{PARTIAL}{secrets.token_hex(4)}.{path.name}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync_file(temporary)
            move(temporary, path, announced=False)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # must not hide the error that is being raised
            temporary.unlink(missing_ok=True)
    if announced:
        _announce(path)


def delete(path: Path) -> None:
    """Delete a file of ours, if it is there. Raises OSError."""
    path.unlink(missing_ok=True)
    _announce(path)


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


def move(source: Path, target: Path, *, announced: bool = True) -> None:
    """Rename a file or folder, in place of a file at `target`.

    Windows refuses while a program has the file, or a file in the folder, open. It is tried again
    for RENAME_SECONDS. announced: to `listeners`. Raises OSError.
    """
    deadline = time.monotonic() + RENAME_SECONDS
    while True:
        try:
            source.replace(target)
            break
        except PermissionError as error:
            if getattr(error, "winerror", None) is None or time.monotonic() > deadline:
                raise
        gc.collect()  # the traceback of an error that was dealt with may hold a store open
        time.sleep(0.05)
    if announced:
        _announce(target)


def sync_file(path: Path) -> None:
    """Fsync a file that was written and closed."""
    with open(path, "rb+") as handle:  # Windows syncs only what may be written
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Fsync `folder`, so that a rename inside it survives a power failure.

    Nothing where the system opens no folders: on Windows. A warning, once, where the file system
    cannot do it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
        _warn_once(
            "the file system of this folder cannot make renames safe against a power failure "
            f"(fsync of a folder: {_reason(error)})",
            folder.parent if PARTIAL in folder.name else folder,
        )
    finally:
        os.close(descriptor)


_warned: set[str] = set()


def _warn_once(text: str, path: Path) -> None:
    """Log a warning that holds for a whole file system, once a process."""
    if text not in _warned:
        _warned.add(text)
        log.warning(f"{printable(str(path))}: {text}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def check_replaceable(path: Path, mark: bytes) -> None:
    """Raises UsageError when something else than a file of ours stands at `path`.

    mark: bytes that every such file holds. A link is something else, too.
    """
    if not os.path.lexists(path):
        return
    foreign = UsageError(
        f"{path} exists, and is no file that this command wrote",
        hint="choose another name with --out, or move that file away",
    )
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_OWN:
        raise foreign
    try:
        if mark not in path.read_bytes():
            raise foreign
    except OSError as error:
        raise storage_error(error, path, "read") from error


def write_bytes(path: Path, data: bytes, *, announced: bool = True) -> None:
    """Write a whole file atomically."""
    with writing(path, announced=announced) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, *, announced: bool = True) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), announced=announced)


def append_json_line(path: Path, value: Any) -> None:
    """Append one JSON line, fsynced.

    If a killed process left an incomplete last line, a line break is added first, so that only that
    line is lost. Other writers wait: `.lock-NAME` beside the file is locked, because on Windows
    nobody could read the file itself while it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(value, allow_nan=False) + "\n").encode()
        lock = path.with_name(f".lock-{path.name}")
        with open_own(lock, "a") as guard, open_own(path, "a+") as handle:
            _lock(guard.fileno(), lock, blocking=True)
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
    _announce(path)


def read_json_lines(path: Path) -> tuple[list[Any], int]:
    """The values of a JSON-lines file, and the number of lines that are not valid JSON.

    A line is incomplete when its writer was killed. An absent file has no lines.
    """
    if not path.exists():
        return [], 0
    values: list[Any] = []
    invalid = 0
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            values.append(parse_json(line))
        except ValueError:
            if line.strip():
                invalid += 1
    return values, invalid


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one when the file is absent or damaged.

    For files that can be written again.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


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
def locked(path: Path, what: str, *, wait: bool = False) -> Generator[None]:
    """Hold an exclusive lock on `path`, an empty file that is never deleted.

    The system releases the lock when the process ends. wait: until another process that holds it
    is done; else LockedError is raised, and `what` says what that process is doing. On a file
    system without locks it warns, once, and goes on. Raises StorageError when the file cannot be
    made.
    """
    # not filelock.FileLock: up to 3.29 it deletes the file, and without locks it falls back to the
    # existence of the file, which would outlive a killed process
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(open_own(path, "a"))
            free = _lock(handle.fileno(), path, blocking=wait)
        except OSError as error:
            raise storage_error(error, path, "lock") from error
        if not free:
            raise LockedError(
                f"another process is {what} (lock: {path})",
                hint="wait for it to end, then run the same command again",
            )
        # Windows would unlock a closed file only when it has time
        stack.callback(_unlock, handle.fileno())
        yield


def _lock(descriptor: int, path: Path, *, blocking: bool) -> bool:
    """Lock an open file; False when another process has. True where there are no locks."""
    try:
        return lock_descriptor(descriptor, blocking=blocking)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _warn_once(
            f"this file system has no locks ({_reason(error)}): do not run two commands on the "
            "same folder at the same time",
            path.parent,
        )
        return True


def _unlock(descriptor: int) -> None:
    try:
        unlock_descriptor(descriptor)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def is_locked(path: Path) -> bool:
    """Does a process hold this lock? Taken only for the moment of asking, and never created."""
    try:
        with open(path, "rb") as handle:
            return not _lock(handle.fileno(), path, blocking=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
