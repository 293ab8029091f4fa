"""What a tracker is: told of a training's start, of each epoch, and of its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

# failed: by an error; stopped: by Ctrl-C or a killed process, and it may be resumed
Status = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class TrackedRun:
    """The run that is tracked.

    name: of its folder, unique. folder: its path. project: trackers group runs by it. params: the
    config, flat, e.g. {"training.epochs": 10}. facts: where it comes from, e.g. the commit.
    """

    name: str
    folder: str
    project: str
    params: Mapping[str, str | float | int | bool]
    facts: Mapping[str, str]


class Tracker(Protocol):
    """One tracker, in a process of its own. Whatever it raises ends this tracker alone."""

    def start(self, run: TrackedRun) -> set[int]:
        """Begin, or go on with the tracker's own run of that name; the epochs it has already."""
        ...

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of a finished epoch, counted from 1."""
        ...

    def finish(self, status: Status, scores: Mapping[str, float]) -> None:
        """End. scores: those of the finished run, with the interval of its AUC; else empty."""
        ...
