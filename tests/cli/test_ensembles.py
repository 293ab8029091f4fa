"""`pcam predict RUN RUN`: how runs are combined, what is reported, what the ledger keeps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import PREDICT_KEYS, Project
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

MORE_KEYS = {"mean", "weights", "valid_auc", "valid_accuracy", "members", "correlations"}


def kept(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities as they lie in a run folder."""
    with np.load(folder / "predictions" / f"{split}.npz") as arrays:
        return arrays["labels"], arrays["orbit"][:, 0].astype(float)


def odds(p: np.ndarray) -> np.ndarray:
    return p / (1 - p)


@pytest.mark.parametrize("mean", ["probabilities", "logits", "ranks"])
def test_each_way_of_combining_orders_the_patches_as_it_should(project: Project, mean: str) -> None:
    folders = [path for path in project.runs() if "-tiny" in path.name]
    done = project.pcam("predict", *(path.name for path in folders), "--mean", mean, "--json")
    result = done.json
    assert set(result) == PREDICT_KEYS | MORE_KEYS
    by_hand = {
        "probabilities": lambda p, q: p + q,
        "logits": lambda p, q: odds(p) * odds(q),
        "ranks": lambda p, q: rankdata(p) + rankdata(q),
    }[mean]
    (labels, p), (_, q) = (kept(folder, "valid") for folder in folders)
    assert result["valid_auc"] == pytest.approx(roc_auc_score(labels, by_hand(p, q)), abs=1e-9)
    assert [one["valid_auc"] for one in result["members"]] == [
        pytest.approx(roc_auc_score(labels, one)) for one in (p, q)
    ]
    assert [one["weight"] for one in result["members"]] == [0.5, 0.5]
    p, q = (kept(folder, "test")[1] for folder in folders)
    assert result["correlations"]["pearson"][0][1] == pytest.approx(
        np.corrcoef(np.log(odds(p)), np.log(odds(q)))[0, 1]
    )
    with open(project.path / result["csv"], newline="", encoding="utf-8") as handle:
        said = np.array([int(row["class"]) for row in csv.DictReader(handle)])
    values = by_hand(p, q)
    assert 0 < said.sum() < len(said)
    assert values[said == 1].min() > values[said == 0].max()
    entry = json.loads(
        (project.path / "submissions" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    )
    assert entry["runs"] == [folder.name for folder in folders]
    assert (entry["valid_auc"], entry["valid_accuracy"]) == (
        result["valid_auc"],
        result["valid_accuracy"],
    )
    assert entry["valid_score"] == entry["valid_accuracy"], "tiny is scored by accuracy"
    assert (entry["mean"], entry["weights"], entry.get("assumed_positive")) == (mean, "equal", None)
    for words in (
        f"mean of {mean}",
        folders[0].name,
        "2 runs as one, 100 validation patches",
        "Pearson",
    ):
        assert words in done.err
    assert ("as large a share of test" in done.err) == (mean == "ranks")


def test_each_way_of_combining_has_a_file_of_its_own(project: Project) -> None:
    names = [path.name for path in project.runs() if "-tiny" in path.name]
    ways = [
        (),
        ("--mean", "probabilities"),
        ("--mean", "ranks"),
        ("--weights", "fitted"),
        ("--split", "valid"),
    ]
    files = [project.pcam("predict", *names, *way, "--json").json["csv"] for way in ways]
    assert len(set(files)) == len(ways)
    assert (
        project.pcam("predict", *names, "--mean", "logits", "--weights", "equal", "--json").json[
            "csv"
        ]
        == files[0]
    ), "the default"


def test_fitted_weights_are_told_with_an_honest_score(project: Project) -> None:
    folders = [path for path in project.runs() if "-tiny" in path.name]
    done = project.pcam(
        "predict", *(path.name for path in folders), "--weights", "fitted", "--json"
    )
    weights = [one["weight"] for one in done.json["members"]]
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    assert weights != [0.5, 0.5]
    assert all(f"{weight:.3f}" in done.err for weight in weights)
    assert "cross-fitted" in done.err


def test_ranks_are_called_no_probabilities(project: Project) -> None:
    run = next(path for path in project.runs() if "-faint0-" in path.name)
    shutil.copytree(run, run.with_name("copy"))
    done = project.pcam("predict", run.name, "copy", "--mean", "ranks").ok()
    assert "Ranks are no probabilities" in done.err


def test_each_run_is_seen_as_it_was_measured_unless_told_otherwise(project: Project) -> None:
    run = next(path for path in project.runs() if "-tiny" in path.name)
    shifted = run.with_name(f"{run.name}s")
    shutil.copytree(run, shifted)
    result = json.loads((shifted / "result.json").read_text(encoding="utf-8"))
    (shifted / "result.json").write_text(json.dumps(result | {"tta": "shifts"}), encoding="utf-8")
    done = project.pcam("predict", run.name, shifted.name, "--json").json
    assert done["csv"].endswith("-own.csv")
    aucs = []
    for folder, columns in ((run, 1), (shifted, 5)):
        with np.load(folder / "predictions" / "valid.npz") as arrays:
            assert arrays["orbit"].shape[1] == columns
            aucs.append(roc_auc_score(arrays["labels"], arrays["orbit"].astype(float).mean(axis=1)))
    assert [one["valid_auc"] for one in done["members"]] == pytest.approx(aucs, abs=1e-6)
    assert aucs[0] != aucs[1]
    assert (
        project.pcam("predict", run.name, shifted.name, "--tta", "none", "--json")
        .json["csv"]
        .endswith("-none.csv")
    )
    shutil.rmtree(shifted)


@pytest.mark.parametrize("option", [("--mean", "ranks"), ("--weights", "fitted")])
def test_one_run_is_not_combined(project: Project, option: tuple[str, str]) -> None:
    before = {path.name for path in project.csvs()}
    project.pcam("predict", project.runs()[-1].name, *option).refused(
        2, "--mean and --weights", "pcam predict RUN RUN"
    )
    assert {path.name for path in project.csvs()} == before


def test_a_known_share_of_positives_moves_the_cut(project: Project) -> None:
    name = next(path.name for path in project.runs() if "-tiny" in path.name)
    usual = project.pcam("predict", name, "--json").json
    done = project.pcam("predict", name, "--assume-positive", "0.3", "--json")
    assert done.json["positive_rate"] == pytest.approx(0.3, abs=0.02)
    assert usual["positive_rate"] != pytest.approx(0.3, abs=0.02)
    assert done.json["csv"] != usual["csv"]
    assert "assumed, not measured: 30% of these" in done.err
    csvs = {
        Path(entry["csv"]).name: entry
        for entry in project.quick("submissions", "--json").json["submissions"]
    }
    told = [
        csvs[Path(one["csv"]).name][key]
        for one in (done.json, usual)
        for key in ("assumed_positive", "mean")
    ]
    assert told == [0.3, None, None, None]


def test_a_share_that_cannot_be_is_refused(project: Project) -> None:
    name = next(path.name for path in project.runs() if "-tiny" in path.name)
    project.pcam("predict", name, "--assume-positive", "50").refused(
        2, "a share between 0 and 1, found 50", "--assume-positive 0.5"
    )
    probabilities = next(path.name for path in project.runs() if "-faint0-" in path.name)
    project.pcam("predict", probabilities, "--assume-positive", "0.5").refused(
        2, "wants probabilities, not classes", "ROC AUC does not"
    )
