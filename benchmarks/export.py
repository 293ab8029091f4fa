"""How fast each format of `pcam export` predicts: taskset -c 0 python benchmarks/export.py
[--rounds N].

Networks of two configs with random weights, on random patches. The process is held on one core
and its own CPU time counts, so that other programs hardly do. Each round runs all formats in turn;
the table in docs/export.md has the median rates, and the median of the ratios to Keras within a
round. The first batch of each is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from pcam_kit.config import load
from pcam_kit.exports import FORMATS, Network
from pcam_kit.exports.check import BATCH, answers
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.task import Task

PAGE = Path(__file__).resolve().parent.parent / "docs" / "export.md"
BEGIN, END = "<!-- benchmarks/export.py -->", "<!-- end -->"
NETWORKS = {"lab": 32, "pcam96-p4m": 96}
BATCHES = {32: 4, 96: 1}
DEFAULT = "OpenVINO, as it is by default"


def main() -> None:
    """Measure and replace the table of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds: int = parser.parse_args().rounds
    columns = {name: measure(name, size, rounds) for name, size in NETWORKS.items()}
    heads = [f"`{name}`, {size} px" for name, size in NETWORKS.items()]
    lines = [
        f"| patches/s of a core (times Keras) | {' | '.join(heads)} |",
        f"| --- |{' --- |' * len(heads)}",
    ]
    for title in columns["lab"]:
        cells = [
            f"{rate:,.0f} ({ratio:.2f})" for rate, ratio in (c[title] for c in columns.values())
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    table = "\n".join(lines)
    note = (
        f"One of {os.cpu_count()} CPU cores, time of that core, batches of {BATCH}, medians of "
        f"{rounds} rounds."
    )
    text = f"{before}{BEGIN}\n\n{table}\n\n{note}\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    print(table)


def measure(name: str, size: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median patches/s of each runtime, and the median of its ratio to Keras."""
    model = with_probability(build_model(load.load_experiment(name).model, Task(size)))
    patches = np.random.default_rng(0).integers(
        256, size=(BATCH * BATCHES[size], size, size, 3), dtype=np.uint8
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runtimes = dict(_runtimes(model, size, Path(folder)))
        for predict in runtimes.values():
            predict(patches[:BATCH])
        rates: dict[str, list[float]] = {title: [] for title in runtimes}
        for _ in range(rounds):
            for title, predict in runtimes.items():
                start = time.process_time()
                answers(predict, patches, lambda _done: None)
                rates[title].append(len(patches) / (time.process_time() - start))
        runtimes.clear()
    base = rates[FORMATS["keras"].title]
    return {
        title: (
            statistics.median(values),
            statistics.median(value / other for value, other in zip(values, base, strict=True)),
        )
        for title, values in rates.items()
    }


def _runtimes(model: keras.Model, size: int, folder: Path) -> Any:
    """Each runtime by its title, Keras first."""
    model.save(folder / "saved.keras")
    network = Network(model, folder / "saved.keras", size)
    for form in sorted(FORMATS.values(), key=lambda form: form.name != "keras"):
        path = folder / form.name / form.file
        path.parent.mkdir()
        form.write(network, path)
        predict: Callable[..., Any] = form.load(path)
        yield f"{form.title}{', float32' if form.name == 'openvino' else ''}", predict
    import openvino

    compiled = openvino.Core().compile_model(
        str(folder / "openvino" / FORMATS["openvino"].file), "CPU"
    )
    yield DEFAULT, lambda batch: compiled(batch)[0][:, 0]


if __name__ == "__main__":
    main()
