"""The training's side of a tracker: starts its process, tells it of epochs, waits for its end."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from pcam_kit.errors import ConfigError
from pcam_kit.text import printable
from pcam_kit.tracking.protocol import Status, TrackedRun
from pcam_kit.worker import package_path

log = logging.getLogger(__name__)

# Nothing is asked on the network but what the user configured: no statistics for the makers, no
# look-up of an account at Hugging Face whose token lies on this machine.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "PYTHONWARNINGS": "ignore",
}
# of trackio: only these lead to Hugging Face
HUB = ("TRACKIO_SPACE_ID", "TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID")


def check_installed(trackers: Collection[str]) -> None:
    """Raises ConfigError where the package of a tracker is missing."""
    missing = [name for name in trackers if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training.track: {missing[0]} is not installed",
            hint=f'pip install "pcam-kit[{",".join(missing)}]", or leave it out: '
            "--set training.track=[]",
        )


class Session:
    """A tracker of one training. It never raises; what fails is one warning."""

    def __init__(self, name: str, run: TrackedRun, history: Sequence[Mapping[str, Any]]) -> None:
        """Start the tracker. history: the epochs finished before; it takes those it lacks."""
        self.name = name
        self._failed = False
        self._lines: queue.Queue[str | None] = queue.Queue()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pcam_kit.tracking.worker", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env=_environment(),
                start_new_session=os.name == "posix",  # a hangup or Ctrl-C is not for it
            )
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        # a thread of its own, as a pipe that nobody reads fills up
        threading.Thread(target=self._write, name=f"track-{name}", daemon=True).start()
        self._tell({"start": asdict(run), "history": list(history)})

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Tell of a finished epoch: its line in metrics.jsonl."""
        if not self._failed and self._process.poll() is not None:
            self._fail(self._reason())
        self._tell({"log": dict(metrics)})

    def end(self, status: Status, scores: Mapping[str, float]) -> None:
        """Tell of the end. `wait` then waits for the tracker."""
        self._tell({"finish": {"status": status, "scores": dict(scores)}})
        self._lines.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until everything is sent, at most so long."""
        if self._failed:
            return
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._fail("it did not take everything in time")
            return
        if code != 0:
            self._fail(self._reason())
        elif self._process.stdout is not None:
            self._process.stdout.close()

    def _tell(self, message: Mapping[str, Any]) -> None:
        if not self._failed:
            self._lines.put(json.dumps(message, allow_nan=False) + "\n")

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        with suppress(OSError, ValueError):  # it has ended; why is read from its answer
            while (line := self._lines.get()) is not None:
                stream.write(line)
                stream.flush()
        with suppress(OSError):
            stream.close()

    def _reason(self) -> str:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            return answers.read(2000).strip() or f"exit code {self._process.returncode}"

    def _fail(self, reason: str) -> None:
        self._failed = True
        self._lines.put(None)
        log.warning(
            f"{self.name} does not track the rest of this training, which is not affected: "
            f"{printable(reason)}"
        )


def _environment() -> dict[str, str]:
    """What the user has set, and otherwise QUIET."""
    quiet = dict(QUIET)
    if not any(name in os.environ for name in HUB):
        quiet["HF_HUB_OFFLINE"] = "1"
    return quiet | dict(os.environ) | package_path() | {"CUDA_VISIBLE_DEVICES": "-1"}
