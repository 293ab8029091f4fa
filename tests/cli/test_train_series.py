"""`pcam train --seeds` and `--folds` as typed: stopped, resumed, used again, combined."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from command_line import TRAIN_KEYS, Project
from sklearn.metrics import roc_auc_score

from pcam_kit.evaluation.intervals import intervals


def test_seeds_one_after_another_and_again_for_nothing(started: Project) -> None:
    done = started.quick("train", "quick", "--seed", "4", "--seeds", "2", "--json")
    result = done.json
    assert set(result) == {
        "runs",
        "valid_auc_mean",
        "valid_auc_sd",
        "valid_accuracy_mean",
        "valid_accuracy_sd",
        "out_of_fold",
        "predict",
    }
    assert [run["seed"] for run in result["runs"]] == [4, 5]
    assert set(result["runs"][0]) == TRAIN_KEYS | {"seed"}
    aucs = [run["valid_auc"] for run in result["runs"]]
    assert result["valid_auc_mean"] == pytest.approx(np.mean(aucs))
    assert result["valid_auc_sd"] == pytest.approx(np.std(aucs, ddof=1))
    assert result["predict"] == f"pcam predict {' '.join(path.name for path in started.runs())}"
    assert result["predict"] in done.err
    assert f"{np.mean(aucs):.4f} ± {np.std(aucs, ddof=1):.4f}" in done.err
    again = started.quick("train", "quick", "--seed", "4", "--seeds", "2")
    assert again.ok().out.splitlines() == [run["run"] for run in result["runs"]]
    assert again.err.count("is there already") == 2
    assert len(started.runs()) == 2


def test_side_by_side_is_the_same(started: Project) -> None:
    command = ("train", "quick", "--seed", "4", "--seeds", "2", "--json")
    done = started.quick(*command, "--jobs", "2")
    assert "2 trainings, 2 at once" in done.err
    assert {run["seed"] for run in done.json["runs"]} == {4, 5}
    assert not list((started.path / "runs").glob(".side-by-side*")), "nothing is left beside them"
    again = started.quick(*command)
    assert again.json == done.json
    assert again.err.count("is there already") == 2


def test_one_of_several_side_by_side_fails(started: Project) -> None:
    done = started.quick(
        *("train", "quick", "--seeds", "2", "--jobs", "2"),
        *("--set", "training.learning_rate=1e38", "--set", "training.optimizer=sgd"),
        *("--set", "training.schedule=constant"),
    )
    done.refused(4, "of 2 trainings failed", "of 2: the loss became")
    started.quick("train", "quick", "--jobs", "2").refused(2, "add --seeds N or --folds K")
    started.quick("train", "quick", "--seeds", "2", "--ray", "here").refused(2, "HOST:PORT")


@pytest.mark.slow
def test_folds_stopped_resumed_and_combined(started: Project) -> None:
    stopped = started.quick(
        "train", "quick", "--folds", "2", hook={"on": "step", "at": 8, "signal": signal.SIGINT}
    )
    assert stopped.code == 130
    assert "1 of 2 runs done; the same command resumes" in stopped.err
    assert len(started.runs()) == 2
    done = started.quick("train", "quick", "--folds", "2", "--json")
    runs = started.runs()
    assert len(runs) == 2
    assert "is there already" in done.err
    assert "resuming" in done.err
    labels, p, held_out, slides = [], [], [], []
    for path in runs:
        with np.load(path / "predictions" / "valid.npz") as arrays:
            labels.append(arrays["labels"])
            p.append(arrays["orbit"][:, 0])
            held_out.append(arrays["ids"])
            slides.append(arrays["groups"])
    pooled = done.json["out_of_fold"]
    assert pooled["n"] == len(np.concatenate(held_out)) == 400
    assert pooled["auc"] == pytest.approx(roc_auc_score(np.concatenate(labels), np.concatenate(p)))
    span = intervals(
        np.concatenate(labels), np.concatenate(p), pooled["threshold"], np.concatenate(slides)
    )
    assert (pooled["auc_low"], pooled["auc_high"]) == pytest.approx(span.auc)
    assert (
        len(
            {
                json.loads((path / "meta.json").read_text(encoding="utf-8"))["folds_hash"]
                for path in runs
            }
        )
        == 1
    )
    assert [
        f"index: {i}" in (path / "config.yaml").read_text(encoding="utf-8")
        for i, path in enumerate(runs, 1)
    ] == [True] * 2

    names = [path.name for path in runs]
    combined = started.quick("predict", *names, "--mean", "probabilities", "--json").json
    assert combined["valid_auc"] == pytest.approx(pooled["auc"])
    assert combined["valid_accuracy"] == pytest.approx(pooled["accuracy"])
    entry = json.loads(
        (started.path / "submissions" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    )
    assert (entry["runs"], entry["valid_auc"]) == (names, combined["valid_auc"])
    started.pcam("predict", *names, "--split", "valid").refused(
        2, "different folds have no valid patches in common"
    )
    started.pcam("predict", *names, "--weights", "fitted").refused(
        2, "weights cannot be fitted", "--weights equal"
    )
    assert started.pcam("evaluate", names[1], "--json").json["n"] == len(labels[1])

    config = runs[0] / "meta.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"folds_hash": "', '"folds_hash": "0'),
        encoding="utf-8",
    )
    started.pcam("predict", *names).refused(2, "different foldings", "one --folds")
    started.quick("evaluate", names[0], "--split", "train").refused(
        4, "trained on other folds", "train again"
    )


@pytest.mark.parametrize("more", [("--folds", "2"), ("--resume", "x")])
def test_series_and_resume_exclude_one_another(started: Project, more: tuple[str, ...]) -> None:
    started.pcam("train", "--seeds", "2", *more).refused(
        2, "--seeds, --folds and --resume exclude one another"
    )


def test_more_folds_than_slides(started: Project) -> None:
    started.pcam("train", "quick", "--folds", "5000").refused(
        3, "5000 folds need as many slides or patches", "pcam train --folds"
    )
    assert not (started.path / "runs").is_dir() or not list(Path(started.path / "runs").iterdir())
