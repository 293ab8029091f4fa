"""TensorBoard: event files in `tensorboard/` of the run folder, written without TensorFlow."""

# pyright: basic

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pcam_kit.tracking.protocol import Status, TrackedRun

FOLDER = "tensorboard"  # in the run folder


class TensorBoard:
    """Scalars by epoch, and the config as hyperparameters."""

    def __init__(self) -> None:
        # TensorBoard's own switch to its small substitute: importing TensorFlow takes seconds
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
        self._writer: Any = None
        self._last = 0

    def start(self, run: TrackedRun) -> set[int]:
        """Open another event file beside those of before."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = Path(run.folder) / FOLDER
        known = logged_epochs(folder)
        self._last = max(known, default=0)
        # unbuffered enough to watch: epochs are few
        self._writer = EventFileWriter(str(folder), flush_secs=1)
        if not known:
            params = {**run.facts, **run.params}
            self._write(hparams_pb(params, trial_id=run.name), step=0)
        return known

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """A scalar a metric."""
        self._last = epoch
        self._scalars(metrics, epoch)

    def finish(self, status: Status, scores: Mapping[str, float]) -> None:
        """The scores as scalars at the last epoch."""
        self._scalars({f"final/{name}": value for name, value in scores.items()}, self._last)
        self._writer.close()

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        kind = _message("summary_pb2", "Summary")
        pairs = values.items()
        self._write(kind(value=[kind.Value(tag=n, simple_value=v) for n, v in pairs]), step)

    def _write(self, summary: Any, step: int) -> None:
        kind = _message("event_pb2", "Event")
        self._writer.add_event(kind(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()


def _message(module: str, name: str) -> Any:
    """A class of TensorBoard's messages, which are made when its modules are imported."""
    return getattr(import_module(f"tensorboard.compat.proto.{module}"), name)


def logged_epochs(folder: Path) -> set[int]:
    """The epochs in the event files of a folder."""
    if not folder.is_dir():
        return set()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(folder)).Reload()
    if "valid_auc" not in events.Tags()["scalars"]:
        return set()
    return {event.step for event in events.Scalars("valid_auc")}
