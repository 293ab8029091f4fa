"""The other end of `command_line.Warm`: imports once, forks for each command. Run as a script.

Requests are JSON lines: {"args", "cwd", "env", "output", "hook"} answers with a process id,
{"wait": id} with its exit code, and {"wait": id, "seconds": n} with null if it is still there after
that time. With --as-windows everything is under the rules of windows.py. A hook makes something
happen in the child; it has any of:

    {"on": "rename" | "step", "at": n, "signal": s}   signal s just before its n-th
                                                      rename of a file or folder (when
                                                      what is written appears), or
                                                      after its n-th training step
    {"set": {"package.module.NAME": value}}           constants of modules, to shorten waits
    {"full": {"below": folder, "after": n}}           no space left after n bytes in
                                                      files whose path starts so
    {"full": {"below": folder, "opens": n}}           no space left for what is opened
                                                      for writing after n times
    {"free": n}                                       the disk claims that n bytes are free
    {"unknown": [host, ...]}                          names that cannot be looked up
"""

from __future__ import annotations

import builtins
import errno
import gc
import importlib
import importlib.util
import io
import json
import os
import pkgutil
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# seconds; the loopback's list does not lag unless it is told to
DEFAULTS = {"pcam_kit.workflows.outcomes.LISTING_DELAY": 0.0}
PRELOADED = (
    "tensorflow",  # 4 s; nothing of it is used before the fork, so it has no threads yet
    "keras",
    "sklearn.metrics",
    "matplotlib.figure",
    "requests",
    "kagglesdk.competitions.types.competition_api_service",
)
EXTRAS = ("s3fs",)  # where they are installed; 0.3 s
SCRIPTS = ("__main__", "worker", "job")  # how the names of modules end that are not for importing


def main() -> None:
    """Serve until stdin ends."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if "--as-windows" in sys.argv:
        import windows

        windows.install()
    import pcam_kit
    from pcam_kit.__main__ import main as pcam

    for name in PRELOADED:  # not `kaggle`, which signs in when it is imported
        importlib.import_module(name)
    for name in EXTRAS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    for module in pkgutil.walk_packages(pcam_kit.__path__, "pcam_kit."):  # 0.4 s in each child
        if not module.name.endswith(SCRIPTS):
            importlib.import_module(module.name)
    gc.freeze()  # a collection in a child would copy all that it looks at
    if threading.active_count() > 1:  # they would be missing in a child
        raise RuntimeError(f"threads before the fork: {threading.enumerate()}")
    answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer(wait(request["wait"], request.get("seconds")))
            continue
        child = os.fork()
        if child == 0:
            run(pcam, request)
        answer(child)


def wait(child: int, seconds: float | None) -> int | None:
    """The exit code of a child; None if it is still there after so many seconds."""
    if seconds is None:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    deadline = time.monotonic() + seconds
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


def answer(value: Any) -> None:
    """One JSON line to the tests."""
    print(json.dumps(value), flush=True)


def run(command: Callable[[list[str]], None], request: dict[str, Any]) -> None:
    """Be `pcam` in the child; never returns."""
    code: object = 1
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for number, name in (
            (0, os.devnull),
            (1, request["output"] + ".out"),
            (2, request["output"] + ".err"),
        ):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["pcam", *request["args"]]
        hook = request["hook"] or {}
        install(hook | {"set": DEFAULTS | hook.get("set", {})})
        command(request["args"])
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def install(hook: dict[str, Any]) -> None:
    """Prepare what the hook asks for."""
    for name, value in hook.get("set", {}).items():
        module, _, constant = name.rpartition(".")
        if not hasattr(importlib.import_module(module), constant):
            raise ValueError(f"no constant {name}")
        setattr(importlib.import_module(module), constant, value)
    if "full" in hook:
        fill_disk(**hook["full"])
    if "free" in hook:
        whole = shutil.disk_usage("/")
        shutil.disk_usage = lambda _: whole._replace(free=hook["free"])  # type: ignore[assignment]
    if "unknown" in hook:
        forget_names(hook["unknown"])
    if hook.get("on") == "rename":
        before_rename(hook["at"], hook["signal"])
    elif hook.get("on") == "step":
        after_step(hook["at"], hook["signal"])
    elif "on" in hook:
        raise ValueError(f"no such hook: {hook}")


def before_rename(at: int, signal: int) -> None:
    """The signal before the n-th rename."""
    count = 0
    for name in ("replace", "rename"):
        own = getattr(Path, name)

        def before(self: Path, target: Path, own: Any = own) -> Any:
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal)
            return own(self, target)

        setattr(Path, name, before)


def after_step(at: int, signal: int) -> None:
    """The signal after the n-th training step."""
    from pcam_kit.display import TrainingDisplay

    count = 0
    own_step = TrainingDisplay.step

    def step(self: TrainingDisplay, epoch: int, step: int, loss: float) -> None:
        nonlocal count
        own_step(self, epoch, step, loss)
        count += 1
        if count == at:
            os.kill(os.getpid(), signal)

    TrainingDisplay.step = step


def fill_disk(below: str, after: int | None = None, opens: int | None = None) -> None:
    """Files whose absolute path starts with `below` (itself absolute) share what is left: `after`
    bytes, or whole files for `opens`.
    """
    own, left, times = io.open, after, opens

    class Limited(io.FileIO):
        def write(self, data: Any) -> int:
            nonlocal left
            size = memoryview(data).nbytes
            if left is not None and size > left:  # what fits is written, as the kernel does
                fits, left = left, 0
                if fits:
                    return super().write(memoryview(data).cast("B")[:fits])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
            left = None if left is None else left - size
            return super().write(data)

    class Refusing(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)

    def limited(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        nonlocal times
        if (
            isinstance(file, int)
            or not set(mode) & set("wax+")
            or not os.path.abspath(file).startswith(below)  # noqa: PTH100
            or Path(file).name.startswith(".lock-")  # to which nothing is written
        ):
            return own(file, mode, buffering, encoding, *args, **options)
        kind: type[io.FileIO] = Limited
        if times is not None:
            kind, times = (io.FileIO if times > 0 else Refusing), times - 1
        raw = kind(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return (
            buffered
            if "b" in mode
            else io.TextIOWrapper(buffered, encoding or "utf-8", *args, **options)
        )

    builtins.open = io.open = limited  # type: ignore[assignment]  # Path.open and Path.write_bytes look it up in io


def forget_names(names: list[str]) -> None:
    """Looking these hosts up fails."""
    own = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        if host in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return own(host, *args, **options)

    socket.getaddrinfo = look_up


if __name__ == "__main__":
    main()
