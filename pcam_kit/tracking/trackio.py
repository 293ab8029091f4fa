"""trackio: its database on this machine (TRACKIO_DIR), or where the TRACKIO variables lead."""

# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pcam_kit.tracking.protocol import Status, TrackedRun


class Trackio:
    """One run a run folder, by its name."""

    def __init__(self) -> None:
        self._run: Any = None
        self._last = 0

    def start(self, run: TrackedRun) -> set[int]:
        """Open the run; trackio finds it by project and name."""
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        known = {
            line["step"]
            for line in SQLiteStorage.get_logs(run.project, run.name)
            if "valid_auc" in line
        }
        self._run = trackio.init(
            run.project,
            name=run.name,
            config={**run.facts, **run.params},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self._last = max(known, default=0)
        return known

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The metrics at step `epoch`."""
        self._last = epoch
        self._run.log(dict(metrics), step=epoch)

    def finish(self, status: Status, scores: Mapping[str, float]) -> None:
        """The scores beside the last epoch; trackio knows no states."""
        if scores:
            final = {f"final_{name}": value for name, value in scores.items()}
            self._run.log(final, step=self._last)
        self._run.finish()
