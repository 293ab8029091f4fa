"""How long features take: taskset -c 0 python benchmarks/features.py [--rounds N].

Networks with random weights, on random patches of 96 pixels. Process and child are held on one core
and their own CPU time counts, so that other programs hardly do. The table in docs/features.md has
the medians; the first batch of each is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil

from pcam_kit.features import Embedding, choose_network
from pcam_kit.features.keras_network import KerasNetwork
from pcam_kit.features.timm_network import TimmNetwork

PAGE = Path(__file__).resolve().parent.parent / "docs" / "features.md"
BEGIN, END = "<!-- benchmarks/features.py -->", "<!-- end -->"
SIDE = 96  # pixels of a patch
NETWORKS = (  # with --size, and the patches of a batch
    ("MobileNetV3Small", None, 64),
    ("EfficientNetB0", None, 64),
    ("vit_small_patch16_224", 96, 64),
    ("vit_small_patch16_224", None, 16),
    ("vit_large_patch16_224", None, 4),
)


def main() -> None:
    """Measure and replace the table of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    rows = [measure(*network, rounds) for network in NETWORKS]
    lines = [
        "| `--model` | library | pixels | values | seconds for 1,000 patches |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    note = f"Of one of {os.cpu_count()} CPU cores, medians of {rounds} batches."
    table = "\n".join(lines)
    PAGE.write_text(
        f"{before}{BEGIN}\n\n{table}\n\n{note}\n\n{END}{after}", encoding="utf-8", newline="\n"
    )


def measure(name: str, size: int | None, batch: int, rounds: int) -> list[str]:
    """The cells of a network's row."""
    backbone = choose_network(name, "random", size)
    if backbone.library == "keras":
        keras_network = KerasNetwork(backbone, SIDE)
        process = psutil.Process()
        seconds = timed(keras_network, process, batch, rounds)
        side, width = keras_network.facts["size"], keras_network.width
    else:
        with TimmNetwork(backbone) as network:
            network.load()
            (process,) = psutil.Process().children()
            seconds = timed(network, process, batch, rounds)
            side, width = network.facts["size"], network.width
    return [f"`{name}`", backbone.library, str(side), f"{width:,}", f"{1000 * seconds:.1f}"]


def timed(network: Embedding, process: psutil.Process, batch: int, rounds: int) -> float:
    """CPU seconds of a patch."""
    patches = np.random.default_rng(0).integers(256, size=(batch, SIDE, SIDE, 3), dtype=np.uint8)
    network(patches)
    seconds: list[float] = []
    for _ in range(rounds):
        before = process.cpu_times()
        network(patches)
        after = process.cpu_times()
        seconds.append(after.user + after.system - before.user - before.system)
    return statistics.median(seconds) / batch


if __name__ == "__main__":
    main()
