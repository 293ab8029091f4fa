"""How soon a validation AUC is reached: python benchmarks/time_to_quality.py --data-dir DIR
[--sizes 32 96] [--seeds N] [--torch-python PATH].

Trains the student's ResNet in plain PyTorch (benchmarks/torch_student.py) and our configs on the
stores in DIR, one after the other. Notes the seconds from the start of each command to the first
epoch that has the AUC in one view, or to its end, if the result has it. Writes the section "Time to
quality" of docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pages import write_sections

from pcam_kit.data.store import open_store
from pcam_kit.formatting import as_markdown

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "speed.md"
STUDENT = "the student's ResNet"
Curve = list[tuple[float, float]]  # seconds since the start, AUC of an epoch


@dataclass(frozen=True)
class Race:
    """What runs on patches of one size. student: for benchmarks/torch_student.py."""

    slug: str
    targets: tuple[float, ...]
    configs: tuple[str, ...]
    student: dict[str, Any]


RACES = {
    32: Race(
        "tnm-112-lab-2-2024",
        (0.8745, 0.89),
        ("lab-lite0",),
        {"widths": [32, 64, 128], "stem_stride": 1, "batch": 128, "epochs": 25},
    ),
    96: Race(
        "pcam",
        (0.94, 0.955),
        ("pcam96-lite0",),
        {"widths": [32, 64, 128, 128], "stem_stride": 2, "batch": 64, "epochs": 16},
    ),
}


def main() -> None:
    """Run the races and write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=sorted(RACES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--torch-python", default=sys.executable, help="where PyTorch is installed")
    parser.add_argument("--curves", type=Path, help="JSON: curves of before, and those of now")
    arguments = parser.parse_args()
    curves: dict[str, list[Curve]] = {}
    if arguments.curves is not None and arguments.curves.exists():
        curves = json.loads(arguments.curves.read_text(encoding="utf-8"))
    rows: list[list[str]] = []
    for size in arguments.sizes:
        race = RACES[size]
        names = {name: f"{size} px, {name}" for name in (STUDENT, *race.configs)}
        for seed in range(arguments.seeds):
            for name, key in names.items():
                if len(curves.setdefault(key, [])) > seed:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    start = student if name == STUDENT else partial(ours, config=name)
                    points = start(race, size, seed, arguments, Path(folder))
                    curves[key].append(until(max(race.targets), points))
                print(key, seed, curves[key][-1], flush=True)
                if arguments.curves is not None:
                    arguments.curves.write_text(json.dumps(curves), encoding="utf-8")
        own = {name: curves[key] for name, key in names.items()}
        rows += [[f"{size} px, {target}", *cells(own, target)] for target in race.targets]
    write_sections(PAGE, {"Time to quality": section(rows, arguments.seeds)})


def until(target: float, points: Generator[tuple[float, float]]) -> Curve:
    """The epochs up to the first that reaches the target; all, where none does."""
    curve: Curve = []
    with closing(points):
        for seconds, auc in points:
            curve.append((seconds, auc))
            if auc >= target:
                break
    return curve


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Generator[subprocess.Popen[Any]]:
    """The process is killed when the block is left early; SystemExit when it failed itself."""
    try:
        yield process
        if process.wait() != 0:
            raise SystemExit(f"failed: {process.args}")
    finally:
        process.kill()
        process.wait()


def student(
    race: Race, size: int, seed: int, arguments: argparse.Namespace, folder: Path
) -> Generator[tuple[float, float]]:
    """Trains in PyTorch; its data lie in files."""
    store = open_store(arguments.data_dir / race.slug / "store")
    arrays = {"labels": store.labels, "train": store.rows("train"), "valid": store.rows("valid")}
    task = {"images": str(store.path / "images.npy"), "crop": size, "seed": seed, "rate": 1e-3}
    for name, array in arrays.items():
        task[name] = str(folder / f"{name}.npy")
        np.save(folder / f"{name}.npy", array)
    command = [arguments.torch_python, HERE / "torch_student.py", json.dumps(task | race.student)]

    began = time.perf_counter()
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield time.perf_counter() - began, float(line)


def ours(
    race: Race, size: int, seed: int, arguments: argparse.Namespace, folder: Path, *, config: str
) -> Generator[tuple[float, float]]:
    """Trains with `pcam train`: its epochs, and last its result, the mean over several views."""
    command = [sys.executable, "-m", "pcam_kit", "train", config, "--seed", str(seed)]
    command += ["--data-dir", str(arguments.data_dir), "--runs-dir", str(folder)]
    command += ["--set", f"competition={race.slug}"]
    began, known = time.perf_counter(), 0
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    silent = subprocess.DEVNULL
    with ended(subprocess.Popen(command, stdout=silent, stderr=silent, env=quiet)) as process:
        running = True
        while running:
            running = process.poll() is None
            for epoch in epochs(folder)[known:]:
                known += 1
                yield time.perf_counter() - began, float(epoch["valid_auc"])
            time.sleep(0.1)
    (result,) = folder.glob("*/result.json")
    score = json.loads(result.read_text(encoding="utf-8"))["valid_auc"]
    yield time.perf_counter() - began, float(score)


def epochs(runs: Path) -> list[dict[str, Any]]:
    """The finished epochs of the only run there."""
    for path in runs.glob("*/metrics.jsonl"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return []


def cells(curves: dict[str, list[Curve]], target: float) -> list[str]:
    """Seconds of the student and of the best of ours, and how many times as fast that is."""
    medians = {name: median_seconds(own, target) for name, own in curves.items()}
    theirs = medians.pop(STUDENT)
    texts = [
        f"`{name}` " + ("never" if seconds is None else f"{seconds:.0f} s")
        for name, seconds in medians.items()
    ]
    reached = [seconds for seconds in medians.values() if seconds is not None]
    # a student that never gets there has at least had this long
    least = theirs or statistics.median(curve[-1][0] for curve in curves[STUDENT])
    student = f"{theirs:.0f} s" if theirs else f"not in {least:.0f} s"
    ratio = f"{'' if theirs else '> '}{least / min(reached):.1f}" if reached else ""
    return [student, ", ".join(texts), ratio]


def median_seconds(curves: list[Curve], target: float) -> float | None:
    """The median over seeds; None unless each of them reached it."""
    times = [next((seconds for seconds, auc in curve if auc >= target), None) for curve in curves]
    reached = [value for value in times if value is not None]
    return statistics.median(reached) if len(reached) == len(times) else None


def section(rows: list[list[str]], seeds: int) -> list[str]:
    """How it was measured, and the table."""
    headings = ["patches, AUC", STUDENT, "ours", "times as fast"]
    return [
        f"Written by `python benchmarks/time_to_quality.py`, seeds: {seeds}. Seconds from the",
        "start of the command, imports included, to the first epoch whose validation AUC in one",
        "view is as high, or to the end of the command, whose result is a mean over views; 19,171",
        "training and 2,407 validation patches. The student's ResNet is trained in plain PyTorch",
        "with autocast to bfloat16, channels last, AdamW and a cosine schedule",
        "(`benchmarks/torch_student.py`).",
        "",
        *as_markdown(headings, rows).splitlines(),
    ]


if __name__ == "__main__":
    main()
