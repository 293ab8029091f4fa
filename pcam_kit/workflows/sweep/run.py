"""The loop of a sweep: jobs are started, the study hears of their epochs, they of its word."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pcam_kit.config.load import dump_yaml, load_experiment, read_yaml_file, validate
from pcam_kit.config.sweep import Sweep, read_sweep
from pcam_kit.errors import ConfigError, Interrupted, RunError
from pcam_kit.files import locked, write_bytes
from pcam_kit.formatting import counted, duration
from pcam_kit.progress import SILENT, Display, LiveTable
from pcam_kit.workflows.sweep import pools
from pcam_kit.workflows.sweep.job import Outcome, TrainingJob, new_job, read_epochs
from pcam_kit.workflows.sweep.pools import HERE, Attempts, Pool, Where, open_pool
from pcam_kit.workflows.sweep.result import SweepResult, as_table, ranked, summarise
from pcam_kit.workflows.sweep.study import Study, Trial
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

FAILURES = 3  # of the first trials, all of them: the others would fail, too
LEADING = 5  # of the complete trials, in the table while the sweep runs


@dataclass(frozen=True)
class SweepRequest:
    """What to search, and where.

    out: the sweep's folder; None: its name among the sweeps. trials: instead of the file's.
    workers: as `Resources` has it, for each training.
    """

    path: Path
    out: Path | None = None
    where: Where = HERE
    trials: int | None = None
    workers: int | None = None


def sweep(request: SweepRequest, workspace: Workspace, *, display: Display = SILENT) -> SweepResult:
    """Train every trial that is not complete, and compare them.

    Stopped at any moment, the same call resumes. Raises ConfigError for a search that no config
    fits and for another sweep in the same folder, LockedError, RunError when trials fail,
    Interrupted.
    """
    plan = read_sweep(request.path)
    if request.trials is not None:
        plan = plan.model_copy(update={"trials": request.trials})
    folder = (request.out or workspace.sweeps / plan.name).resolve()
    experiment = load_experiment(plan.config, plan.overrides({}))
    # resolved once: another competition may be fetched while this sweep trains
    slug = experiment.competition or workspace.last_fetched()
    workspace.store(slug, experiment.data.stain)
    with locked(folder / ".lock", f"running the sweep {folder}"):
        _check_same(plan, folder)
        (folder / "trials").mkdir(exist_ok=True)
        study = Study(plan, folder)
        loop = _Loop(plan, study, folder, workspace, slug, request.workers)
        left = plan.count - sum(trial.state != "running" for trial in study.trials())
        if left > 0:
            pool = open_pool(request.where)
            log.info(
                f"{counted(left, 'trial')} of {plan.count:,} to train, {pool.size()} at once -> "
                f"{folder}"
            )
            try:
                with display.table() as table:
                    loop.run(pool, table)
            except KeyboardInterrupt:
                raise Interrupted(
                    f"the sweep {plan.name} was stopped; nothing is lost",
                    hint="the same command resumes it",
                ) from None
            finally:
                pool.close()
        return summarise(plan, study.trials(), folder, workspace)


def _check_same(plan: Sweep, folder: Path) -> None:
    """Note the sweep in its folder. Raises ConfigError where the folder has another one."""
    path = folder / "sweep.yaml"
    if path.is_file():
        before = validate(Sweep, read_yaml_file(path), str(path))
        same = before.model_copy(update={"trials": plan.trials})
        if same != plan:
            keys = [
                name for name in Sweep.model_fields if getattr(same, name) != getattr(plan, name)
            ]
            raise ConfigError(
                f"{folder} has another sweep: {', '.join(keys)} differ",
                hint="give this one another folder (--out) or name; more trials alone are added",
            )
    write_bytes(path, dump_yaml(plan).encode())


@dataclass
class _Progress:
    """A trial under way. aucs: by number of the training. told, auc: the last epoch reported."""

    trial: Trial
    aucs: dict[int, float] = field(default_factory=dict[int, float])
    runs: dict[int, str] = field(default_factory=dict[int, str])
    told: int = 0
    auc: float | None = None


class _Loop:
    """The trials of a sweep, from the first to the last."""

    def __init__(
        self,
        plan: Sweep,
        study: Study,
        folder: Path,
        workspace: Workspace,
        slug: str,
        workers: int | None,
    ) -> None:
        self._plan, self._study, self._folder = plan, study, folder
        self._workspace, self._slug, self._workers = workspace, slug, workers
        begun = study.trials()
        self._done = [trial for trial in begun if trial.state != "running"]
        self._begun = len(begun)
        # of a sweep that was stopped: they come first
        self._waiting = [
            _Progress(t, told=t.epochs, auc=t.auc) for t in begun if t.state == "running"
        ]
        self._under_way: dict[int, _Progress] = {}
        self._started, self._done_before = time.monotonic(), len(self._done)

    def run(
        self, pool: Pool, table: LiveTable, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Until every trial has ended. Raises RunError where nothing can be trained."""
        jobs: Attempts[TrainingJob] = Attempts(pool, "trial")
        while True:
            while jobs.has_room and (one := self._next()) is not None:
                self._start(one, jobs)
            if not self._under_way:
                return
            for job in jobs.running.values():
                self._listen(self._under_way[job.trial], job)
            for job, outcome in jobs.ended():
                self._end(job, outcome, jobs)
            self._show(table)
            pause(pools.POLL)

    def _next(self) -> _Progress | None:
        if self._waiting:
            return self._waiting.pop(0)
        if self._begun >= self._plan.count:
            return None
        self._begun += 1
        return _Progress(self._study.begin())

    def _start(self, one: _Progress, jobs: Attempts[TrainingJob]) -> None:
        """Begin the next training of a trial."""
        seed = len(one.aucs)
        overrides = (*self._plan.overrides(one.trial.values, seed), f"competition={self._slug}")
        self._under_way[one.trial.number] = one
        jobs.start(
            new_job(
                self._folder,
                self._plan.config,
                overrides,
                self._workspace,
                trial=one.trial.number,
                seed=seed,
                workers=self._workers,
            )
        )

    def _listen(self, one: _Progress, job: TrainingJob) -> None:
        """Tell the study of new epochs, and the trial to stop where the study says so."""
        if job.seed > 0:
            return
        for epoch, auc in read_epochs(job):
            if epoch <= one.told:
                continue
            one.told, one.auc = epoch, auc
            if self._study.report(job.trial, epoch, auc):
                job.path(".stop").touch()

    def _end(self, job: TrainingJob, outcome: Outcome, jobs: Attempts[TrainingJob]) -> None:
        """A job has ended: the next training of its trial, or the trial's end."""
        one = self._under_way.pop(job.trial)
        self._listen(one, job)
        if outcome.run:
            one.runs[job.seed] = outcome.run
        runs = [one.runs[seed] for seed in sorted(one.runs)]
        match outcome.ending:
            case "complete":
                assert outcome.auc is not None
                one.aucs[job.seed] = outcome.auc
                if len(one.aucs) < self._plan.seeds:
                    self._start(one, jobs)
                    return
                self._study.complete(job.trial, statistics.fmean(one.aucs.values()), runs)
            case "stopped":
                self._study.stop(job.trial, runs)
            case "unusable":
                # the trial stays open: once the fault is mended, the same command trains it
                raise RunError(
                    f"trial {job.trial} cannot be trained, nor can the others: {outcome.error}",
                    hint="mend that, then run the same command again",
                )
            case _:
                self._study.fail(job.trial, outcome.error)
        self._report(self._study.trial(job.trial))

    def _report(self, trial: Trial) -> None:
        """One line about a trial that has ended. Raises RunError where all have failed so far."""
        self._done.append(trial)
        values = ", ".join(f"{key}={json.dumps(value)}" for key, value in trial.values.items())
        match trial.state:
            case "complete":
                best = max(t.auc for t in self._done if t.state == "complete" and t.auc is not None)
                mark = " (best)" if trial.auc == best else ""
                log.info(f"trial {trial.number}: validation AUC {trial.auc:.4f}{mark}  {values}")
            case "stopped":
                at = f"AUC {trial.auc:.4f} after {counted(trial.epochs, 'epoch')}"
                log.info(f"trial {trial.number}: stopped early, {at}  {values}")
            case _:
                log.warning(f"trial {trial.number}: {trial.error}  {values}")
        failed = [one for one in self._done if one.state == "failed"]
        if len(failed) == len(self._done) >= FAILURES:
            raise RunError(
                f"all of the first {len(failed)} trials failed; the last: {trial.error}",
                hint=f"see {self._folder / 'trials'}, mend that, begin in another folder: --out",
            )

    def _show(self, table: LiveTable) -> None:
        """What runs, and the best so far."""
        running = [
            replace(one.trial, auc=one.auc, epochs=one.told) for one in self._under_way.values()
        ]
        complete = [trial for trial in ranked(self._done) if trial.state == "complete"]
        left = self._plan.count - len(self._done)
        title = f"{len(self._done):,} of {self._plan.count:,} trials, {len(running)} running"
        ended = len(self._done) - self._done_before
        if left > 0 and ended > 0:
            seconds = (time.monotonic() - self._started) / ended * left
            title += f", about {duration(seconds)} left"
        table(title, *as_table([*running, *complete[:LEADING]], list(self._plan.search)))
