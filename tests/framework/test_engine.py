"""OpenVINO in place of Keras: only where it agrees, and never unasked where it would not pay."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Project

from pcam_kit.errors import UsageError
from pcam_kit.inference import load_trained
from pcam_kit.metrics import roc_auc
from pcam_kit.run_folders import Predictions, Run, find_run
from pcam_kit.training.hardware import Accelerator, Hardware
from pcam_kit.workflows import engine
from pcam_kit.workflows.predictions import predict_split
from pcam_kit.workspace import Workspace

BFLOAT16 = Hardware("tensorflow", flags=frozenset({"avx512_bf16"}))


@pytest.fixture
def workspace(project: Project, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With a finished run, on a CPU that has bfloat16; every split has patches enough."""
    monkeypatch.chdir(project.path)
    monkeypatch.setattr(engine, "LEAST", 1)
    monkeypatch.setattr(engine, "read_hardware", lambda: BFLOAT16)
    return Workspace(project.path / "data", project.path / "runs", project.path / "submissions")


def newest(workspace: Workspace) -> Run:
    return find_run(workspace.runs, None)


def predicted(workspace: Workspace) -> tuple[Predictions, Predictions]:
    """Test predictions: with the engine, and by Keras alone."""
    run = newest(workspace)
    tta, store = run.outcome.tta, workspace.store_of(run)
    found = predict_split(run, "test", tta, store)
    with pytest.MonkeyPatch.context() as context:
        context.setenv(engine.VARIABLE, "keras")
        return found, predict_split(run, "test", tta, store)


def quick(run: Run, workspace: Workspace) -> Any:
    """What the engine has for the run's test patches."""
    store = workspace.store_of(run)
    size, n = store.crop_size(run.experiment.data.crop), len(store.rows("test"))
    return engine.quick_answers(run, load_trained(run), size, run.outcome.tta, store, n)


def test_openvino_computes_where_its_auc_is_that_of_keras(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(engine, "TOLERANCE", 0.01)  # few patches: two that change places are 0.0004
    with caplog.at_level(logging.INFO):
        found, keras = predicted(workspace)
    assert "OpenVINO computes in bfloat16" in caplog.text
    assert caplog.text.count("OpenVINO") == 1, "PCAM_ENGINE=keras leaves it out"
    assert found.probabilities.shape == keras.probabilities.shape
    # bfloat16 has 8 bits
    assert np.abs(found.probabilities - keras.probabilities).max() < 0.03
    assert np.corrcoef(found.probabilities.ravel(), keras.probabilities.ravel())[0, 1] > 0.999
    assert np.array_equal(found.ids, keras.ids)


def brightness(run: Run, model: Any, size: int) -> Any:
    return lambda patches: patches.mean(axis=(1, 2, 3), dtype=np.float32) / 255


def unknown(run: Run, model: Any, size: int) -> Any:
    raise RuntimeError("no such operation")


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (brightness, "has another validation AUC"),
        (unknown, "Keras computes, as OpenVINO cannot: no such operation"),
    ],
)
def test_keras_computes_where_the_auc_differs_or_openvino_fails(
    written: Any,
    why: str,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engine, "_written", written)
    monkeypatch.setattr(engine, "find_spec", lambda name: name)
    with caplog.at_level(logging.INFO):
        found, keras = predicted(workspace)
    assert why in caplog.text
    assert np.array_equal(found.probabilities, keras.probabilities)


def test_the_auc_is_compared_on_validation_patches_with_the_same_views(
    workspace: Workspace,
) -> None:
    run = newest(workspace)
    kept = run.load_predictions("valid")
    assert kept is not None
    tta, store = run.outcome.tta, workspace.store_of(run)

    def constant(patches: np.ndarray) -> np.ndarray:
        return np.full(len(patches), 0.5, np.float32)

    size = store.crop_size(run.experiment.data.crop)
    difference = engine._difference(constant, run, size, tta, store, kept)
    assert difference == pytest.approx(abs(0.5 - roc_auc(kept.labels, kept.probability(tta))))


@pytest.mark.parametrize(
    "change",
    [
        {"LEAST": 10**9},
        {"find_spec": lambda name: None},
        {"read_hardware": lambda: replace(BFLOAT16, backend="jax")},
        {"read_hardware": lambda: replace(BFLOAT16, flags=frozenset({"avx2"}))},
        {"read_hardware": lambda: replace(BFLOAT16, accelerators=(Accelerator("cuda", "T4"),))},
    ],
    ids=["few", "not installed", "backend", "no bfloat16", "gpu"],
)
def test_it_is_not_even_tried(
    change: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(run: Run, model: Any, size: int) -> Any:
        raise AssertionError("tried")

    monkeypatch.setattr(engine, "_written", never)
    for name, value in change.items():
        monkeypatch.setattr(engine, name, value)
    assert quick(newest(workspace), workspace) is None


def test_nor_without_validation_predictions_to_compare_with(workspace: Workspace) -> None:
    run = newest(workspace)
    Path(run.predictions_file("valid")).unlink()
    assert quick(run, workspace) is None


def test_another_engine_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.VARIABLE, "cpu")
    run = newest(workspace)
    with pytest.raises(UsageError, match="PCAM_ENGINE: expected auto or keras, found 'cpu'"):
        predict_split(run, "test", run.outcome.tta, workspace.store_of(run))
