"""metrics.jsonl is read as a run wrote it, by version 0.1 too; else the line is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit.errors import DataError, RunError
from pcam_kit.metrics import accuracy, log_loss, roc_auc
from pcam_kit.run_folders import read_metrics
from pcam_kit.run_folders.epochs import write_metrics
from pcam_kit.training.validation import score_logits

OLD = {"loss": 0.5, "valid_auc": 0.75, "best": True, "learning_rate": 1e-3, "seconds": 9.0}
NEW = OLD | {"accuracy": 0.7, "valid_loss": 0.6, "valid_accuracy": 0.65}


class RunFolder:
    """As much of a run as is read here."""

    def __init__(self, folder: Path) -> None:
        self.metrics_file = folder / "metrics.jsonl"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    return RunFolder(tmp_path)


def test_what_is_written_comes_back(run: Any) -> None:
    history = [NEW | {"epoch": 1}, NEW | {"epoch": 2, "best": False, "seconds": 10.0}]
    write_metrics(run.metrics_file, history)
    assert read_metrics(run) == history
    assert b"\r" not in run.metrics_file.read_bytes()


def test_epochs_of_version_01_have_none_for_what_they_lack(run: Any) -> None:
    write_metrics(run.metrics_file, [OLD | {"epoch": 1}, NEW | {"epoch": 2}])
    first, second = read_metrics(run)
    missing = {"accuracy": None, "valid_loss": None, "valid_accuracy": None}
    assert first == OLD | {"epoch": 1} | missing
    assert second == NEW | {"epoch": 2}


def test_a_run_without_epochs_has_none(run: Any) -> None:
    assert read_metrics(run) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (json.dumps(NEW | {"epoch": 2})[:-9], "line 2"),
        ("", "line 2"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "expected the values of an epoch, found list"),
        (json.dumps(NEW | {"epoch": 3}), "expected epoch 2, found epoch 3"),
        (json.dumps(NEW | {"epoch": "2"}), "epoch: "),
        (json.dumps(NEW | {"epoch": 2, "valid_auc": 1.5}), "valid_auc: "),
        (json.dumps(NEW | {"epoch": 2, "loss": float("nan")}), "NaN is not a number"),
        (json.dumps(NEW | {"epoch": 2}).replace("0.5", "1e999"), "loss: "),
        (json.dumps({"epoch": 2}), "loss: "),
        ('{"\\u001b[31m": 1}', "epoch: "),
    ],
)
def test_a_line_that_no_run_writes_is_named(run: Any, line: str, reason: str) -> None:
    text = f"{json.dumps(NEW | {'epoch': 1})}\n{line}\n"
    run.metrics_file.write_text(text, encoding="utf-8", newline="\n")
    with pytest.raises(RunError) as caught:
        read_metrics(run)
    assert reason in caught.value.message
    assert "metrics.jsonl, line 2" in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_bytes_that_are_no_text_and_files_without_end_are_refused(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.metrics_file.write_bytes(b"\xff\xfe{")
    with pytest.raises(RunError, match="cannot read"):
        read_metrics(run)
    monkeypatch.setattr("pcam_kit.run_folders.epochs.METRICS_BYTES", 100)
    run.metrics_file.write_bytes(b" " * 101)
    with pytest.raises(RunError, match="more than 100 bytes"):
        read_metrics(run)


def test_validation_scores_are_those_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=500).astype(np.int8)
    logits = rng.normal(labels - 0.5, 2.0).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    scores = score_logits(labels, logits)
    assert scores.auc == roc_auc(labels, logits)
    assert scores.accuracy == accuracy(labels, probabilities, 0.5)
    assert scores.loss == pytest.approx(log_loss(labels, probabilities), rel=1e-12)


def test_validation_is_exact_for_sure_answers_and_a_tie_is_positive() -> None:
    scores = score_logits(np.array([0, 1, 1]), np.array([1e30, -1e30, 0.0], np.float32))
    assert scores.loss == pytest.approx(2e30 / 3)
    assert scores.accuracy == pytest.approx(1 / 3)
    with pytest.raises(DataError, match="finite"):
        score_logits(np.array([0, 1]), np.array([np.nan, 0.0]))
