"""The headers of the configs as data, and the time that is said after the first steps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit import imagenet
from pcam_kit.config.catalog import header_of, read_all, read_header
from pcam_kit.config.load import config_folders, list_configs, load_experiment
from pcam_kit.config.schema import Ensemble
from pcam_kit.progress import SILENT
from pcam_kit.workflows import expected_time
from pcam_kit.workflows.expected_time import TimeReport, reference_seconds


@pytest.mark.parametrize("name", list_configs())
def test_every_header_says_what_for_and_its_time_and_score_or_that_they_are_not_measured(
    name: str,
) -> None:
    header = read_header(name)
    text = (config_folders()[-1] / f"{name}.yaml").read_text(encoding="utf-8")
    assert 20 < len(header.purpose) < 170
    assert header.purpose.endswith(".")
    assert "Time" not in header.purpose
    if "Time and score: not measured" in text:
        assert (header.seconds_per_patch, header.auc, header.auc_text) == (None, None, "")
    else:
        if not isinstance(load_experiment(name).model, Ensemble):  # its time is its members'
            assert header.seconds_per_patch is not None
        assert header.auc is not None
        assert 0.8 < header.auc < 1


def test_a_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text(
        "# pcam train mine\n# A network of mine, e.g. for crops. It is\n# small.\n"
        "# Time: 12.5 s per epoch of 1,000 patches on 2 CPU cores.\n"
        "# Score on 100 validation patches: AUC 0.8976 ± 0.0023 (n = 3).\n"
        "model: {name: lab_cnn}\ntraining: {epochs: 4, most_patches: 3000}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    header = read_header("mine")
    assert header.purpose == "A network of mine, e.g. for crops."
    assert header.seconds_per_patch == pytest.approx(0.0125)
    assert (header.auc, header.auc_text) == (0.8976, "0.8976 ± 0.0023")
    assert header.seconds(load_experiment("mine"), 1000) == pytest.approx(3 * 12.5)
    assert header.seconds(load_experiment("mine"), 100) == pytest.approx(4 * 1.25)


def test_a_network_that_was_changed_has_no_header() -> None:
    assert header_of(load_experiment("lab-p4m", ["training.epochs=2"])) is not None
    assert header_of(load_experiment("lab-p4m", ["model.blocks=2"])) is None


def test_the_time_of_teachers_counts() -> None:
    parts = [load_experiment(name) for name in ("lab-p4m-small", "lab-p4m", "lab-distilled")]
    alone = [header.seconds(part, 5000) for part in parts if (header := header_of(part))]
    assert reference_seconds(parts[-1], 5000) == pytest.approx(sum(filter(None, alone)))
    assert reference_seconds(load_experiment("lab-gpu"), 5000) is None


class Plan:
    """What a TimeReport asks of a plan."""

    def __init__(self, name: str) -> None:
        self.experiment = load_experiment(name)
        self.train_rows = np.arange(12_800)
        self.valid_rows = np.arange(3_840)


def say(monkeypatch: pytest.MonkeyPatch, name: str, per_step: float, *, later: float = 0.0) -> None:
    """The report of a training with steps of so many seconds, the first of which compiles."""
    clock = iter([1000.0, *(1000.0 + per_step * i for i in range(1, 100))])
    monkeypatch.setattr(expected_time.time, "monotonic", lambda: next(clock))
    plan: Any = Plan(name)
    with SILENT.training() as monitor:
        report = TimeReport(monitor, plan, later)
        report.started(plan.experiment.training.epochs, 100, 0)
        for step in range(1, 30):
            report.step(1, step, 0.5)


def test_the_time_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    header = read_header("lab")
    assert header.seconds_per_patch is not None
    per_step = header.seconds_per_patch * 128 / 1.1  # validation takes the rest
    say(monkeypatch, "lab", per_step)
    # 18 epochs of 100 steps, without those that were measured and the one before
    minutes = per_step * 1.1 * (1800 - 13) / 60
    assert len(caplog.records) == 1
    assert f"about {int(minutes)}m" in caplog.text


@pytest.mark.parametrize(("installed", "quicker"), [(True, "lab-lite0"), (False, "lab")])
def test_much_longer_than_the_header_names_what_to_do(
    installed: bool,
    quicker: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(imagenet.WeightsPackage, "is_installed", installed)
    caplog.set_level(logging.INFO)
    header = read_header("lab-p4m")
    assert header.seconds_per_patch is not None
    say(monkeypatch, "lab-p4m", 5 * header.seconds_per_patch * 128 / 1.1, later=600.0)
    first, second = (record.getMessage() for record in caplog.records)
    assert "then 50m00s for the networks that follow" in first
    assert second.startswith(
        f"5.0 times as long as on 2 new CPU cores; pcam train {quicker} takes about"
    )
    assert "--set training.epochs=N" in second


def test_a_short_training_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    say(monkeypatch, "demo", 0.01)
    assert caplog.text == ""


def test_the_quicker_config_is_measured() -> None:
    assert {header.name for header, _ in read_all() if header.auc is not None} >= {"lab", "pcam96"}
