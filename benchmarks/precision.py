"""What `training.precision: auto` costs where bfloat16 is slow: python benchmarks/precision.py
[--rounds N].

Older machines are imitated by environment variables, each in a process of its own. Training steps
of one batch in float32, in bfloat16 and in what auto takes are interleaved; the medians go to
docs/precision.md. Batches are synthetic, and their preparation is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PAGE = Path(__file__).resolve().parent.parent / "docs" / "precision.md"
MACHINES = {
    "as it is": "",
    "AVX-512 without BF16": "ONEDNN_MAX_CPU_ISA=AVX512_CORE",
    "no bfloat16 in TensorFlow, as on AVX2 and Apple's chips": "TF_ENABLE_ONEDNN_OPTS=0",
}
# the networks of the competitions' defaults, with the side of their patches
NETWORKS = {"demo": 32, "lab-distilled": 32, "pcam96-p4m-wide": 96}


def main() -> None:
    """Measure each machine and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps([measure(name, arguments.rounds) for name in NETWORKS]))
        return
    rows: list[str] = []
    for machine, variable in MACHINES.items():
        name, _, value = variable.partition("=")
        done = subprocess.run(
            [sys.executable, __file__, "--child", "--rounds", str(arguments.rounds)],
            env=os.environ | ({name: value} if variable else {}),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
        setting = f"`{variable}`" if variable else ""
        for result in json.loads(done.stdout.splitlines()[-1]):
            rows.append(row(f"{machine} {setting}".strip(), result))
            print(rows[-1], flush=True)
    write_page(rows, arguments.rounds)


def measure(config: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step in each precision, medians of interleaved rounds."""
    import numpy as np

    from pcam_kit.config.load import load_experiment
    from pcam_kit.config.schema import Precision
    from pcam_kit.training.hardware import read_hardware
    from pcam_kit.training.networks import compile_model
    from pcam_kit.training.precision import choose_precision, measure_precision

    experiment, side = load_experiment(config), NETWORKS[config]
    choice = choose_precision("auto", read_hardware(), measure_precision)
    dice = np.random.default_rng(0)
    size = experiment.training.batch_size
    images = dice.integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    labels = dice.integers(0, 2, (size, 1)).astype(np.float32)

    def step_of(precision: Precision) -> Callable[[], object]:
        model = compile_model(experiment, side, 100, precision=precision)
        return lambda: model.train_on_batch(images, labels)

    # auto's network is one of its own: equal ones show the noise
    steps = {
        "float32": step_of("float32"),
        "bfloat16": step_of("bfloat16"),
        "auto": step_of(choice.used),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [a / b for a, b in zip(times["auto"], times["float32"], strict=True)]
    return {
        "config": config,
        "used": choice.used,
        "ratio": statistics.median(ratios),
        **medians,
    }


def row(machine: str, result: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [
        machine,
        f"`{result['config']}`",
        f"{result['float32']:.0f}",
        f"{result['bfloat16']:.0f}",
        result["used"],
        f"{result['auto']:.0f}",
        f"{result['ratio']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def write_page(rows: list[str], rounds: int) -> None:
    """Write docs/precision.md."""
    import keras
    import tensorflow as tf

    lines = [
        "# Precision: what `auto` takes, and what it costs",
        "",
        "`training.precision: auto` is the default. It takes bfloat16 where the hardware computes",
        "with it (AVX512-BF16, AMX, compute capability 8.0 and up), float16 with loss scaling on",
        "GPUs without bfloat16 (T4, V100), and float32 elsewhere. Where the hardware leaves a",
        "doubt, two layers are timed for a second or two.",
        "",
        "Milliseconds of a training step on 2 CPU cores with AVX512-BF16, medians of",
        f"{rounds} interleaved rounds; older machines are imitated by the variable given. Written",
        f"by `python benchmarks/precision.py --rounds {rounds}`, TensorFlow {tf.__version__},",
        f"Keras {keras.__version__}. The last column is the median of paired ratios. Where auto",
        "takes float32 it compares two equal networks: what differs from 1 is noise.",
        "",
        "| machine | network of | float32 | bfloat16 | auto takes | auto | auto : float32 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
