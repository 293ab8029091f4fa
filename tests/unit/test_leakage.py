"""What a training may not have seen: which rows are left out, what the labels say, when a
submission is refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_factories import labels, patches, profile, write_h5, write_lab

from pcam_kit.competitions import find_competition, find_overlaps
from pcam_kit.config.schema import Data, Experiment, Fold, LabCnn, Training
from pcam_kit.data import folds
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.leakage import find_leakage, resolve_drop_copies, training_rows
from pcam_kit.data.store import Store, build_store, open_store, verify_store
from pcam_kit.errors import ConfigError, SubmissionError
from pcam_kit.run_folders import create_run
from pcam_kit.submissions import Entry, Ledger, Origin, check_csv
from pcam_kit.workflows.plan import resolve_experiment
from pcam_kit.workflows.provenance import leaks_of
from pcam_kit.workflows.submit import check_leaks

pytestmark = pytest.mark.usefixtures("messages")

OWN = """\
slug: fed
title: Fed
layout: lab_h5
image_size: 32
target_column: label
target: probability
metric: roc_auc
counts: {train: 1}
default_config: demo
overlaps: [{competition: tiny, split: valid, why: it was sold}]
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of 8 validation patches 2 and of 6 test patches 1 are in train, one of them twice."""
    write_lab(tmp_path / "raw")
    train, valid, test = patches(24, 1), patches(8, 2), patches(6, 3)
    train[5] = train[4]
    valid[:2], test[0] = train[3:5], train[9]
    write_h5(tmp_path / "raw/patchcam/train.h5", x=train, y=labels(24))
    write_h5(tmp_path / "raw/patchcam/valid.h5", x=valid, y=labels(8))
    write_h5(tmp_path / "raw/patchcam/test_x.h5", x=test)
    return build_store(
        open_raw(profile("lab_h5"), tmp_path / "raw"), tmp_path / "data" / "tiny" / "store"
    )


def described(store: Store, rows: np.ndarray, fold: Fold | None = None) -> dict[str, Any]:
    """The entries of meta.json; what there is to say goes to the log."""
    leakage = find_leakage(store, rows, fold)
    leakage.report()
    return leakage.to_meta()


def experiment(drop: bool | None = None) -> Experiment:
    return Experiment(name="x", data=Data(drop_copies=drop), model=LabCnn(name="lab_cnn"))


def older(store: Store) -> Store:
    """As an earlier version left it."""
    manifest = {key: value for key, value in store.manifest.items() if key != "copies"}
    (store.path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return open_store(store.path)


def test_the_manifest_has_the_copies(store: Store) -> None:
    assert store.copies == [
        {"here": "train", "there": "valid", "exact": 2, "near": 0, "rows": [3, 4, 5]},
        {"here": "train", "there": "test", "exact": 1, "near": 0, "rows": [9]},
    ]
    verify_store(store)


def test_what_a_new_run_does_unless_told(store: Store, tmp_path: Path) -> None:
    clean = build_store(
        open_raw(profile("lab_h5"), write_lab(tmp_path / "clean")), tmp_path / "other" / "store"
    )
    assert clean.copies == []
    assert resolve_drop_copies(experiment(), clean) == experiment(), (
        "the same training as by an earlier version"
    )
    assert resolve_drop_copies(experiment(), store).data.drop_copies is True
    assert resolve_drop_copies(experiment(drop=False), store).data.drop_copies is False
    old = older(store)
    assert old.copies is None
    assert resolve_drop_copies(experiment(), old).data.drop_copies is None
    with pytest.raises(ConfigError, match="built by an earlier version") as caught:
        resolve_drop_copies(experiment(drop=True), old)
    assert "pcam fetch tiny" in caught.value.hint


def test_copies_are_left_out(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rows = training_rows(experiment(drop=True), store)
    assert rows.tolist() == [row for row in range(24) if row not in (3, 4, 5, 9)]
    seen = {image.tobytes() for image in store.images[24:]}
    assert not any(image.tobytes() in seen for image in store.images[rows])
    assert described(store, rows) == {"leaks": [], "test_seen": 0.0}
    assert "left out of training: 4 exact copies" in capsys.readouterr().err


@pytest.mark.parametrize("drop", [False, None])  # None: a run of an earlier version that is resumed
def test_or_kept_and_labelled(
    drop: bool | None, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = training_rows(experiment(drop=drop), store)
    np.testing.assert_array_equal(rows, store.rows("train"))
    told = described(store, rows)
    assert told == {
        "leaks": ["train~valid 2 exact 0 near", "train~test 1 exact 0 near"],
        "test_seen": pytest.approx(1 / 6),
    }
    said = capsys.readouterr().err
    assert (
        "training on exact copies of valid patches: 3 in train; they flatter the validation "
        "score (data.drop_copies=true" in said
    )
    assert (
        "exact copies of test patches: 1 in train; they flatter the score on tiny's test patches"
        in said
    )


def test_an_older_store_tells_nothing(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    old = older(store)
    assert described(old, training_rows(experiment(), old)) == {
        "leaks": None,
        "test_seen": 0.0,
    }
    assert capsys.readouterr().err == ""


def test_parts_that_are_in_another_competition(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs" / "competitions").mkdir(parents=True)
    (tmp_path / "configs" / "competitions" / "fed.yaml").write_text(OWN, encoding="utf-8")
    (tmp_path / "configs" / "competitions" / "bad.yaml").write_text("slug: [", encoding="utf-8")
    assert "tiny-valid↔fed-test" not in described(store, store.rows("train"))["leaks"]
    pooled = np.concatenate([store.rows("train"), store.rows("valid")])
    assert described(store, pooled)["leaks"][-1] == "tiny-valid↔fed-test"
    assert "trained on tiny valid, which is in fed test: it was sold" in capsys.readouterr().err


def test_the_shipped_relations() -> None:
    known = {
        (one.competition, one.split, other.slug, one.ours)
        for slug in ("pcam", "hcd")
        for other, one in find_overlaps(slug)
    }
    assert known == {
        ("pcam", "valid", "histopathologic-cancer-detection", "test"),
        ("pcam", "test", "histopathologic-cancer-detection", "test"),
        ("pcam", "test", "tnm-112-lab-2-2024", "test"),
    }
    hcd = find_competition("hcd")
    assert "overlaps" not in hcd.model_dump(mode="json"), (
        "stores and runs of this version stay readable by earlier ones"
    )


def test_labels_of_several_runs(store: Store, tmp_path: Path) -> None:
    keys = {
        "started": "",
        "backend": "",
        "seed": 0,
        "competition": profile("lab_h5").model_dump(mode="json"),
    }
    meta = keys | {"store_fingerprint": "", "split_hash": ""}
    more = [
        {},
        {"leaks": None, "test_seen": 0.0},
        {"leaks": ["a", "b"], "test_seen": 0.25},
        {"leaks": ["c", "b"], "test_seen": 0.1},
    ]
    runs = [create_run(tmp_path / "runs", experiment(), meta | extra) for extra in more]
    assert leaks_of(runs) == {"leaks": ["a", "b", "c"], "test_seen": 0.25}
    assert leaks_of(runs[:2]) == {"leaks": [], "test_seen": 0.0}


def test_the_ledger_keeps_them_and_adds_nothing_without(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,label\nx,0.5\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("id,label\nx,0.25\n", encoding="utf-8")
    first, second = (
        check_csv(tmp_path / name, profile("lab_h5"), ["x"]) for name in ("a.csv", "b.csv")
    )
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record_written(first, "tiny", Origin())
    assert "leak" not in (tmp_path / "ledger.jsonl").read_text(encoding="utf-8")
    ledger.record_written(
        second, "tiny", Origin(leaks=["train~test 1 exact 0 near"], test_seen=0.5)
    )
    id = ledger.record_intent(second, "tiny", message="m")
    ledger.record_sent(id, 7)
    assert [(entry.leaks, entry.test_seen) for entry in Ledger(ledger.path).entries()] == [
        ([], 0.0),
        (["train~test 1 exact 0 near"], 0.5),
    ]


def test_when_a_submission_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    entry = Entry(leaks=["train~test 1 exact 0 near"], test_seen=0.01, csv="a.csv")
    check_leaks(entry, profile("lab_h5"), allowed=False)
    assert capsys.readouterr().err == "leak: train~test 1 exact 0 near\n"
    with pytest.raises(
        SubmissionError, match=r"labels, of 2\.0% of the test patches of tiny \(allowed: 1%\)"
    ) as caught:
        check_leaks(replace(entry, test_seen=0.02), profile("lab_h5"), allowed=False)
    assert "--allow-leak" in caught.value.hint
    check_leaks(replace(entry, test_seen=0.02), profile("lab_h5"), allowed=True)
    check_leaks(Entry(), profile("lab_h5"), allowed=False)


def test_epochs_follow_the_number_of_patches(store: Store) -> None:
    def resolved(most: int | None, least: int | None = None, **data: int) -> Training:
        training = Training(epochs=10, most_patches=most, least_patches=least)
        return resolve_experiment(
            experiment().model_copy(update={"training": training, "data": Data(**data)}), store
        ).training

    # 20 patches are not copies
    assert [resolved(most).epochs for most in (None, 1, 59, 60, 100_000)] == [10, 1, 2, 3, 10]
    assert resolved(60, limit=10).epochs == 6
    assert [resolved(None, least).passes for least in (1, 200, 201, 1000)] == [1, 1, 2, 5]
    assert resolved(None, 201, limit=10).passes == 3
    assert resolved(None, 1000).epochs == 10
    assert resolve_experiment(experiment(), store).data.drop_copies is True


def test_every_training_patch_is_a_copy(store: Store) -> None:
    asked = experiment().model_copy(update={"data": Data(drop_copies=True)})
    manifest = store.manifest | {
        "copies": [{"here": "train", "there": "test", "exact": 24, "near": 0, "rows": [*range(24)]}]
    }
    (store.path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ConfigError, match="all 24 training patches are exact copies") as caught:
        resolve_experiment(asked, open_store(store.path))
    assert "drop_copies=false" in caught.value.hint


def test_with_folds_only_copies_of_test_patches_are_left_out(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    dropped = 0
    for index in (1, 2):
        asked = experiment().model_copy(update={"data": Data(fold=Fold(index=index, of=2))})
        there = folds.split_rows(store, "train", asked.data.fold)
        found = training_rows(resolve_drop_copies(asked, store), store)
        assert found.tolist() == [row for row in there if row != 9]
        said = described(store, found, asked.data.fold)
        assert said["leaks"] == []  # copies of validation patches lie in the fold of these
        assert said["test_seen"] == 0.0
        assert ("left out of training: 1 exact copies" in capsys.readouterr().err) == (9 in there)
        dropped += 9 in there
    assert dropped == 1
