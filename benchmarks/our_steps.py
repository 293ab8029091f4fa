"""Our training steps, as benchmarks/speed.py asks for them: python benchmarks/our_steps.py CONFIG
SIZE PRECISION STEPS.

For each line of stdin it takes STEPS steps on one fixed batch and prints milliseconds a step.
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from pcam_kit.config.load import load_experiment
from pcam_kit.training.backend import backend_name
from pcam_kit.training.networks import Networks, compile_model
from pcam_kit.training.steps import begin_steps


def main() -> None:
    """Answer each line of stdin with milliseconds a step."""
    config, side, precision, count = sys.argv[1:]
    experiment, size = load_experiment(config), int(side)
    model = compile_model(experiment, size, 1000, precision=precision)  # type: ignore[arg-type]
    take = begin_steps(Networks(model, model, None))
    batch = experiment.training.batch_size
    dice = np.random.default_rng(0)
    images = dice.integers(256, size=(batch, size, size, 3), dtype=np.uint8)
    labels = dice.integers(2, size=(batch, 1)).astype(np.float32)

    def steps(count: int) -> None:
        scores = [take(number, images, labels) for number in range(1, count + 1)]
        float(np.asarray(scores[-1].loss))

    steps(3)
    print(f"Keras {keras.__version__} on {backend_name()}", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        steps(int(count))
        print(1000 * (time.perf_counter() - began) / int(count), flush=True)


if __name__ == "__main__":
    main()
