"""A process of this package that answers requests, and what both sides of it share.

Requests and answers are lines of JSON on stdin and stdout, with bytes after them where both sides
know how many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from pcam_kit.errors import PcamError
from pcam_kit.parsing import parsing


def own_group() -> dict[str, Any]:
    """Options of Popen for a process that a terminal's Ctrl-C does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def package_path() -> dict[str, str]:
    """The environment in which a process finds this package where this one found it."""
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


class Worker:
    """`python -m MODULE`, in a process group of its own. It ends with this process at the latest.

    what: the process in words. ended: the error where it is gone, with `hint`. refused: the error
    where it answers one. settings: environment variables, where this process has no such.
    """

    def __init__(
        self,
        module: str,
        what: str,
        *,
        ended: type[PcamError],
        hint: str,
        refused: type[PcamError],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._what, self._ended, self._hint, self._refused = what, ended, hint, refused
        self._process: Any = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # stderr is ours
            env={**(settings or {}), **os.environ, **package_path()},
            **own_group(),
        )

    def send(self, value: Any, data: bytes | memoryview = b"") -> None:
        """A line of JSON, then bytes."""
        with suppress(OSError):  # it has ended; `receive` says why
            self._process.stdin.write(f"{json.dumps(value)}\n".encode())
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """A line of JSON."""
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        with parsing(lambda reason: self._ended(f"{self._what} answers {reason}")):
            answer = json.loads(line)
        if "error" in answer:
            raise self._refused(answer["error"], hint=answer["hint"])
        return answer

    def receive_into(self, array: NDArray[Any]) -> None:
        """The bytes of a contiguous array."""
        if self._process.stdout.readinto(array.data.cast("B")) < array.nbytes:
            raise self._gone()

    def _gone(self) -> PcamError:
        code = self._process.wait()
        why = "it was killed, perhaps for want of memory" if code < 0 else f"exit code {code}"
        return self._ended(f"{self._what} ended: {why}", hint=self._hint)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()


class Answers:
    """The worker's side of stdout. What libraries print goes to stderr."""

    def __init__(self) -> None:
        self._stream: BinaryIO = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, value: dict[str, Any], data: bytes | memoryview = b"") -> None:
        """A line of JSON, then bytes."""
        self._stream.write(f"{json.dumps(value)}\n".encode())
        self._stream.write(data)
        self._stream.flush()

    def refuse(self, error: PcamError) -> None:
        """An error in place of an answer."""
        self.send({"error": error.message, "hint": error.hint})
