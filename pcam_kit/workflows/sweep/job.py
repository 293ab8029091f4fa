"""A job in a process of its own, such as one training of a trial; it tells of itself by files.

    python -m pcam_kit.workflows.sweep.job JOB.json

The files are in a folder that all machines of a cluster share: `NAME.epochs.jsonl`, a line an
epoch; `NAME.stop`, made by the sweep where the trial is to end; `NAME.outcome.json`, written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pcam_kit import mirrors
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Experiment
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, Interrupted, LockedError, PcamError, TrainingError
from pcam_kit.files import append_json_line, locked, read_json_lines, read_json_object, write_json
from pcam_kit.progress import SILENT, Silent, TrainingMonitor
from pcam_kit.run_folders import Run
from pcam_kit.workflows.compute import Resources
from pcam_kit.workflows.distillation import Recipe, teacher_recipes
from pcam_kit.workflows.plan import resolve_experiment
from pcam_kit.workflows.predictions import predictions_of
from pcam_kit.workflows.train import find_runs, train_once
from pcam_kit.workspace import Workspace

LOCKED_PAUSE = 0.5  # seconds between two looks at a run that another process still trains

Ending = Literal["complete", "stopped", "interrupted", "failed", "unusable"]


class Job(Protocol):
    """What a pool runs: a frozen dataclass of plain values, of which `job_of` knows the class.

    trial: its number, for messages. place: the working directory.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def trial(self) -> int: ...
    @property
    def place(self) -> str: ...
    @property
    def name(self) -> str: ...
    def path(self, suffix: str) -> Path: ...
    def perform(self) -> Outcome: ...


@dataclass(frozen=True)
class TrainingJob:
    """Training number `seed` of a trial.

    folder: the sweep's. config, overrides: as `pcam train` takes them. data, runs: folders, or
    URLs, so that each machine has mirrors of its own. place: the working directory, where configs
    are looked for.
    """

    trial: int
    seed: int
    config: str
    overrides: tuple[str, ...]
    folder: str
    data: str
    runs: str
    place: str
    workers: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.trial:05d}-{self.seed}"

    def path(self, suffix: str) -> Path:
        """One of its files."""
        return Path(self.folder) / "trials" / f"{self.name}{suffix}"

    def perform(self) -> Outcome:
        """Train, resume, or find the run that is complete."""
        try:
            run = _train(self)
            return Outcome("complete", run.name, run.outcome.valid_auc)
        except Interrupted as error:
            stopped = self.path(".stop").exists()
            ending: Ending = "stopped" if stopped else "interrupted"
            return Outcome(ending, _stopped_run(self), error=error.message)
        except (ConfigError, TrainingError) as error:
            return Outcome("failed", error=error.message)


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    interrupted: a signal stopped it, the run can be resumed. failed: this trial cannot be trained,
    as when its loss is not finite or its values do not go together. unusable: none can, as when
    the disk is full.
    """

    ending: Ending
    run: str = ""
    auc: float | None = None
    error: str = ""


def new_job(
    folder: Path,
    config: str,
    overrides: tuple[str, ...],
    workspace: Workspace,
    *,
    trial: int,
    seed: int = 0,
    workers: int | None,
) -> TrainingJob:
    """A job of this process: its folders by their whole paths, configs from where it works."""
    return TrainingJob(
        trial=trial,
        seed=seed,
        config=config,
        overrides=overrides,
        folder=str(folder),
        data=place_of(workspace.data),
        runs=place_of(workspace.runs),
        place=str(Path.cwd()),
        workers=workers,
    )


def place_of(folder: Path) -> str:
    """A folder as another machine finds it: of a mirror its URL."""
    return mirrors.address_of(folder) or str(folder.resolve())


def shared_folder(runs: Path) -> Path:
    """A folder that all machines of a cluster have: that of the runs.

    A mirror is of one machine; then the working directory.
    """
    return (Path() if mirrors.address_of(runs) else runs).resolve()


def job_of(values: dict[str, Any]) -> Job:
    """The job that `dataclasses.asdict` gave."""
    if "overrides" not in values:
        from pcam_kit.workflows.sweep.shards import ShardJob

        return ShardJob(**values)
    values = {**values, "overrides": tuple(values["overrides"])}
    return TrainingJob(**values)


def read_outcome(job: Job) -> Outcome | None:
    """How a job ended; None where it died before it could say so."""
    if not job.path(".outcome.json").is_file():
        return None
    return Outcome(**read_json_object(job.path(".outcome.json")))


def read_epochs(job: TrainingJob) -> list[tuple[int, float]]:
    """Each epoch that was reported, with its validation AUC."""
    if not job.path(".epochs.jsonl").is_file():
        return []
    lines, _ = read_json_lines(job.path(".epochs.jsonl"))
    return [(int(line["epoch"]), float(line["auc"])) for line in lines]


def run_job(job: Job) -> None:
    """Do what the job is about; then write the outcome."""
    os.chdir(job.place)
    try:
        outcome = job.perform()
    except PcamError as error:
        outcome = Outcome("unusable", error=f"{error.message}\n  -> {error.hint}".rstrip(" ->\n"))
    write_json(job.path(".outcome.json"), asdict(outcome))


def _train(job: TrainingJob) -> Run:
    workspace, experiment, store = _place(job)
    for recipe in teacher_recipes(resolve_experiment(experiment, store), store):
        _train_teacher(recipe, job, store, workspace)
    while True:
        try:
            return train_once(
                job.config,
                job.overrides,
                store,
                workspace,
                resources=Resources(workers=job.workers),
                display=_Reports(job),
            )
        except LockedError:  # by an attempt that the sweep has lost sight of, but still runs
            if job.path(".stop").exists():
                raise
            time.sleep(LOCKED_PAUSE)


def _train_teacher(recipe: Recipe, job: TrainingJob, store: Store, workspace: Workspace) -> None:
    """Train a teacher, and have its answers, before the trials that share it."""
    digest = hashlib.sha256(json.dumps(asdict(recipe)).encode()).hexdigest()[:16]
    lock = Path(job.folder) / "trials" / f"teacher-{digest}.lock"
    with locked(lock, f"training {recipe.config}, a teacher", wait=True):
        teacher = train_once(
            recipe.config,
            recipe.overrides,
            store,
            workspace,
            resources=Resources(workers=job.workers),
        )
        predictions_of(teacher, "train", teacher.experiment.evaluation.tta, workspace)


def _stopped_run(job: TrainingJob) -> str:
    """The name of the run that a stopped job leaves."""
    workspace, experiment, store = _place(job)
    found = find_runs(experiment, store, workspace)
    return found[-1].name if found else ""


def _place(job: TrainingJob) -> tuple[Workspace, Experiment, Store]:
    workspace = Workspace.of(data=job.data, runs=job.runs)
    experiment = load_experiment(job.config, job.overrides)
    slug = experiment.competition or workspace.last_fetched()
    return workspace, experiment, workspace.store(slug, experiment.data.stain)


class _Reports(Silent):
    """A display that notes each epoch, and ends the training where the sweep says so."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self._parent = os.getppid()

    @contextmanager
    def training(self) -> Generator[TrainingMonitor]:
        """Shows nothing."""
        with SILENT.training() as monitor:
            yield _Monitor(monitor, self._job, self._parent)


class _Monitor:
    def __init__(self, silent: TrainingMonitor, job: TrainingJob, parent: int) -> None:
        self.started, self.step = silent.started, silent.step
        self._job, self._parent = job, parent

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch is validated, and its checkpoint is on disk."""
        line = {"epoch": metrics["epoch"], "auc": metrics["valid_auc"]}
        append_json_line(self._job.path(".epochs.jsonl"), line)
        if self._job.path(".stop").exists():
            raise Interrupted("stopped early: other trials do better")
        if os.getppid() != self._parent:
            raise Interrupted("the sweep that began this is gone")


def main() -> None:
    """Do the job in the file that is named."""
    run_job(job_of(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
