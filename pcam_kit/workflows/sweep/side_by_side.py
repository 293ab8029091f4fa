"""Jobs that are known beforehand, side by side: trainings such as seeds and folds, and others."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Sequence

from pcam_kit.errors import Interrupted, RunError
from pcam_kit.formatting import counted
from pcam_kit.progress import SILENT, Display
from pcam_kit.workflows.distillation import Recipe
from pcam_kit.workflows.sweep.job import Outcome, TrainingJob, new_job, read_epochs, shared_folder
from pcam_kit.workflows.sweep.pools import POLL, Attempts, JobT, Pool
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

COLUMNS = ("training", "validation AUC", "epochs")


def train_side_by_side(
    recipes: Sequence[Recipe],
    pool: Pool,
    workspace: Workspace,
    *,
    workers: int | None = None,
    display: Display = SILENT,
) -> None:
    """Train each of `recipes`; then all of these runs are complete.

    Those that are complete already are used, stopped ones resumed, and what dies is tried again.
    Raises RunError for one that cannot be trained, once the others have ended; Interrupted.
    """
    folder = shared_folder(workspace.runs) / f".side-by-side-{secrets.token_hex(4)}"
    (folder / "trials").mkdir(parents=True)
    jobs = [
        new_job(folder, one.config, one.overrides, workspace, trial=number, workers=workers)
        for number, one in enumerate(recipes, 1)
    ]

    def say(outcome: Outcome) -> None:
        log.info(f"{outcome.run}: validation AUC {outcome.auc:.4f}")

    run_side_by_side(jobs, pool, "training", display, columns=COLUMNS, row=_row, say=say)
    shutil.rmtree(folder, ignore_errors=True)


def run_side_by_side(
    jobs: Sequence[JobT],
    pool: Pool,
    what: str,
    display: Display,
    *,
    columns: Sequence[str],
    row: Callable[[JobT], Sequence[str]],
    say: Callable[[Outcome], None] = lambda _: None,
) -> None:
    """Run all jobs, as many at once as the pool takes, and close the pool.

    what: a job, in messages. columns, row: the table of those that run. say: of one that is done.
    What dies is tried again. Raises RunError for those that fail, once the others have ended;
    Interrupted.
    """
    waiting = list(jobs)
    total, faults = len(waiting), list[str]()
    log.info(f"{counted(total, what)}, {min(total, pool.size())} at once")
    attempts: Attempts[JobT] = Attempts(pool, what)
    try:
        with display.table() as table:
            while waiting or attempts.running:
                while waiting and attempts.has_room:
                    attempts.start(waiting.pop(0))
                for job, outcome in attempts.ended():
                    if outcome.ending == "complete":
                        say(outcome)
                    else:
                        faults.append(f"{what} {job.trial} of {total}: {outcome.error}")
                done = total - len(waiting) - len(attempts.running)
                title = f"{done} of {counted(total, what)}, {len(attempts.running)} running"
                table(title, columns, [row(job) for job in attempts.running.values()])
                time.sleep(POLL)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the {what}s were stopped; nothing is lost", hint="the same command resumes them"
        ) from None
    finally:
        pool.close()
    if faults:
        raise RunError(
            "\n  ".join([f"{len(faults)} of {counted(total, what)} failed", *faults]),
            hint="mend that, then run the same command again",
        )


def _row(job: TrainingJob) -> list[str]:
    """A training that runs."""
    epochs = read_epochs(job)
    auc = f"{epochs[-1][1]:.4f}" if epochs else "-"
    return [str(job.trial), auc, str(len(epochs))]
