"""How long a report takes, how large it is, and how much memory: python benchmarks/report.py
[--patches N] [--folder DIR].

On synthetic 96x96 patches; 32,768 are as many as PCam has for validation. Two runs: predictions
made here and imported, and a small network with its occlusion maps. Each is measured in a process
of its own, from the start of `pcam report` to its end. DIR keeps the patches for another time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

import pcam_kit as pcam
from pcam_kit.run_folders import Run

TRAIN, TEST = 600, 100
STEP = 0.02  # seconds between two looks at the memory


def main() -> None:
    """Measure and print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=32_768)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder if arguments.folder is not None else Path(temporary)
        if not (folder / "data" / "synthetic" / "store" / "manifest.json").is_file():
            pcam.synthetic(
                size=96, train=TRAIN, valid=arguments.patches, test=TEST, workspace=folder
            )
        for run in (imported(folder), trained(folder)):
            measure(run, folder)


def imported(folder: Path) -> Run:
    """A run of noisy answers."""
    store = pcam.open_store(workspace=folder)
    rows = store.rows("valid")
    rng = np.random.default_rng(0)
    odds = rng.normal(3.0 * store.labels[rows] - 1.5, 1.8)
    answers = dict(zip(store.ids[rows].tolist(), (1 / (1 + np.exp(-odds))).tolist(), strict=True))
    return pcam.import_predictions(answers, name="imported", workspace=folder)


def trained(folder: Path) -> Run:
    """A run of a small network."""
    changes = {"training.epochs": 1, "evaluation.tta": "none"}
    return pcam.train("pcam96", overrides=changes, workspace=folder)


def measure(run: Run, folder: Path) -> None:
    """Write the report of a run in another process."""
    command = [sys.executable, "-m", "pcam_kit", "report", str(run.path.resolve())]
    start, peak = time.perf_counter(), 0
    child = psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    while child.poll() is None:  # the system's own record counts what this process had at the fork
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, child.memory_info().rss)
        time.sleep(STEP)
    seconds = time.perf_counter() - start
    if child.returncode != 0:
        sys.exit(f"pcam report ended with {child.returncode}")
    size = (run.path / "report.html").stat().st_size / 1e6
    n = run.outcome.valid_n
    print(
        f"{run.experiment.name}: {n:,} patches, {seconds:.1f} s, {peak / 1e9:.2f} GB, {size:.2f} MB"
    )


if __name__ == "__main__":
    main()
