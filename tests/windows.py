"""Windows' rules, imitated in a process on Linux before it imports pcam_kit.

    python tests/windows.py train quick     runs `pcam train quick` under them

What is imitated: modules and functions that Windows lacks (for pcam_kit alone, as other packages
have their own ways there), files that cannot be renamed or deleted while this process has them open
or mapped, folders that cannot be opened, fsync of what was opened for reading, names with forbidden
characters, and text files that are cp1252 with CRLF unless the caller says otherwise. What is not:
pathlib with backslashes and drives, other processes' open files, and Windows itself.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import shutil
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
# the functions, and beginnings of names, that `os` and `signal` lack there
LACKING = {
    "os": (
        *("fork", "forkpty", "getegid", "geteuid", "getgid", "getuid", "getpgid", "getsid"),
        *("killpg", "mkfifo", "nice", "sched_", "setsid", "statvfs", "sync", "sysconf", "uname"),
        *("chown", "fchown", "lchown", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "EX_"),
        *("wait3", "wait4", "posix", "pread", "pwrite", "setuid", "setgid", "WNOHANG"),
    ),
    "signal": (
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP"),
        *("SIGTSTP", "SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_", "setitimer", "sigwait"),
    ),
}
CTRL_BREAK = signal.SIGUSR1  # the signal that stands for it
FORBIDDEN = set('<>:"|?*')
DENIED, OPEN_ELSEWHERE, INVALID_NAME = 5, 32, 123


def install() -> None:
    """Begin; pcam_kit must not be imported yet."""
    if any(name.partition(".")[0] == "pcam_kit" for name in sys.modules):
        raise RuntimeError("pcam_kit has been imported already")
    replace_files()
    open_files()
    import_modules()


def import_modules() -> None:
    """What pcam_kit imports: without MODULES, and `os` and `signal` as they are on Windows."""
    own, lacking = builtins.__import__, {name: without(name) for name in LACKING}
    lacking["os"].name = "nt"  # type: ignore[attr-defined]
    lacking["signal"].SIGBREAK = CTRL_BREAK  # type: ignore[attr-defined]

    def import_there(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        caller = str((globals or {}).get("__name__", ""))
        top = name.partition(".")[0]
        if level == 0 and caller.partition(".")[0] == "pcam_kit":
            if top in MODULES:
                raise ModuleNotFoundError(f"No module named {top!r}", name=top)
            if name in lacking:
                return lacking[name]
        return own(name, globals, locals, fromlist, level)

    builtins.__import__ = import_there


def without(name: str) -> types.ModuleType:
    """A copy of a module in which LACKING is not there."""
    module, copy = sys.modules[name], types.ModuleType(name)
    for key, value in vars(module).items():
        if not key.startswith(LACKING[name]):
            setattr(copy, key, value)
    return copy


def error(number: int, code: int, path: Any) -> OSError:
    """An OSError as Windows raises it."""
    raised = OSError(number, os.strerror(number), os.fspath(path))
    raised.winerror = code  # type: ignore[attr-defined]
    return raised


def used_files() -> set[str]:
    """The real paths of all files that this process has open or mapped."""
    paths: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            paths.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the one for listing
            continue
    with io.FileIO("/proc/self/maps") as maps:
        for line in maps.readall().decode(errors="replace").splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6:
                paths.add(fields[5])
    return paths


def check_free(path: Any, dir_fd: int | None = None) -> None:
    """Raises PermissionError when this process has the file, or one in the folder, open."""
    folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    real = os.path.realpath(os.path.join(folder, os.fspath(path)))
    used = used_files()
    if real in used and not os.path.isdir(real):
        raise error(errno.EACCES, OPEN_ELSEWHERE, path)
    if any(other.startswith(f"{real}/") for other in used):
        raise error(errno.EACCES, DENIED, path)


def check_name(path: Any) -> None:
    """Raises OSError when no file can have this name."""
    name = Path(os.fsdecode(path)).name
    if FORBIDDEN & set(name) or name.endswith((".", " ")):
        raise error(errno.EINVAL, INVALID_NAME, path)


def replace_files() -> None:
    """Rename, delete and make files and folders as Windows lets one."""

    def guarded(own: Callable[..., Any], *, replaces: bool = True) -> Callable[..., Any]:
        def moved(source: Any, target: Any, **options: Any) -> Any:
            check_name(target)
            check_free(source)
            if os.path.lexists(target):
                check_free(target)
                if not replaces:
                    raise error(errno.EEXIST, 183, target)
                if os.path.isdir(target):
                    raise error(errno.EACCES, DENIED, target)
            return own(source, target, **options)

        return moved

    def deleting(own: Callable[..., Any]) -> Callable[..., Any]:
        def delete(path: Any, *, dir_fd: int | None = None) -> Any:
            # there it opens files that vanish when they are closed
            if sys._getframe(1).f_globals["__name__"] != "tempfile":
                check_free(path, dir_fd)
            return own(path, dir_fd=dir_fd)

        return delete

    def mkdir(path: Any, *args: Any, own: Callable[..., Any] = os.mkdir, **options: Any) -> None:
        check_name(path)
        own(path, *args, **options)

    os.replace, os.rename = guarded(os.replace), guarded(os.rename, replaces=False)
    os.unlink = os.remove = deleting(os.unlink)
    os.rmdir = deleting(os.rmdir)
    os.mkdir = mkdir
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # rmtree opens no folders there


def open_files() -> None:
    """Open and sync files as Windows does."""
    own_open, own_descriptor, own_fsync = io.open, os.open, os.fsync

    def open_file(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *rest: Any,
        **options: Any,
    ) -> Any:
        writes = bool(set(mode) & set("wax+"))
        if writes and not isinstance(file, int):
            check_name(file)
        if "b" not in mode:
            encoding = "cp1252" if encoding in {None, "locale"} else encoding
            newline = "\r\n" if newline is None and writes else newline
        return own_open(file, mode, buffering, encoding, errors, newline, *rest, **options)

    def open_descriptor(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise error(errno.EACCES, DENIED, path)
        return own_descriptor(path, flags, *args, **options)

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        own_fsync(number)

    builtins.open = io.open = open_file  # type: ignore[assignment]
    os.open, os.fsync = open_descriptor, fsync


if __name__ == "__main__":
    install()
    from pcam_kit.__main__ import main

    main()
