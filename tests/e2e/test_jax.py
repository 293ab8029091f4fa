"""The promise that Keras' other backends work, kept for JAX where it is installed."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_python import run_python

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX: pip install jax")

ROAD = """
import json
import pcam_kit as pcam

model = {"name": "group_resnet", "widths": [2, 3], "dropout": 0.1}
store = pcam.synthetic(train=256, valid=100, test=60, workspace="w")
overrides = {"training.epochs": 2, "training.precision": "bfloat16", "model": model}
run = pcam.train("demo", overrides=overrides, workspace="w")
print(json.dumps({
    "backend": run.meta["backend"],
    "precision": run.meta["precision"]["used"],
    "auc": pcam.evaluate(run, workspace="w").scores.auc,
    "rows": pcam.predict(run, workspace="w").csv.rows,
}))
"""
ELSEWHERE = """
import json
import numpy as np
import pcam_kit as pcam
from pcam_kit.inference import load_model, predict

store, run = pcam.open_store(workspace="w"), pcam.load_run(workspace="w")
kept = run.load_predictions("test").probability("none")
rows = store.rows("test")
again = predict(load_model(run.model_file), store.images, rows, crop=32)[:, 0]
print(json.dumps({"difference": float(np.abs(kept - again).max())}))
"""


@pytest.mark.slow
def test_an_equivariant_network_is_trained_on_jax_and_read_by_tensorflow(tmp_path: Path) -> None:
    # unoptimised code is compiled in half the time
    flags = "--xla_backend_optimization_level=0"
    done = run_python(ROAD, tmp_path / "work", KERAS_BACKEND="jax", XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["backend"] == "jax"
    assert values["precision"] == "bfloat16"
    assert 0.5 < values["auc"] <= 1  # NaN would be neither
    assert values["rows"] == 60
    read = run_python(ELSEWHERE, tmp_path / "work", KERAS_BACKEND="tensorflow")
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout)["difference"] < 1e-4


SYNTHETIC = """
import json
import pcam_kit as pcam

pcam.synthetic(train=260, valid=100, test=60, workspace="w")
"""
DEVICES = """
losses = {}
for devices in (1, 4):
    run = pcam.train(
        "demo",
        overrides={
            "training.epochs": 2,
            "training.precision": "float32",
            "model": {"name": "group_resnet", "widths": [2, 3], "dropout": 0.3},
        },
        devices=devices,
        workspace="w",
    )
    assert run.meta["devices"] == devices
    losses[devices] = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
print(json.dumps(losses))
"""


def on_four_devices(code: str, folder: Path) -> list[str]:
    """The lines printed by `code`, after a store was made, on JAX with 4 virtual devices."""
    done = run_python(
        SYNTHETIC + code,
        folder,
        KERAS_BACKEND="jax",
        # unoptimised code is compiled in half the time
        XLA_FLAGS="--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_devices_share_batches_with_the_losses_of_one(tmp_path: Path) -> None:
    lines = on_four_devices(DEVICES, tmp_path / "work")
    losses = json.loads(lines[-1])
    for one, several in zip(losses["1"], losses["4"], strict=True):
        # measured: 5e-6
        assert several["loss"] == pytest.approx(one["loss"], abs=2e-4)
        assert several["valid_auc"] == pytest.approx(one["valid_auc"], abs=2e-3)


REFUSED = """
faults = [(3, 64), (5, 64)]
for devices, size in faults:
    try:
        pcam.train("demo", overrides={"training.batch_size": size}, devices=devices, workspace="w")
    except pcam.errors.PcamError as error:
        print(f"{type(error).__name__}: {error.message}")
"""


STEPS = """
import keras
import numpy as np
from pcam_kit.config import load
from pcam_kit.training import steps
from pcam_kit.training.networks import Networks, compile_model
from pcam_kit.training.state import WeightAverage

network = {"name": "report_cnn", "filters": [4], "units": 8, "dropout": 0.3, "batch_norm": True}
found = []
for kind in (steps._KerasSteps, steps._JaxSteps):
    experiment = load.load_experiment("demo", [f"model={network}", "training.clip_norm=1.0"])
    keras.utils.set_random_seed(0)
    model = compile_model(experiment, 32, 6, precision="float16")
    average = WeightAverage(model, 0.9)
    take = kind(Networks(model, model, average))
    dice = np.random.default_rng(0)
    scores = []
    for number in range(1, 7):
        batch = dice.integers(256, size=(16, 32, 32, 3), dtype=np.uint8)
        labels = dice.integers(2, size=(16, 1)).astype(np.float32)
        scores.append([float(score) for score in take(number, batch, labels)])
        if number == 3:
            take.write_back()
    take.write_back()
    values = [np.array(v) for v in [*model.variables, *model.optimizer.variables]]
    found.append([np.array(scores), *values, *average.values])
for theirs, ours in zip(*found, strict=True):
    if theirs.dtype.kind == "f":
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=2e-3)
    else:
        np.testing.assert_array_equal(ours, theirs)
print(len(found[0]), "alike")
"""


def test_steps_that_stay_on_the_device_are_those_of_keras_and_what_cannot_be_shared_is_refused(
    tmp_path: Path,
) -> None:
    first, *lines = on_four_devices(STEPS + REFUSED, tmp_path / "work")
    assert re.fullmatch(r"\d\d alike", first)
    assert lines == [
        "ConfigError: training.batch_size: 3 devices need a multiple of 3, found 64",
        "UsageError: --devices 5: JAX sees 4 (cpu:0, cpu:1, cpu:2, cpu:3)",
    ]
