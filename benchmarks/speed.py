"""How fast training is on this machine, beside plain PyTorch: python benchmarks/speed.py
[--rounds N] [--torch-python PATH].

Writes docs/speed.md. Steps are interleaved (A B A B) in processes of their own, on one fixed batch;
PyTorch may be installed in another environment. The other parts are interleaved in this process,
on synthetic tissue. The first call of each part is not counted.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
from pages import write_sections
from PIL import Image
from sizes import write_tifs

from pcam_kit.competitions import find_competition
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import GroupResNet
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import build_store, open_store, verify_store
from pcam_kit.exports import openvino_file
from pcam_kit.exports.format import Network
from pcam_kit.inference import Answers, keras_answers, predict, predict_with
from pcam_kit.models import with_probability
from pcam_kit.models.layers.convolution import group_index, lifting_index
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches, Workers
from pcam_kit.pipeline.images import take
from pcam_kit.training.networks import compile_model
from pcam_kit.views import AS_IS

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "speed.md"
# the networks that race, with the side of their patches
NETWORKS = {"lab": 32, "pcam96": 96, "lab-p4m": 32, "pcam96-p4m-wide": 96}
# those whose other parts are measured
PLAIN = {"lab": 32, "pcam96": 96}
# the configs whose augmentation is measured
AUGMENTED = {"lab": 32, "lab-p4m": 32, "pcam96": 96, "pcam96-p4m": 96, "pcam96-lite2": 96}
STEPS = 6  # in each round
EPOCH = 12  # steps of an epoch with its input

ENGINES = """\
The ratio says how many times as fast as Keras OpenVINO is in bfloat16 (best / median). `pcam
predict` takes it where it is installed (`pip install "pcam-kit[openvino]"`) and the CPU has
bfloat16, for 50,000 patches times views and more, unless its validation AUC differs from Keras' in
the fourth digit. Probabilities differ in the third. `PCAM_ENGINE=keras` leaves it out."""

Times = dict[str, list[float]]


class Worker:
    """A process that answers each line with the milliseconds of a step."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self.name = self._read()

    def __call__(self) -> float:
        stdin = self._process.stdin
        assert stdin is not None
        print(file=stdin, flush=True)
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline().strip()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} failed")  # type: ignore[arg-type]
        return line


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-python", default=sys.executable, help="where PyTorch is installed")
    arguments = parser.parse_args()
    probe = [arguments.torch_python, "-c", "import torch"]
    if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise SystemExit("--torch-python: no PyTorch there; pip install torch")
    names: set[str] = set()
    steps = []
    for config in NETWORKS:
        times = race(config, arguments.torch_python, arguments.rounds, names)
        steps.append(step_row(config, times))
        print(steps[-1], flush=True)
    inputs = [input_row(config, arguments.rounds) for config in AUGMENTED]
    print(*inputs, sep="\n", flush=True)
    engines = [engine_row(config, arguments.rounds) for config in NETWORKS]
    stores = store_rows(arguments.rounds)
    print(*engines, *stores, sep="\n", flush=True)
    tables = {size: parts(config, size, arguments.rounds) for config, size in PLAIN.items()}
    write_page(arguments.rounds, sorted(names), steps, inputs, engines, stores, tables)


def race(config: str, python: str, rounds: int, names: set[str]) -> Times:
    """Milliseconds of a step, ours and PyTorch's in turn."""
    ours = [sys.executable, HERE / "our_steps.py", config, str(NETWORKS[config])]
    workers = {
        "ours bfloat16": Worker(*ours, "bfloat16", str(STEPS)),
        "PyTorch bfloat16": Worker(python, HERE / "torch_steps.py", torch_task(config, True)),
        "ours float32": Worker(*ours, "float32", str(STEPS)),
        "PyTorch float32": Worker(python, HERE / "torch_steps.py", torch_task(config, False)),
    }
    names.update(worker.name for worker in workers.values())
    return interleave(workers, rounds, [worker.close for worker in workers.values()])


def torch_task(config: str, bfloat16: bool) -> str:
    """What benchmarks/torch_steps.py is to build."""
    experiment = load_experiment(config)
    task: dict[str, Any] = {
        "network": experiment.model.model_dump(mode="json"),
        "size": NETWORKS[config],
        "batch": experiment.training.batch_size,
        "bfloat16": bfloat16,
        "steps": STEPS,
    }
    if isinstance(experiment.model, GroupResNet):
        indexes = {f"group{size}": group_index(size, 8).tolist() for size in (1, 3)}
        task["indexes"] = {**indexes, "lifting3": lifting_index(3, 8).tolist()}
    return json.dumps(task)


def interleave(
    parts: dict[str, Callable[[], float]], rounds: int, ends: Sequence[Callable[[], None]] = ()
) -> Times:
    """What each part says, in `rounds` rounds; one more before them is not counted."""
    times: Times = {name: [] for name in parts}
    for counted in range(-1, rounds):
        for name, part in parts.items():
            value = part()
            if counted >= 0:
                times[name].append(value)
    for end in ends:
        end()
    return times


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """The seconds that a call takes."""

    def run() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return run


def step_row(config: str, times: Times) -> str:
    """A line of the table of steps."""
    cells = [f"`{config}`"]
    for precision in ("bfloat16", "float32"):
        ours, theirs = times[f"ours {precision}"], times[f"PyTorch {precision}"]
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        cells += [
            f"{min(ours):.1f} / {statistics.median(ours):.1f}",
            f"{min(theirs):.1f} / {statistics.median(theirs):.1f}",
            f"**{min(theirs) / min(ours):.2f}** / {statistics.median(ratios):.2f}",
        ]
    return f"| {' | '.join(cells)} |"


def input_row(config: str, rounds: int) -> str:
    """A line of the table of batches."""
    size = AUGMENTED[config]
    experiment = load_experiment(config)
    batch = experiment.training.batch_size
    count = batch * (120 if size == 32 else 40)
    pixels = np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)
    labels = (np.arange(count) % 2).astype(np.int8)
    rows = np.arange(count)
    augmenter = Augmenter(experiment.augment, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, pixels)
        images = np.load(path, mmap_mode="r")
        batches = Batches(images, labels, rows, batch, size, augmenter, 0)
        with replace(batches, workers=Workers(2, processes=True)).started() as shared:
            rates = interleave(
                {"threads": lambda: rate(batches), "processes": lambda: rate(shared)}, rounds
            )
    model = compile_model(experiment, size, 1000, precision=experiment_precision(config))
    few = Batches(pixels, labels, rows[: batch * EPOCH], batch, size, augmenter, 0)
    prepared = list(few.epoch(1))

    def train(made: Iterable[Any]) -> float:
        began = time.perf_counter()
        for patches, targets in made:
            model.train_on_batch(patches, targets)
        return time.perf_counter() - began

    both = {"prepared": lambda: train(prepared), "made": lambda: train(few.epoch(2))}
    times = interleave(both, rounds)
    longer = [b / a - 1 for a, b in zip(times["prepared"], times["made"], strict=True)]
    cells = [f"{max(found):,.0f} / {statistics.median(found):,.0f}" for found in rates.values()]
    share = f"{100 * statistics.median(longer):.1f} %"
    return f"| `{config}` | {size} | {' | '.join(cells)} | {share} |"


def rate(batches: Batches) -> float:
    """Patches a second of an epoch's batches."""
    began = time.perf_counter()
    made = sum(len(labels) for _, labels in batches.epoch(1))
    return made / (time.perf_counter() - began)


def experiment_precision(config: str) -> Any:
    """What `auto` takes here, or what the config says."""
    from pcam_kit.training.hardware import read_hardware
    from pcam_kit.training.precision import choose_precision, measure_precision

    asked = load_experiment(config).training.precision
    return choose_precision(asked, read_hardware(), measure_precision).used


def engine_row(config: str, rounds: int) -> str:
    """A line of the table of predictions: patches a second of each engine, in turn."""
    size = NETWORKS[config]
    network = compile_model(load_experiment(config), size, 1000)
    model = with_probability(network)
    patches = np.random.default_rng(0).integers(256, size=(2048, size, size, 3), dtype=np.uint8)
    rows = np.arange(len(patches))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino_file.write(Network(model, path, size), path)
        engines = {
            "Keras": keras_answers(model),
            "OpenVINO f32": openvino_file.load(path),
            "OpenVINO bf16": openvino_file.load(path, precision="bf16"),
        }

    def predicting(answers: Answers) -> Callable[[], object]:
        return lambda: predict_with(answers, patches, rows, crop=size, views=(AS_IS,))

    times = interleave({name: timed(predicting(a)) for name, a in engines.items()}, rounds)
    rates = [f"{len(rows) / min(values):,.0f}" for values in times.values()]
    pairs = zip(times["Keras"], times["OpenVINO bf16"], strict=True)
    ratio = min(times["Keras"]) / min(times["OpenVINO bf16"])
    middle = statistics.median(a / b for a, b in pairs)
    return f"| `{config}` | {' | '.join(rates)} | **{ratio:.2f}** / {middle:.2f} |"


def store_rows(rounds: int) -> list[str]:
    """Lines of the table of stores: what only reads the files, and what makes a store of them."""
    count = 4000
    with tempfile.TemporaryDirectory() as folder:
        tifs, packed = Path(folder) / "tifs", Path(folder) / "packed"
        write_tifs(count, tifs)
        names = sorted(tifs.glob("*/*.tif"))
        patches = np.stack([np.asarray(Image.open(name)) for name in names])
        write_packed(patches, packed)

        def loop() -> None:
            np.stack([np.asarray(Image.open(name)) for name in names])

        def unpack() -> None:
            for path in packed.glob("*_x.h5.gz"):
                with gzip.open(path) as file:
                    while file.read(1 << 20):
                        pass

        def build(slug: str, raw: Path) -> Callable[[], None]:
            def run() -> None:
                target = Path(folder) / "store"
                shutil.rmtree(target, ignore_errors=True)
                build_store(open_raw(find_competition(slug), raw), target)

            return run

        calls: dict[str, Callable[[], None]] = {
            "tifs: a loop with Pillow": loop,
            "tifs: the store": build("histopathologic-cancer-detection", tifs),
            "HDF5.gz: Python's gzip alone": unpack,
            "HDF5.gz: the store": build("pcam", packed),
        }

        times = interleave({name: timed(call) for name, call in calls.items()}, rounds)
    return [
        f"| {name} | {count / min(values):,.0f} | {count / statistics.median(values):,.0f} |"
        for name, values in times.items()
    ]


def write_packed(patches: Any, folder: Path) -> None:
    """PCam's own layout, gzipped: three quarters are train, the rest test."""
    folder.mkdir()
    border = len(patches) * 3 // 4
    for split, part in (("train", patches[:border]), ("test", patches[border:])):
        for key, values in (("x", part), ("y", (np.arange(len(part)) % 2).astype(np.uint8))):
            path = folder / f"camelyonpatch_level_2_split_{split}_{key}.h5"
            with h5py.File(path, "w") as file:
                file[key] = values
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


def parts(config: str, size: int, rounds: int) -> list[str]:
    """Lines of the table of all parts."""
    profile = find_competition("synthetic").model_copy(
        update={"image_size": size, "counts": {"train": 2048, "valid": 256, "test": 256}}
    )
    experiment = load_experiment(config)
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(open_raw(profile, None), Path(folder) / "store")
        rows = store.rows("train")
        batch = experiment.training.batch_size
        augmenter = Augmenter(experiment.augment, seed=0)
        batches = Batches(store.images, store.labels, rows, batch, size, augmenter, 0)
        model = compile_model(experiment, size, 1000, precision=experiment_precision(config))
        order = np.random.default_rng(0).permutation(rows)

        def epoch() -> int:
            for images, labels in batches.epoch(1):
                model.train_on_batch(images, labels)
            return batches.steps * batch

        calls: dict[str, Callable[[], int]] = {
            "open the store": lambda: len(open_store(store.path).labels),
            "verify the store (full hash)": lambda: (verify_store(store), len(store.labels))[1],
            "random reads": lambda: len(take(store.images, order, size)),
            "training epoch, batches included": epoch,
            "prediction": lambda: len(predict(model, store.images, rows[:1024], crop=size)),
        }
        done = {name: call() for name, call in calls.items()}

        times = interleave({name: timed(call) for name, call in calls.items()}, rounds)
    return [
        f"| {name} | {done[name] / statistics.median(values):,.0f} | "
        f"{1000 * min(values):,.1f} / {1000 * statistics.median(values):,.1f} |"
        for name, values in times.items()
    ]


def write_page(
    rounds: int,
    names: list[str],
    steps: list[str],
    inputs: list[str],
    engines: list[str],
    stores: list[str],
    tables: dict[int, list[str]],
) -> None:
    """Write docs/speed.md."""
    import tensorflow as tf

    head = [
        "# Speed",
        "",
        f"Written by `make bench`: {rounds} rounds on {os.cpu_count()} CPU cores, least / median.",
        f"TensorFlow {tf.__version__}, {', '.join(names)}; `auto` takes",
        f"{experiment_precision('lab')} here ([Precision](precision.md)). What is compared runs in",
        "turn (A B A B): ratios hold on other machines, milliseconds do not.",
    ]
    sections = {
        "Training steps beside plain PyTorch": [
            "Milliseconds of a step on one fixed batch. PyTorch has the same layers, channels last",
            "and autocast for bfloat16 (`benchmarks/torch_steps.py`). The ratio says how many",
            "times as fast ours is.",
            "",
            "| config | ours, bfloat16 | PyTorch, bfloat16 | ratio | ours, float32 "
            "| PyTorch, float32 | ratio |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *steps,
            "",
            "What is left of a step is oneDNN's: four fifths of its time are convolutions, the",
            "gradients of the kernels first. Batch normalisation is one operation of TensorFlow;",
            "Keras' own took a third of a step. EXPERIMENTS.md has the profile, older machines, a",
            "GPU, and what brought nothing (2026-11-27).",
        ],
        "Input": [
            "Augmented patches a second, best / median, whole batches of each config's",
            "augmentation: from the threads that serve a CPU, one at 32 px and two at 96 px, and",
            "from two processes, of which up to four serve a GPU; and how much longer an epoch on",
            "the CPU takes than its steps on batches that are ready.",
            "",
            "| config | side | threads | two processes | epoch longer by |",
            "| --- | --- | --- | --- | --- |",
            *inputs,
            "",
            "On two cores the augmentation takes its share of both: an epoch is longer than its",
            "steps by what its batches cost. More threads are slower: OpenCV's calls on a patch",
            "are so short that they wait for Python's lock.",
        ],
        "Prediction": [
            f"Patches a second of each engine in one view, best of {rounds} rounds.",
            *ENGINES.splitlines(),
            "",
            "| config | Keras | OpenVINO, float32 | OpenVINO, bfloat16 | ratio |",
            "| --- | --- | --- | --- | --- |",
            *engines,
        ],
        "From files to the store": [
            "Patches of 96x96 pixels a second, best / median. The store is checked, hashed and",
            'searched for copies. With `pip install "pcam-kit[isal]"`, as here, gzip is unpacked',
            "by another library.",
            "",
            "| what | best | median |",
            "| --- | --- | --- |",
            *stores,
        ],
    }
    for size, table in tables.items():
        sections[f"The parts of a training at {size} px"] = [
            "| part | patches/s | ms |",
            "| --- | --- | --- |",
            *table,
        ]
    write_sections(PAGE, sections, head)


if __name__ == "__main__":
    main()
