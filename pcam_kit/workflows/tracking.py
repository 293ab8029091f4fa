"""What experiment trackers hear of a training (`training.track`): config, epochs, final scores."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from pcam_kit.errors import Interrupted
from pcam_kit.progress import TrainingMonitor
from pcam_kit.run_folders import Run, read_metrics
from pcam_kit.tracking import Session, Status, TrackedRun

log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0  # for what trackers of a finished training still have to send
STOP_SECONDS = 10.0  # the same after Ctrl-C or an error, when a person waits
# what shows the curves; {0}: the runs folder, {1}: the project
LOOK = {
    "tensorboard": "tensorboard --logdir {0}",
    "mlflow": "mlflow server, or the one at MLFLOW_TRACKING_URI",
    "trackio": "trackio show --project {1}",
}
SCORES = ("valid_auc", "valid_auc_low", "valid_auc_high", "valid_accuracy", "threshold")


class Tracking:
    """All trackers of one training; without any it does nothing."""

    def __init__(self, sessions: list[Session]) -> None:
        self._sessions = sessions
        self._scores: dict[str, float] | None = None

    def heard_by(self, monitor: TrainingMonitor) -> TrainingMonitor:
        """A monitor that passes everything on, and each epoch to the trackers, too."""
        return _Heard(monitor, self._sessions) if self._sessions else monitor

    def completed(self, run: Run) -> None:
        """Keep the scores of the finished run for the end."""
        self._scores = {name: float(getattr(run.outcome, name)) for name in SCORES}

    def end(self, error: BaseException | None) -> None:
        """Tell all trackers how the training ended, and wait for what they still have to send."""
        status: Status = "failed"
        if error is None and self._scores is not None:
            status = "finished"
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            status = "stopped"
        for session in self._sessions:
            session.end(status, self._scores or {})
        until = time.monotonic() + (FINISH_SECONDS if status == "finished" else STOP_SECONDS)
        for session in self._sessions:
            session.wait(max(until - time.monotonic(), 0.1))


class _Heard:
    def __init__(self, monitor: TrainingMonitor, sessions: list[Session]) -> None:
        self._monitor, self._sessions = monitor, sessions

    def started(self, epochs: int, steps: int, done: int) -> None:
        self._monitor.started(epochs, steps, done)

    def step(self, epoch: int, step: int, loss: float) -> None:
        self._monitor.step(epoch, step, loss)

    def epoch(self, metrics: dict[str, Any]) -> None:
        self._monitor.epoch(metrics)
        for session in self._sessions:
            session.log(metrics)


@contextmanager
def tracking(run: Run) -> Generator[Tracking]:
    """Track the training of `run` while the block runs, as its config says."""
    names = run.experiment.training.track
    if not names:
        yield Tracking([])
        return
    tracked, history = describe(run), read_metrics(run)
    tracking = Tracking([Session(name, tracked, history) for name in names])
    for name in names:
        log.info(
            f"tracked by {name}; to see it: {LOOK[name].format(run.path.parent, tracked.project)}"
        )
    try:
        yield tracking
    except BaseException as error:
        tracking.end(error)
        raise
    tracking.end(None)


def describe(run: Run) -> TrackedRun:
    """The run as trackers know it; their project is its competition."""
    meta = run.meta
    facts = {
        "run": run.name,
        "started": str(meta["started"]),
        "pcam_kit": str(meta.get("pcam_kit", "")),
        "commit": str((meta.get("git") or {}).get("commit", "")),
        "backend": str(meta["backend"]),
        "device": str(meta.get("device", "")),
        "store": str(meta["store_fingerprint"]),
    }
    return TrackedRun(
        name=run.name,
        folder=str(run.path.resolve()),
        project=f"pcam-{run.competition.slug}",
        params=flat(run.experiment.model_dump(mode="json")),
        facts={name: text for name, text in facts.items() if text},
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | int | bool]:
    """Nested values by dotted keys; lists as JSON, null as `null`."""
    result: dict[str, str | float | int | bool] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        match value:
            case dict():
                result |= flat(value, f"{name}.")
            case None | list():
                result[name] = json.dumps(value)
            case _:
                result[name] = value
    return result
