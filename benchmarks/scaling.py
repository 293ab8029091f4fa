"""How a sweep scales with its workers: python benchmarks/scaling.py --data-dir DIR [--rounds N]

Four trainings of `lab` (four epochs of 4,000 patches), one at a time with all processors and two
at a time with half of them each, as processes here and on a Ray cluster of this machine. Rounds
alternate; the table has the seconds of each sweep, its start included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pcam_kit.formatting import as_markdown

SWEEP = """\
config: lab
set: {competition: tnm-112-lab-2-2024, data.limit: 4000, training.epochs: 4}
search: {training.weight_decay: [0.01, 0.02, 0.03, 0.04]}
method: grid
early_stop: null
"""
CORES = os.cpu_count() or 1
WAYS = {
    "processes, one at a time": ("--jobs", "1"),
    "processes, two at a time": ("--jobs", "2"),
    "Ray, one at a time": ("--ray", "local", "--cpus", str(CORES)),
    "Ray, two at a time": ("--ray", "local", "--cpus", str(CORES // 2)),
}


def main() -> None:
    """Alternate the ways, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data_dir.resolve()
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, options in WAYS.items():
            seconds[name].append(_sweep(data, options))
            print(f"{name}: {seconds[name][-1]:.0f} s", file=sys.stderr, flush=True)
    columns = ("way", "least", "median")
    rows = [
        [name, f"{min(times):.0f} s", f"{statistics.median(times):.0f} s"]
        for name, times in seconds.items()
    ]
    print(as_markdown(columns, rows))


def _sweep(data: Path, options: tuple[str, ...]) -> float:
    """The seconds of one sweep in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "scaling.yaml").write_text(SWEEP, encoding="utf-8")
        command = [sys.executable, "-m", "pcam_kit", "sweep", "scaling.yaml", *options]
        began = time.perf_counter()
        subprocess.run(
            [*command, "--data-dir", str(data)], cwd=folder, check=True, capture_output=True
        )
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
