"""What a sweep costs beside its trainings: python benchmarks/sweep.py [--trials N] [--workers N]

The loop of `pcam sweep` with trainings that take no time, as many at once as there are workers.
Each reports its epochs and ends, or is stopped. The seconds are those of choosing values, of the
journal on disk, and of deciding who is stopped.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from pcam_kit.config.sweep import EarlyStop, Range, Sweep
from pcam_kit.files import append_json_line, write_json
from pcam_kit.progress import SILENT
from pcam_kit.workflows.sweep import pools
from pcam_kit.workflows.sweep import run as loop
from pcam_kit.workflows.sweep.job import Outcome, TrainingJob
from pcam_kit.workflows.sweep.study import Study
from pcam_kit.workspace import Workspace

EPOCHS = 16


class StandIns:
    """Jobs that report one epoch a look."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._running: dict[str, tuple[TrainingJob, int]] = {}

    def size(self) -> int:
        return self._size

    def start(self, job: TrainingJob) -> None:
        self._running[job.name] = (job, 0)

    def ended(self) -> list[tuple[TrainingJob, str]]:
        done: list[tuple[TrainingJob, str]] = []
        for name, (job, epoch) in list(self._running.items()):
            quality = random.Random(job.trial).gauss(0.9, 0.02)
            auc = quality - 0.2 * math.exp(-epoch / 4)
            append_json_line(job.path(".epochs.jsonl"), {"epoch": epoch + 1, "auc": auc})
            self._running[name] = (job, epoch + 1)
            stopped = job.path(".stop").exists()
            if stopped or epoch + 1 == EPOCHS:
                ending = Outcome("stopped" if stopped else "complete", "run", auc)
                write_json(job.path(".outcome.json"), asdict(ending))
                del self._running[name]
                done.append((job, ""))
        return done

    def close(self) -> None: ...


def main() -> None:
    """Run one sweep of stand-ins, and print what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--method", choices=["tpe", "random"], default="tpe")
    arguments = parser.parse_args()
    pools.POLL = 0.0
    plan = Sweep(
        name="stand-ins",
        config="lab",
        search={
            "training.learning_rate": Range(low=1e-4, high=1e-1, log=True),
            "training.weight_decay": Range(low=1e-3, high=1.0, log=True),
            "model.dropout": Range(low=0.0, high=0.5),
            "training.batch_size": [32, 64, 128],
        },
        method=arguments.method,
        trials=arguments.trials,
        early_stop=EarlyStop(epochs=1, factor=3),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trials").mkdir()
        study = Study(plan, folder)
        one = loop._Loop(plan, study, folder, Workspace(), "tnm-112-lab-2-2024", 2)
        began = time.perf_counter()
        with SILENT.table() as table:
            one.run(StandIns(arguments.workers), table)
        seconds = time.perf_counter() - began
        trials = study.trials()
        again = time.perf_counter()
        Study(plan, folder).trials()
        again = time.perf_counter() - again
        journal = (folder / "journal.log").stat().st_size
    epochs = sum(trial.epochs for trial in trials)
    stopped = sum(trial.state == "stopped" for trial in trials)
    print(
        f"{len(trials):,} trials, {arguments.workers} at once, {arguments.method}: {stopped:,} "
        f"stopped early, {epochs:,} of {len(trials) * EPOCHS:,} epochs trained; {seconds:.1f} s, "
        f"{1000 * seconds / len(trials):.1f} ms a trial, {1000 * seconds / epochs:.2f} ms an "
        f"epoch; the journal has {journal / 1e6:.1f} MB and is read in {again:.1f} s"
    )


if __name__ == "__main__":
    main()
