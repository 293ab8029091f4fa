"""A checkpoint is restored only as its own run wrote it, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pcam_kit.errors import RunError
from pcam_kit.run_folders.seal import sealed
from pcam_kit.training.state import WHAT, TrainingState, load_state, save_state, weights_of

STATE = TrainingState(epoch=1, step=2, best_epoch=1, best_auc=0.5, history=[{"epoch": 1}])


def network() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_state(tmp_path / "state.npz", network(), None, STATE, "ab")
    return tmp_path / "state.npz"


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def test_it_comes_back_for_its_own_run_only(path: Path) -> None:
    assert load_state(path, network(), None, "ab") == STATE
    for owner in ("cd", ""):
        with pytest.raises(RunError, match="another run wrote it"):
            load_state(path, network(), None, owner)


def test_edited_arrays_are_refused_and_nothing_is_restored(path: Path) -> None:
    arrays = arrays_of(path)
    np.savez(path, **(arrays | {"v0": arrays["v0"] + 1}))
    model = network()
    before = weights_of(model)
    with pytest.raises(RunError, match="changed since this run wrote it") as caught:
        load_state(path, model, None, "ab")
    assert "start a new training" in caught.value.hint
    for one, other in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "progress",
    [
        "[" * 100_000,
        "[]",
        "{}",
        '{"schema_version": 1, "epoch": "1"}',
        '{"schema_version": 1, "epoch": -1}',
        '{"schema_version": 1, "loss_sum": 1e999}',
        '{"schema_version": 1, "seconds": NaN}',
        '{"schema_version": 1, "epoch": 2, "history": []}',
        '{"schema_version": 1, "epoch": 1, "history": [3]}',
        '{"schema_version": 1, "best_epoch": 4}',
        '{"schema_version": 1, "other": 4}',
        '{"schema_version": 1, "epoch": ' + "9" * 5000 + "}",
    ],
)
def test_progress_that_is_impossible_is_refused(path: Path, progress: str) -> None:
    arrays = arrays_of(path) | {"progress": np.array(progress)}
    del arrays["seal"]
    np.savez(path, **sealed(arrays, "ab", WHAT))
    with pytest.raises(RunError, match=r"state\.npz"):
        load_state(path, network(), None, "ab")


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(v0=arrays["v0"].astype(np.float64)),
        lambda arrays: arrays.update(v0=arrays["v0"].astype("U9")),
        lambda arrays: arrays.update(v0=arrays["v0"][:1]),
        lambda arrays: arrays.update(vx=arrays.pop("v0")),
        lambda arrays: arrays.update(extra=np.zeros(2)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    arrays = arrays_of(path)
    del arrays["seal"]
    change(arrays)
    np.savez(path, **sealed(arrays, "ab", WHAT))
    with pytest.raises(RunError, match="does not fit this model"):
        load_state(path, network(), None, "ab")


def test_a_checkpoint_of_an_earlier_version_is_restored(path: Path) -> None:
    arrays = arrays_of(path)
    assert json.loads(str(arrays.pop("seal")))["run"] == "ab"
    np.savez(path, **arrays)
    assert load_state(path, network(), None) == STATE
    with pytest.raises(RunError, match="does not say which run wrote it"):
        load_state(path, network(), None, "ab")
