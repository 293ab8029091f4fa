"""What `pcam doctor` looks at, one line a check; a check that fails itself is a line too.

    packages.py  Python and the versions of packages
    machine.py   Keras' backend and devices, memory
    account.py   Kaggle: credentials, connection, clock, rules, submissions left
    files.py     disk, stores, runs, ledger

Only the standard library is imported here and at the top of packages.py and machine.py: a doctor
must work where the rest does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pcam_kit.errors import PcamError

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """One line.

    `fix`: the command or the address that mends it, "" when there is nothing to mend.
    """

    name: str
    status: Status
    message: str
    fix: str = ""


def guarded(name: str, check: Callable[[], Iterable[Check]], *, debug: bool) -> Iterator[Check]:
    """The lines of one check; what it raises becomes its last line."""
    try:
        yield from check()
    except PcamError as error:
        yield Check(name, "problem", error.message, error.hint)
    except Exception as error:
        if debug:
            traceback.print_exc()
        yield Check(
            name,
            "problem",
            f"this check failed: {type(error).__name__}: {error}",
            "see where: pcam doctor --debug",
        )


@contextmanager
def beside(
    code: str, *arguments: str, seconds: float, **variables: str
) -> Generator[Callable[[], tuple[int, str, str]]]:
    """Run Python code in a process of its own while the block runs: the result waits for it and is
    exit code, stdout, stderr.

    It raises subprocess.TimeoutExpired `seconds` after the start; the process never outlives the
    block. `variables`: of its environment.
    """
    # -P: a keras.py in the working directory is not Keras. The package's folder comes last, where a
    # checkout needs it.
    code = f"import sys; sys.path.append({str(Path(__file__).resolve().parents[3])!r})\n{code}"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
    )

    def ended() -> tuple[int, str, str]:
        out, err = process.communicate(timeout=max(0.1, began + seconds - time.monotonic()))
        return process.returncode, out, err

    try:
        yield ended
    finally:
        process.kill()
        process.communicate()


def size(n: float) -> str:
    """`7_668_000_000` -> `7.7 GB`."""
    return f"{n / 1e9:.1f} GB" if n >= 0.95e9 else f"{n / 1e6:.0f} MB"
