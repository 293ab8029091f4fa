"""`pcam train` with the config of an ensemble: stopped, resumed, shown, predicted, applied."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import TRAIN_KEYS, Project
from sklearn.metrics import roc_auc_score

import pcam_kit as pcam

OTHER = """\
data: {crop: 24}
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 3, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: turns}
"""


def probabilities(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mean over the views of the validation patches, as they lie in a run folder."""
    with np.load(folder / "predictions" / "valid.npz") as arrays:
        return arrays["labels"], arrays["orbit"].astype(float).mean(axis=1)


@pytest.mark.slow
def test_members_side_by_side_and_then_a_pupil_of_them(started: Project) -> None:
    configs = started.path / "configs"
    (configs / "other.yaml").write_text(OTHER, encoding="utf-8")
    members = "model: {name: ensemble, members: [quick, other]}\n"
    (configs / "both.yaml").write_text(members, encoding="utf-8")
    short = ("--set", "training.epochs=1", "--jobs", "2")
    done = started.quick("train", "both", *short, "--json")
    assert "2 trainings, 2 at once" in done.err
    assert {path.name for path in started.runs()} > set(done.json["members"])
    assert len(done.json["members"]) == 2

    teachers = "training.teachers={configs: [quick, other]}"
    pupil = started.quick("train", "quick", "--seed", "7", "--set", teachers, *short).ok()
    assert "2 trainings, 2 at once" in pupil.err
    assert pupil.err.count("is there already") == 2
    assert len(started.runs()) == 6


@pytest.mark.slow
def test_members_one_after_another_stopped_resumed_and_combined(started: Project) -> None:
    configs = started.path / "configs"
    (configs / "other.yaml").write_text(OTHER, encoding="utf-8")
    (configs / "both.yaml").write_text(
        "model: {name: ensemble, members: [quick, other]}\n", encoding="utf-8"
    )
    command = ("train", "both", "--seed", "3", "--set", "training.epochs=1")
    stopped = started.quick(*command, hook={"on": "step", "at": 14, "signal": signal.SIGINT})
    assert stopped.code == 130
    assert "1 of 2 networks done; the same command resumes" in stopped.err
    assert len(started.runs()) == 2
    started.pcam("predict", "both").refused(4, "no run called 'both'", "pcam train both")

    done = started.quick(*command, "--json")
    first, second, both = started.runs()
    assert set(done.json) == TRAIN_KEYS | {"members"}
    assert done.json["members"] == [first.name, second.name]
    assert done.json["run"].endswith(both.name)
    for words in ("both is the mean of 2 networks, 1 of them", "is there already", "resuming"):
        assert words in done.err
    (labels, p), (_, q) = probabilities(first), probabilities(second)
    auc = roc_auc_score(labels, p / (1 - p) * q / (1 - q))
    assert done.json["valid_auc"] == pytest.approx(auc)
    scores = started.pcam("evaluate", "both", first.name, second.name, "--json").json["runs"]
    table = done.err.partition("100 validation patches")[2].splitlines()
    for score in scores:
        row = next(line for line in table if line.startswith(Path(score["run"]).name))
        shown = f"{score['auc']:.4f} ({score['auc_low']:.4f}-{score['auc_high']:.4f})"
        assert shown in row
        assert f"{score['accuracy_cross_fitted']:.4f}" in row
    assert "pcam predict both" in done.err

    files = [
        started.quick("predict", *names, "--json").json["csv"]
        for names in (["both"], [first.name, second.name])
    ]
    contents = [(started.path / file).read_bytes() for file in files]
    assert contents[0] == contents[1]
    store = pcam.open_store("tiny", workspace=started.path)
    kept = pcam.load_run("both", workspace=started.path).load_predictions("test")
    assert kept is not None
    (started.path / "images").mkdir()
    for name, row in zip("abc", store.rows("test"), strict=False):
        pixels = np.ascontiguousarray(store.images[row][..., ::-1])
        cv2.imwrite(str(started.path / "images" / f"{name}.png"), pixels)
    started.quick("apply", "both", "images", "--out", "table.csv").ok()
    with open(started.path / "table.csv", newline="", encoding="utf-8") as handle:
        applied = [float(row["probability"]) for row in csv.DictReader(handle)]
    np.testing.assert_allclose(applied, kept.probability("none")[:3], atol=1e-5)
