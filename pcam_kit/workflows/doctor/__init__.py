"""What the checks of `pcam doctor` share: the result of a check, and Python in another process.

    diagnose.py  every check in turn
    packages.py  Python and the versions of packages
    machine.py   Keras' backend and devices, memory
    account.py   Kaggle: credentials, connection, clock, rules, submissions left
    files.py     disk, stores, runs, ledger

Only the standard library is imported here and at the top of diagnose.py, packages.py and
machine.py: a doctor must work where the rest is broken.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pcam_kit.errors import PcamError

log = logging.getLogger(__name__)

CheckStatus = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """One result of a check.

    `fix`: the command or the address that solves it, "" when there is nothing to solve.
    """

    name: str
    status: CheckStatus
    message: str
    fix: str = ""


class ProcessResult(NamedTuple):
    """How a process ended and what it printed; the exit code is negative after a signal."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def failure(self) -> str:
        """Why it failed: its signal, else the last line of its stderr, else its exit code."""
        if self.exit_code < 0:
            return f"killed by signal {-self.exit_code}"
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.exit_code}"


def run_check(name: str, check: Callable[[], Iterable[Check]], *, debug: bool) -> Iterator[Check]:
    """The results of one check; an exception that it raises becomes its last result.

    `debug`: log the traceback of an unexpected exception as an error.
    """
    try:
        yield from check()
    except PcamError as error:
        yield Check(name, "problem", error.message, error.hint)
    except Exception as error:
        if debug:
            log.error(traceback.format_exc().rstrip())
        yield Check(
            name,
            "problem",
            f"this check failed: {type(error).__name__}: {error}",
            "see where: pcam doctor --debug",
        )


@contextmanager
def background_python(
    code: str, *arguments: str, seconds: float, **variables: str
) -> Generator[Callable[[], ProcessResult]]:
    """Run Python code in another process while the block runs; the yielded function waits for it.

    That function raises subprocess.TimeoutExpired `seconds` after the start. The process never
    outlives the block. `variables` are added to its environment.
    """
    # -P: a keras.py in the working directory is not Keras. The package's folder comes last; only a
    # checkout needs it.
    code = f"import sys; sys.path.append({str(Path(__file__).resolve().parents[3])!r})\n{code}"
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **variables},
    )

    def wait() -> ProcessResult:
        out, err = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        return ProcessResult(process.returncode, out, err)

    try:
        yield wait
    finally:
        process.kill()
        process.communicate()
