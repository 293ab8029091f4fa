"""How long the parts of a training take on this machine: python benchmarks/speed.py [--size 32|96]
[--rounds N].

Medians over interleaved rounds on synthetic tissue. Each rate says what it includes; the first call
of each part is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from pcam_kit.competitions import find_competition
from pcam_kit.config import load
from pcam_kit.config.schema import Augment
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import build_store, open_store, verify_store
from pcam_kit.inference import predict
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches, take
from pcam_kit.pipeline.transforms.others import Albumentations
from pcam_kit.training.networks import compile_model


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32, choices=(32, 96))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    profile = find_competition("synthetic").model_copy(
        update={"image_size": arguments.size, "counts": {"train": 2048, "valid": 256, "test": 256}}
    )
    experiment = load.load_experiment("lab" if arguments.size == 32 else "pcam96")
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(open_raw(profile, None), Path(folder) / "store")
        rows = store.rows("train")
        augmenter = Augmenter(experiment.augment, seed=0)
        size = experiment.training.batch_size
        batches = Batches(store.images, store.labels, rows, size, arguments.size, augmenter, 0)
        model = compile_model(experiment, arguments.size, 1000)
        recipe = load.load_experiment("lab-p4m" if arguments.size == 32 else "pcam96-p4m")
        transforms = Augmenter(Augment(d4=False, transforms=recipe.augment.transforms), seed=0)
        others = Albumentations(recipe.augment.transforms)
        seeds = np.random.default_rng(0).integers(
            2**32, size=(512, others.columns), dtype=np.uint32
        )
        fixed = take(store.images, rows[:size], arguments.size), np.zeros((size, 1), np.float32)

        def steps() -> int:
            for _ in range(4):
                model.train_on_batch(*fixed)
            return 4 * size

        def epoch() -> int:
            for images, labels in batches.epoch(1):
                model.train_on_batch(images, labels)
            return batches.steps * size

        parts: dict[str, Callable[[], int]] = {
            "open the store": lambda: len(open_store(store.path).labels),
            "verify the store (full hash)": lambda: (verify_store(store), len(store.labels))[1],
            "random reads": lambda: len(
                take(store.images, np.random.default_rng(0).permutation(rows), arguments.size)
            ),
            "augment, one thread": lambda: len(
                augmenter(store.images[rows[:512]], rows[:512], 1, len(store.images))
            ),
            f"transforms of {recipe.name}": lambda: len(
                transforms(store.images[rows[:512]], rows[:512], 1, len(store.images))
            ),
            "the same by albumentations": lambda: len(others(store.images[rows[:512]], seeds)),
            "batches, two threads": lambda: sum(len(labels) for _, labels in batches.epoch(1)),
            "training steps, one fixed batch": steps,
            "training epoch, batches included": epoch,
            "prediction": lambda: len(
                predict(model, store.images, rows[:1024], crop=arguments.size)
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in parts}
        done: dict[str, int] = {}
        for counted in range(-1, arguments.rounds):
            for name, part in parts.items():
                began = time.perf_counter()
                done[name] = part()
                if counted >= 0:
                    times[name].append(time.perf_counter() - began)
    machine = f"{os.cpu_count()} cores, {arguments.rounds} rounds"
    print(
        f"{experiment.name}: {model.count_params():,} parameters, {arguments.size} px, batch "
        f"{size}, {machine}"
    )
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{1000 * min(seconds):,.1f}-{1000 * max(seconds):,.1f}"
        print(
            f"{name:<34} {done[name] / middle:>14,.0f} patches/s   {1000 * middle:>9,.1f} ms "
            f"({spread})"
        )


if __name__ == "__main__":
    main()
