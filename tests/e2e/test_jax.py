"""The promise that Keras' other backends work, kept for JAX where it is installed."""

from __future__ import annotations

import json
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
run = pcam.train("demo", overrides={"training.epochs": 2, "model": model}, workspace="w")
print(json.dumps({
    "backend": run.meta["backend"],
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


def test_an_equivariant_network_is_trained_on_jax_and_read_by_tensorflow(tmp_path: Path) -> None:
    done = run_python(ROAD, tmp_path / "work", KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["backend"] == "jax"
    assert 0 <= values["auc"] <= 1
    assert values["rows"] == 60
    read = run_python(ELSEWHERE, tmp_path / "work", KERAS_BACKEND="tensorflow")
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout)["difference"] < 1e-4
