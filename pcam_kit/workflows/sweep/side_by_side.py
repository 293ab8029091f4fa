"""Trainings that are known beforehand, such as seeds and folds, side by side."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Sequence

from pcam_kit.errors import Interrupted, RunError
from pcam_kit.formatting import counted
from pcam_kit.progress import SILENT, Display
from pcam_kit.workflows.sweep.job import Job, new_job, read_epochs
from pcam_kit.workflows.sweep.pools import POLL, Attempts, Pool
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

COLUMNS = ("training", "validation AUC", "epochs")


def train_side_by_side(
    config: str,
    several: Sequence[tuple[str, ...]],
    pool: Pool,
    workspace: Workspace,
    *,
    workers: int = 2,
    display: Display = SILENT,
) -> None:
    """Train `config` with each of `several` overrides; then all of these runs are complete.

    Those that are complete already are used, stopped ones resumed, and what dies is tried again.
    Raises RunError for one that cannot be trained, once the others have ended; Interrupted.
    """
    folder = (workspace.runs / f".side-by-side-{secrets.token_hex(4)}").resolve()
    (folder / "trials").mkdir(parents=True)
    waiting = [
        new_job(folder, config, overrides, workspace, trial=number, workers=workers)
        for number, overrides in enumerate(several, 1)
    ]
    total, faults = len(waiting), list[str]()
    log.info(f"{counted(total, 'training')}, {min(total, pool.size())} at once")
    jobs = Attempts(pool, "training")
    try:
        with display.table() as table:
            while waiting or jobs.running:
                while waiting and jobs.has_room:
                    jobs.start(waiting.pop(0))
                for job, outcome in jobs.ended():
                    if outcome.ending == "complete":
                        log.info(f"{outcome.run}: validation AUC {outcome.auc:.4f}")
                    else:
                        faults.append(f"training {job.trial} of {total}: {outcome.error}")
                done = total - len(waiting) - len(jobs.running)
                title = f"{done} of {counted(total, 'training')}, {len(jobs.running)} running"
                table(title, COLUMNS, [_row(job) for job in jobs.running.values()])
                time.sleep(POLL)
    except KeyboardInterrupt:
        raise Interrupted(
            "the trainings were stopped; nothing is lost", hint="the same command resumes them"
        ) from None
    finally:
        pool.close()
        if not faults:
            shutil.rmtree(folder, ignore_errors=True)
    if faults:
        raise RunError(
            "\n  ".join([f"{len(faults)} of {total} trainings failed", *faults]),
            hint="mend that, then run the same command again",
        )


def _row(job: Job) -> list[str]:
    """A training that runs."""
    epochs = read_epochs(job)
    auc = f"{epochs[-1][1]:.4f}" if epochs else "-"
    return [str(job.trial), auc, str(len(epochs))]
