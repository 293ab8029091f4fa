"""How time and memory grow with the patches: python benchmarks/sizes.py [--patches N...]
[--data-dir DIR].

For each N writes N tifs of 96x96 pixels in Kaggle's layout (blends of synthetic patches, a quarter
of them test), and runs each command on them in a process of its own. Memory is the most that the
process and its children allocate at a time; pages of files that the system maps are not counted, as
it takes them back. Then writes the section "Growth" of docs/speed.md and its picture. 262,144
patches need 16 GB of disk. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
from matplotlib.figure import Figure
from pages import write_sections

from pcam_kit.data.synthetic import synthetic_parts
from pcam_kit.files import write_bytes
from pcam_kit.formatting import as_markdown
from pcam_kit.plots.style import MUTED, colour_of, drawing, to_bytes

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "speed.md", DOCS / "pictures" / "sizes.png"
TITLE = "Growth"
ALT = "Time and memory of each command against the number of patches"
SLUG = "histopathologic-cancer-detection"
BASE = 2048  # patches that are drawn; the others are blends of two of them
TRAIN = "train pcam96 --seed 0 --set training.epochs=1 --set evaluation.tta=none"
COMMANDS = {
    "fetch": f"fetch {SLUG} --from raw",
    "leaks": f"leaks {SLUG}",
    "train, 1 epoch": f"{TRAIN} --set competition={SLUG}",
    "predict test": "predict --split test",
    "report": "report",
}


@dataclass(frozen=True)
class Cost:
    """What one command took. memory: bytes."""

    seconds: float
    memory: int


def main() -> None:
    """Measure all sizes, then write section and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, nargs="+", default=[1000, 10_000, 100_000, 262_144])
    parser.add_argument("--data-dir", type=Path, help="where there is room; default: temporary")
    arguments = parser.parse_args()
    costs: dict[int, dict[str, Cost]] = {}
    for n in arguments.patches:
        with tempfile.TemporaryDirectory(dir=arguments.data_dir) as folder:
            costs[n] = measure(n, Path(folder))
    write_bytes(PICTURE, draw(costs))
    write_sections(PAGE, {TITLE: lines_of(costs)})


def measure(n: int, folder: Path) -> dict[str, Cost]:
    """What each command takes for n patches."""
    write_tifs(n, folder / "raw")
    costs: dict[str, Cost] = {}
    for name, command in COMMANDS.items():
        costs[name] = run(command.split(), folder)
        print(f"{n:,} {name}: {costs[name]}", flush=True)
        if name == "fetch":
            shutil.rmtree(folder / "raw")
    return costs


def write_tifs(n: int, folder: Path) -> None:
    """Kaggle's layout, as it is after unpacking."""
    [part] = synthetic_parts({"train": BASE}, 96, 0)
    base = np.concatenate(list(part.blocks()))
    rng = np.random.default_rng(0)
    ids: dict[str, list[str]] = {"train": [], "test": []}
    for split in ids:
        (folder / split).mkdir(parents=True)
    for number in range(n):
        split = "test" if number % 4 == 3 else "train"
        one, other = base[rng.integers(BASE)], base[rng.integers(BASE)]
        name = f"{rng.integers(2**62):040x}"
        blend = cv2.addWeighted(one, 0.5, cv2.flip(other, int(rng.integers(-1, 2))), 0.5, 0)
        uncompressed = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
        cv2.imwrite(str(folder / split / f"{name}.tif"), blend, uncompressed)
        ids[split].append(name)
    for split, table in (("train", "train_labels"), ("test", "sample_submission")):
        with open(folder / f"{table}.csv", "w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["id", "label"])
            writer.writerows((name, row % 2) for row, name in enumerate(ids[split]))


def run(command: Sequence[str], folder: Path) -> Cost:
    """Run `pcam` there and watch it."""
    began = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, "-m", "pcam_kit", *command],
        cwd=folder,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    most = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.05):
            most = max(most, allocated(process))

    thread = threading.Thread(target=watch)
    thread.start()
    code = process.wait()
    ended.set()
    thread.join()
    if code != 0:
        raise SystemExit(f"pcam {' '.join(command)}: exit code {code}")
    return Cost(time.perf_counter() - began, most)


def allocated(process: psutil.Process) -> int:
    """Bytes of memory of a process and its children, without those of mapped files."""
    try:
        family = [process, *process.children(recursive=True)]
        usages = [one.memory_info() for one in family]
    except psutil.Error:  # it has ended
        return 0
    return sum(usage.rss - usage.shared for usage in usages)


def lines_of(costs: dict[int, dict[str, Cost]]) -> list[str]:
    """The section: how it was measured, the table, the picture."""
    rows: list[list[str]] = []
    for name in COMMANDS:
        own = [costs[n][name] for n in costs]
        cells = [f"{cost.seconds:,.1f} s, {cost.memory / 1e9:.2f} GB" for cost in own]
        rows.append([name, *cells])
    return [
        "Written by `python benchmarks/sizes.py`. Each command runs in a process of its own, whose",
        "start is part of its time. The patches are tifs of 96x96 pixels, a quarter of them test.",
        "Memory is what is allocated, without mapped files. The dotted line has slope 1: what runs",
        "along it takes time in proportion to the patches. Of 50,000 predictions and more OpenVINO",
        "computes, which takes more memory than TensorFlow.",
        "",
        *as_markdown(["command", *(f"{n:,} patches" for n in costs)], rows).splitlines(),
        "",
        f"![{ALT}](pictures/{PICTURE.name})",
    ]


def draw(costs: dict[int, dict[str, Cost]]) -> bytes:
    """Time, on logarithmic axes, and memory side by side; a PNG."""
    sizes = sorted(costs)
    with drawing():
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        seconds, memory = figure.subplots(1, 2)
        for i, name in enumerate(COMMANDS):
            style = {"color": colour_of(i), "marker": "o", "label": name}
            seconds.plot(sizes, [costs[n][name].seconds for n in sizes], **style)
            memory.plot(sizes, [costs[n][name].memory / 1e9 for n in sizes], **style)
        for axes, label in ((seconds, "seconds"), (memory, "GB allocated")):
            axes.set(xscale="log", xlabel="patches", ylabel=label)
            axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
            axes.minorticks_off()
        first, last = sizes[0], sizes[-1]
        start = costs[last]["fetch"].seconds * first / last
        seconds.plot([first, last], [start, start * last / first], ":", color=MUTED, zorder=0)
        seconds.set_yscale("log")
        memory.set_ylim(bottom=0)
        memory.legend(loc="center right")
        return to_bytes(figure, "png")


if __name__ == "__main__":
    main()
