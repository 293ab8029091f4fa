"""`pcam evaluate` on runs whose predictions are drawn: which interval it is, what is measured
elsewhere, who is compared with whom.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit import metrics, run_folders
from pcam_kit.cli import evaluate as evaluate_command
from pcam_kit.competitions import find_competition
from pcam_kit.config.schema import Experiment, LabCnn
from pcam_kit.errors import UsageError
from pcam_kit.evaluation.calibration import apply_temperature, best_threshold, fit_temperature
from pcam_kit.evaluation.comparison import Answers, compare
from pcam_kit.evaluation.crossfit import cross_fit
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.workflows import evaluate
from pcam_kit.workspace import Workspace

META: dict[str, Any] = {
    "started": "2024-01-02T03:04:05+00:00",
    "backend": "tensorflow",
    "seed": 0,
    "competition": find_competition("lab").model_dump(mode="json"),
    "store_fingerprint": "ab" * 32,
    "split_hash": "cd" * 32,
}
N, SLIDES = 400, 25


def patches(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, labels and slides."""
    labels = np.random.default_rng(seed).integers(0, 2, N).astype(np.int8)
    return (
        np.array([f"p{i}" for i in range(N)]),
        labels,
        np.repeat(np.arange(SLIDES), N // SLIDES).astype(np.int32),
    )


def make(
    folder: Path, seed: int, *, slides: bool = True, temperature: bool = True, split_seed: int = 0
) -> run_folders.Run:
    """A finished run with predictions on valid and test."""
    run = run_folders.create_run(
        folder, Experiment(name=f"run{seed}", model=LabCnn(name="lab_cnn")), META
    )
    ids, labels, groups = patches(split_seed)
    rng = np.random.default_rng(100 + seed)
    for split in ("test", "valid"):
        scores = (
            3 * (labels - 0.5)
            + 0.5 * seed
            + 0.8 * rng.standard_normal(SLIDES)[groups]
            + 1.5 * rng.standard_normal(N)
        )
        p = (1 / (1 + np.exp(-2 * scores))).astype(np.float32)
        predictions = run_folders.Predictions(
            ids, labels, p[:, None], ("identity",), groups if slides else None
        )
        run.save_predictions(split, predictions)
    cut, fitted = best_threshold(labels, p), fit_temperature(labels, p).value
    scores_ = metrics.evaluate(labels, p, cut.value)
    return run.complete(
        run_folders.Result(
            *(
                3,
                2,
                N,
                scores_.auc,
                *metrics.auc_interval(labels, p),
                scores_.accuracy,
                scores_.accuracy_at_half,
            ),
            *(cut.value, cut.low, cut.high, "none", 12.5, fitted if temperature else None),
        )
    )


def score(chosen: list[run_folders.Run], split: str, tmp_path: Path) -> list[dict[str, Any]]:
    found = [
        one.to_dict()
        for one in evaluate.evaluate_runs(chosen, split, Workspace(tmp_path, tmp_path, tmp_path))
    ]
    return json.loads(json.dumps(found, allow_nan=False))


def answers(run: run_folders.Run, split: str = "valid") -> Answers:
    kept = run.load_predictions(split)
    assert kept is not None
    assert run.result is not None
    return Answers(kept.probability("none"), run.result.threshold)


def test_by_slide_where_slides_are_known_and_measured_elsewhere(tmp_path: Path) -> None:
    run = make(tmp_path, 1)
    (found,) = score([run], "valid", tmp_path)
    given, (_, labels, groups) = answers(run), patches()
    assert found["interval"] == f"slides ({SLIDES})"
    expected = intervals(labels, given.probabilities, given.threshold, groups)
    assert (
        (found["auc_low"], found["auc_high"]),
        (found["accuracy_low"], found["accuracy_high"]),
    ) == (expected.auc, expected.accuracy)
    elsewhere = cross_fit(labels, given.probabilities, groups)
    assert elsewhere is not None
    assert (found["cross_fitted_by"], found["accuracy_cross_fitted"]) == (
        "slides",
        elsewhere.accuracy,
    )
    assert (found["log_loss_at_temperature"], found["ece_at_temperature"]) == (
        elsewhere.log_loss,
        elsewhere.ece,
    )
    assert run.result is not None
    assert found["temperature"] == run.result.temperature
    assert (found["threshold_low"], found["threshold_high"]) == (
        run.result.threshold_low,
        run.result.threshold_high,
    )
    assert "compared" not in found


def test_another_split_takes_the_temperature_as_it_is(tmp_path: Path) -> None:
    run = make(tmp_path, 1)
    (found,) = score([run], "test", tmp_path)
    given, (_, labels, _) = answers(run, "test"), patches()
    after = apply_temperature(given.probabilities, found["temperature"])
    assert found["log_loss_at_temperature"] == metrics.log_loss(labels, after) < found["log_loss"]
    assert (found["accuracy_cross_fitted"], found["cross_fitted_by"]) == (None, None)


def test_an_old_run_says_less_and_is_not_refused(tmp_path: Path) -> None:
    old, new = make(tmp_path, 1, slides=False, temperature=False), make(tmp_path, 1)
    (found,) = score([old], "test", tmp_path)
    assert found["interval"] == "patches"
    assert found["temperature"] == score([new], "test", tmp_path)[0]["temperature"], (
        "fitted on the validation predictions it kept"
    )
    (old.path / "predictions" / "valid.npz").unlink()
    (found,) = score([old], "test", tmp_path)
    assert (found["temperature"], found["log_loss_at_temperature"]) == (None, None)
    together = score([old, new], "test", tmp_path)
    assert {one["interval"] for one in together} == {f"slides ({SLIDES})"}, (
        "the other run knows the slides of the same patches"
    )


def test_each_further_run_is_compared_with_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [make(tmp_path, seed) for seed in (0, 1, 2)]
    found = score(chosen, "valid", tmp_path)
    _, labels, groups = patches()
    assert ["compared" in one for one in found] == [False, True, True]
    for run, one in zip(chosen[1:], found[1:], strict=True):
        expected = compare(labels, answers(chosen[0]), answers(run), groups)
        assert one["compared"] == {
            "interval": f"slides ({SLIDES})",
            "auc_difference": vars(expected.auc),
            "accuracy_difference": vars(expected.accuracy),
        }
        assert expected.auc.value == one["auc"] - found[0]["auc"]
    evaluate_command.show(
        evaluate.evaluate_runs(chosen, "valid", Workspace(tmp_path, tmp_path, tmp_path))
    )
    out, err = capsys.readouterr()
    assert f"against {chosen[0].name}" in out
    assert f"95% interval, by slide ({SLIDES})" in out
    assert "accuracy, threshold chosen on other slides" in out
    assert f"{expected.auc.low:+.4f} to {expected.auc.high:+.4f}" in out
    assert "another seed" in err
    assert "not known" not in err


def test_what_is_not_known_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_command.show(
        evaluate.evaluate_runs(
            [make(tmp_path, 1, slides=False)], "valid", Workspace(tmp_path, tmp_path, tmp_path)
        )
    )
    out, err = capsys.readouterr()
    assert "95% interval, by patch" in out
    assert "accuracy, threshold chosen on other patches" in out
    assert "The slides are not known" in err
    assert "against" not in out


def test_other_patches_or_labels_cannot_be_compared(tmp_path: Path) -> None:
    first, other = make(tmp_path, 0), make(tmp_path, 1, split_seed=5)
    with pytest.raises(UsageError, match="do not hold the same patches and labels") as caught:
        score([first, other], "valid", tmp_path)
    assert first.name in caught.value.message
    assert caught.value.hint == f"evaluate one at a time: pcam evaluate {other.name}"
    for run in (first, other):
        assert len(score([run], "valid", tmp_path)) == 1
