"""Trackers never cost a training: what fails, hangs or is missing is said, and that is all."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pcam_kit.config.schema import LabCnn, Training
from pcam_kit.errors import ConfigError
from pcam_kit.tracking import Session, TrackedRun, check_installed, session
from pcam_kit.workflows.tracking import flat

EPOCHS = [
    {"epoch": epoch, "best": True, "valid_auc": 0.5 + epoch / 10, "accuracy": None}
    for epoch in (1, 2, 3)
]


def run_in(folder: Path) -> TrackedRun:
    return TrackedRun("run-1", str(folder), "pcam-test", {"seed": 3, "name": "x"}, {"commit": "ab"})


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [item.getMessage() for item in caplog.records if item.levelno == logging.WARNING]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in tags}


def test_tensorboard_has_each_epoch_once_however_often_it_is_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    first = Session("tensorboard", run_in(tmp_path), [])
    first.log(EPOCHS[0])
    first.end("stopped", {})
    first.wait(120)
    # epoch 2 was finished when the process was killed, before the tracker heard of it
    second = Session("tensorboard", run_in(tmp_path), EPOCHS[:2])
    second.log(EPOCHS[2])
    second.end("finished", {"valid_auc": 0.75})
    second.wait(120)
    assert warnings_of(caplog) == []
    assert curves(tmp_path) == {
        "valid_auc": [(1, 0.6), (2, 0.7), (3, 0.8)],
        "final/valid_auc": [(3, 0.75)],
    }


def test_trackio_has_each_epoch_once_and_the_config(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("trackio")
    first = Session("trackio", run_in(tmp_path), [])
    first.log(EPOCHS[0])
    first.end("stopped", {})
    first.wait(120)
    second = Session("trackio", run_in(tmp_path), EPOCHS[:2])
    second.end("finished", {"valid_auc": 0.75})
    second.wait(120)
    assert warnings_of(caplog) == []
    with sqlite3.connect(tmp_path / "trackio" / "pcam-test.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id")
        found = [(name, step, "final" in str(text)) for name, step, text in rows]
        assert found == [("run-1", 1, False), ("run-1", 2, False), ("run-1", 2, True)]
        (config,) = database.execute("SELECT config FROM configs").fetchone()
    assert '"seed":3' in str(config).replace(" ", "")


def test_a_tracker_that_hangs_is_ended_and_one_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, code in (("hanging", "import time; time.sleep(600)"), ("failing", "1 / 0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mlflow.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(session, "_environment", lambda own=session._environment: _first(own()))
    monkeypatch.setenv("FAKE", str(tmp_path / "hanging"))
    hanging = Session("mlflow", run_in(tmp_path), [])
    monkeypatch.setenv("FAKE", str(tmp_path / "failing"))
    failing = Session("mlflow", run_in(tmp_path), [])
    failing._process.wait(60)
    for metrics in EPOCHS:
        failing.log(metrics)
        hanging.log(metrics)
    failing.end("finished", {})
    failing.wait(120)
    hanging.end("finished", {})
    hanging.wait(2)
    said = warnings_of(caplog)
    assert len(said) == 2, "one warning for each"
    assert "mlflow does not track the rest" in said[0]
    assert "division by zero" in said[0]
    assert "did not take everything in time" in said[1]
    assert hanging._process.returncode is not None, "no process is left behind"


def _first(environment: dict[str, str]) -> dict[str, str]:
    """The fake mlflow before the real one."""
    path = os.pathsep.join([environment["FAKE"], environment["PYTHONPATH"]])
    return environment | {"PYTHONPATH": path}


def test_a_missing_package_is_an_error_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    check_installed([])
    with pytest.raises(ConfigError, match="mlflow is not installed") as caught:
        check_installed(["mlflow", "trackio"])
    assert 'pip install "pcam-kit[mlflow,trackio]"' in caught.value.hint


def test_only_what_the_user_set_leads_to_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*session.QUIET, *session.HUB, "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    quiet = session._environment()
    assert quiet["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert quiet["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/space")
    assert "HF_HUB_OFFLINE" not in session._environment()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    assert session._environment()["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"


def test_params_are_flat() -> None:
    training = Training(track=["mlflow"]).model_dump(mode="json")
    values: dict[str, Any] = flat(
        {"training": training, "model": LabCnn(name="lab_cnn").model_dump()}
    )
    assert values["training.epochs"] == 10
    assert values["training.track"] == '["mlflow"]'
    assert values["training.ema"] == "null"
    assert values["model.filters"] == "[16, 32]"
    with pytest.raises(ValueError, match="twice"):
        Training(track=["mlflow", "mlflow"])
