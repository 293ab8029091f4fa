"""Run `pcam` as a user does: another process, another folder, an environment with nothing of this
machine in it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
PATCHES = CHECKOUT.parent / "shared" / "pcam"  # real patches; never part of the repository
MNIST = CHECKOUT.parent / "shared" / "mnist" / "mnist.npz"  # nor is this

# tests run side by side, and more threads only slow down networks as small as theirs
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}
TRAIN_KEYS = {"run", "epochs", "best_epoch", "valid_auc", "valid_accuracy", "threshold", "seconds"}
EVALUATE_KEYS = {
    *(
        "run",
        "split",
        "n",
        "auc",
        "auc_low",
        "auc_high",
        "accuracy",
        "accuracy_at_half",
        "threshold",
        "log_loss",
        "brier",
        "ece",
    ),
    *(
        "interval",
        "accuracy_low",
        "accuracy_high",
        "accuracy_cross_fitted",
        "cross_fitted_by",
        "threshold_low",
        "threshold_high",
    ),
    *("temperature", "log_loss_at_temperature", "ece_at_temperature"),
    *("positive", "confusion", "sensitivity", "specificity", "precision", "f1"),
}
PREDICT_KEYS = {"csv", "rows", "runs", "positive_rate"}
SUBMIT_KEYS = {"ref", "status", "public_score", "private_score", "csv_sha256"}

Layout = Callable[..., tuple[Path, Path]]  # see the fixture real_patches


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int  # negative: killed by that signal
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout of a command that succeeded."""
        assert self.code == 0, self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    def ok(self) -> Done:
        """Itself, when it succeeded."""
        assert self.code == 0, self.err
        return self

    def refused(self, code: int, *words: str) -> Done:
        """Itself, when it ended with `code` and one clear error that has all `words` in it."""
        assert self.code == code, f"exit {self.code}, expected {code}\n{self.out}{self.err}"
        assert "Traceback" not in self.err, self.err
        assert "error: " in self.err, self.err
        for word in words:
            assert word in self.err, f"{word!r} is not in:\n{self.err}"
        assert self.out == "", "an error leaves stdout empty"
        return self


def clean_env(home: Path, **more: str) -> dict[str, str]:
    """An environment without Kaggle, proxies, PCAM_* or Python options; on the CPU, where results
    repeat bit for bit.
    """
    home.mkdir(parents=True, exist_ok=True)
    base = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "-1",
        "COLUMNS": "100",
    }
    return base | ONE_THREAD | more


def command(*args: str | Path) -> list[str]:
    """The installed `pcam`, as it was installed for this interpreter."""
    script = Path(sys.executable).with_name("pcam")
    return [
        *([str(script)] if script.is_file() else [sys.executable, "-m", "pcam_kit"]),
        *map(str, args),
    ]


def run_pcam(
    args: Sequence[str | Path],
    cwd: Path,
    env: dict[str, str],
    *,
    timeout: float = 240,
    stdin: str = "",
) -> Done:
    """Run one command to its end. Standard input is no terminal."""
    done = subprocess.run(
        command(*args),
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        input=stdin,
        encoding="utf-8",
    )
    return Done(done.returncode, done.stdout, done.stderr)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` but empty lock files, with its content: equal before and after
    means that nothing was changed.
    """
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


class Warm:
    """A process that has imported TensorFlow and forks for each command, so that a hundred starts
    cost seconds, not minutes.

    Each child runs `pcam_kit.__main__.main`, in its own folder and environment, and can be killed
    like any process.
    """

    def __init__(self, folder: Path, *, as_windows: bool = False) -> None:
        """`as_windows`: under the rules of windows.py, on a console that is cp1252."""
        options = ["--as-windows"] if as_windows else []
        self.encoding = "cp1252" if as_windows else "utf-8"
        self._folder = folder
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "server.err", "wb") as err:
            self._server = subprocess.Popen(
                [sys.executable, str(TESTS / "warm_server.py"), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env=clean_env(folder / "home", PYTHONIOENCODING=self.encoding),
                encoding="utf-8",
            )
        assert self._read() == "ready"

    def close(self) -> None:
        """End the process."""
        self._server.communicate()

    def start(
        self,
        args: Sequence[str | Path],
        cwd: Path,
        env: dict[str, str],
        hook: dict[str, Any] | None = None,
    ) -> Started:
        """Begin a command. `hook` makes something happen in the child: see warm_server.py."""
        self._count += 1
        output = self._folder / f"{self._count}"
        pid = self._ask(
            {
                "args": [str(arg) for arg in args],
                "cwd": str(cwd),
                "env": env,
                "output": str(output),
                "hook": hook,
            }
        )
        return Started(self, pid, output)

    def run(
        self,
        args: Sequence[str | Path],
        cwd: Path,
        env: dict[str, str],
        hook: dict[str, Any] | None = None,
    ) -> Done:
        """Run a command to its end."""
        return self.start(args, cwd, env, hook).wait()

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, (self._folder / "server.err").read_text(encoding="utf-8")
        return json.loads(line)


@dataclass(frozen=True)
class Started:
    """A command under way."""

    warm: Warm
    pid: int
    output: Path

    def wait(self, seconds: float | None = None) -> Done:
        """How it ended, once it has.

        Killed, and an AssertionError, when that takes longer than `seconds`.
        """
        code = self.warm._ask({"wait": self.pid, "seconds": seconds})
        if code is None:
            self.kill(signal.SIGKILL)
            self.warm._ask({"wait": self.pid})
            raise AssertionError(f"still running after {seconds} s: {self._read('.err')}")
        return Done(code, self._read(".out"), self._read(".err"))

    def _read(self, suffix: str) -> str:
        return self.output.with_suffix(suffix).read_text(encoding=self.warm.encoding)

    def kill(self, number: int) -> None:
        """Send it a signal.

        It is there until waited for, so the number cannot be another process's.
        """
        os.kill(self.pid, number)


@dataclass(frozen=True)
class Project:
    """A working directory in which someone uses pcam, and how to run it there."""

    path: Path
    env: dict[str, str]
    warm: Warm | None = None

    def pcam(self, *args: str | Path, **more: str) -> Done:
        """Run `pcam` in a process of its own; keywords go into its environment."""
        return run_pcam(args, self.path, self.env | more)

    def quick(self, *args: str | Path, hook: dict[str, Any] | None = None, **more: str) -> Done:
        """The same in a process forked from one that has imported TensorFlow already."""
        assert self.warm is not None
        return self.warm.run(args, self.path, self.env | more, hook)

    def runs(self) -> list[Path]:
        """The run folders, oldest first; their names tell the second alone, and short runs begin
        within one.
        """
        paths = (self.path / "runs").iterdir() if (self.path / "runs").is_dir() else []
        return sorted(paths, key=lambda path: (path.name.partition("-")[0], _started(path)))

    def csvs(self) -> list[Path]:
        """The CSVs, by name."""
        return sorted((self.path / "submissions").glob("*.csv"))


def _started(run: Path) -> str:
    try:
        return json.loads((run / "meta.json").read_text(encoding="utf-8"))["started"]
    except (OSError, ValueError, KeyError):
        return ""  # killed or damaged on purpose
