"""Trainings that are known beforehand, such as seeds and folds, side by side."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from pcam_kit.errors import Interrupted, RunError
from pcam_kit.formatting import counted
from pcam_kit.progress import SILENT, Display
from pcam_kit.workflows.sweep.job import Job, read_epochs, read_outcome
from pcam_kit.workflows.sweep.pools import ATTEMPTS, POLL, Pool
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)


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
        Job(
            trial=i,
            seed=0,
            config=config,
            overrides=overrides,
            folder=str(folder),
            data=str(workspace.data.resolve()),
            runs=str(workspace.runs.resolve()),
            place=str(Path.cwd()),
            workers=workers,
        )
        for i, overrides in enumerate(several)
    ]
    total, attempts, faults = len(waiting), dict.fromkeys(range(len(waiting)), 0), list[str]()
    log.info(f"{counted(total, 'training')}, {min(total, pool.size())} at once")
    running: dict[int, Job] = {}
    try:
        with display.work() as work:
            while waiting or running:
                while waiting and len(running) < pool.size():
                    job = waiting.pop(0)
                    attempts[job.trial] += 1
                    running[job.trial] = job
                    pool.start(job)
                for job, why in pool.ended():
                    del running[job.trial]
                    outcome = read_outcome(job)
                    if outcome is not None and outcome.ending == "complete":
                        log.info(f"{outcome.run}: validation AUC {outcome.auc:.4f}")
                    elif outcome is None and attempts[job.trial] < ATTEMPTS:
                        log.warning(f"training {job.trial + 1}: {why}; again, from its checkpoint")
                        waiting.insert(0, job)
                    else:
                        reason = why if outcome is None else outcome.error
                        faults.append(f"training {job.trial + 1} of {total}: {reason}")
                done = total - len(waiting) - len(running)
                epochs = sum(len(read_epochs(job)) for job in running.values())
                work(f"trainings ({len(running)} running, {epochs} epochs)", done, total)
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
