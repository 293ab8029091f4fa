"""MLflow: the server of MLFLOW_TRACKING_URI, else MLflow's own default in the working directory."""

# pyright: basic

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pcam_kit.tracking.protocol import Status, TrackedRun

RUN = "pcam_kit.run"  # the tag with the name of the run folder
BATCH = 100  # parameters in one request, the most that MLflow takes
LONGEST = 6000  # characters of a parameter, likewise
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class MLflow:
    """One MLflow run a run folder, found again by its tag; the experiment is the project."""

    def __init__(self) -> None:
        self._client: Any = None
        self._id = ""
        self._last = 0

    def start(self, run: TrackedRun) -> set[int]:
        """Find or create the run."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = client = MlflowClient()
        experiment: Any = client.get_experiment_by_name(run.project)
        if experiment is None:
            experiment = client.get_experiment(client.create_experiment(run.project))
        number = experiment.experiment_id
        found = client.search_runs([number], f"tags.`{RUN}` = '{run.name}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            client.update_run(self._id, status="RUNNING")
            known = {metric.step for metric in client.get_metric_history(self._id, "valid_auc")}
            self._last = max(known, default=0)
            return known
        tags = {RUN: run.name, "pcam_kit.folder": run.folder}
        tags |= {f"pcam_kit.{name}": text for name, text in run.facts.items()}
        self._id = client.create_run(number, tags=tags, run_name=run.name).info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in run.params.items()]
        for first in range(0, len(params), BATCH):
            client.log_batch(self._id, params=params[first : first + BATCH])
        return set()

    def log(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """A metric each, at step `epoch`."""
        from mlflow.entities import Metric

        self._last = epoch
        time_ms = round(time.time() * 1000)
        self._client.log_batch(
            self._id,
            metrics=[Metric(name, value, time_ms, epoch) for name, value in metrics.items()],
        )

    def finish(self, status: Status, scores: Mapping[str, float]) -> None:
        """The scores as metrics of their own, and the state of the run."""
        if scores:
            self.log(self._last, {f"final_{name}": value for name, value in scores.items()})
        self._client.set_terminated(self._id, STATUS[status])
