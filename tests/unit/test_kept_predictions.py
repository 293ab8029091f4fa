"""What a run keeps is used only for the store it is of, and only as the run wrote it."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_factories import profile, write_lab

from pcam_kit.config.schema import Experiment, External, LabCnn
from pcam_kit.data.folds import patch_names
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import Store, build_store
from pcam_kit.errors import DataError, RunError, UsageError
from pcam_kit.run_folders import Predictions, Result, Run, create_run, open_run
from pcam_kit.views import VIEWS
from pcam_kit.workflows.evaluate import evaluate_runs
from pcam_kit.workflows.external import import_predictions
from pcam_kit.workflows.predict import PredictRequest, predict
from pcam_kit.workflows.predictions import predictions_of
from pcam_kit.workspace import Workspace

RESULT = Result(1, 1, 8, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.4, 0.6, "none", 60.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return build_store(
        open_raw(profile("lab_h5"), write_lab(tmp_path / "raw")),
        tmp_path / "data" / "tiny" / "store",
    )


def make(store: Store) -> Run:
    """A finished run with predictions of the test patches."""
    meta = {
        "started": "now",
        "backend": "tensorflow",
        "seed": 0,
        "competition": store.profile.model_dump(mode="json"),
        "store_fingerprint": store.fingerprint,
        "split_hash": store.split_hash,
    }
    run = create_run(Path("runs"), Experiment(name="x", model=LabCnn(name="lab_cnn")), meta)
    run.save_predictions("test", predictions(store))
    return run.complete(RESULT)


def predictions(store: Store, seed: int = 0) -> Predictions:
    rows = store.rows("test")
    values = np.random.default_rng(seed).random((len(rows), 1), np.float32)
    return Predictions(
        patch_names(store, rows), store.labels[rows], values, VIEWS["none"], store.groups[rows]
    )


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write the arrays of an .npz again, after `change`."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def test_kept_predictions_are_used_and_said_to_be_cached(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = make(store)
    kept = predictions_of(run, "test", "none", Workspace())
    np.testing.assert_array_equal(kept.probabilities, predictions(store).probabilities)
    assert "cached test predictions, of " in caplog.text
    assert str(store.path.relative_to(Path.cwd())) in caplog.text


def test_not_for_another_store(store: Store, tmp_path: Path) -> None:
    run = make(store)
    raw = write_lab(tmp_path / "raw2", valid=False)
    build_store(open_raw(profile("lab_h5"), raw), tmp_path / "other" / "tiny" / "store")
    with pytest.raises(RunError, match="fingerprint"):
        predictions_of(run, "test", "none", Workspace(data=Path("other")))


def test_without_a_store_they_are_used_and_that_is_said(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = make(store)
    kept = predictions_of(run, "test", "none", Workspace(data=Path("nowhere")))
    assert len(kept.ids) == len(store.rows("test"))
    assert "not compared with its store, which is not there" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(orbit=1 - arrays["orbit"]),
        lambda arrays: arrays.update(orbit=arrays["orbit"][::-1].copy()),
        lambda arrays: arrays.update(ids=arrays["ids"][::-1].copy()),
        lambda arrays: arrays.update(labels=1 - arrays["labels"]),
        lambda arrays: arrays.update(views=np.array(["rotate90"])),
        lambda arrays: arrays.update(extra=np.zeros(3)),
        lambda arrays: arrays.pop("groups"),
        lambda arrays: arrays.pop("seal"),
        lambda arrays: arrays.update(seal=np.array("[" * 9999)),
        lambda arrays: arrays.update(seal=np.array("{}")),
        lambda arrays: arrays.update(seal=np.zeros(2)),
    ],
)
def test_edited_arrays_are_refused(store: Store, change: Callable[[dict[str, Any]], Any]) -> None:
    run = make(store)
    path = run.predictions_file("test")
    edit(path, lambda arrays: None)
    assert run.load_predictions("test") is not None  # the same arrays, written again
    edit(path, change)
    with pytest.raises(RunError, match=r"test\.npz") as caught:
        predictions_of(run, "test", "none", Workspace())
    assert f"delete {path}" in caught.value.hint


def test_exchanged_files_are_refused(store: Store) -> None:
    run, other = make(store), make(store)
    run.predictions_file("test").replace(run.predictions_file("valid"))
    with pytest.raises(RunError, match="holds something else than valid"):
        run.load_predictions("valid")
    other.predictions_file("test").replace(run.predictions_file("test"))
    with pytest.raises(RunError, match="another run wrote it"):
        run.load_predictions("test")


def before_ids(run: Run) -> Run:
    """The run as an earlier version would have made it."""
    values = json.loads((run.path / "meta.json").read_text(encoding="utf-8"))
    del values["id"]
    (run.path / "meta.json").write_text(json.dumps(values), encoding="utf-8")
    edit(run.predictions_file("test"), lambda arrays: arrays.pop("seal"))
    return open_run(run.path)


def test_files_of_earlier_versions_are_used_with_one_warning(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run = before_ids(make(store))
    for _ in range(2):
        kept = predictions_of(run, "test", "none", Workspace())
    np.testing.assert_array_equal(kept.probabilities, predictions(store).probabilities)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert run.name in warnings[0]


@pytest.mark.parametrize("name", ["ids", "labels"])
def test_files_of_earlier_versions_must_fit_the_store(store: Store, name: str) -> None:
    run = before_ids(make(store))
    changes = {"ids": lambda old: np.roll(old, 1), "labels": lambda old: np.zeros_like(old)}
    edit(
        run.predictions_file("test"),
        lambda arrays: arrays.update({name: changes[name](arrays[name])}),
    )
    with pytest.raises(RunError, match=r"test\.npz: expected ids and labels of the"):
        predictions_of(run, "test", "none", Workspace())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"orbit": np.full((2, 1), np.nan, np.float32)}, "within 0..1"),
        ({"orbit": np.full((2, 1), 1.5, np.float32)}, "within 0..1"),
        ({"orbit": np.zeros((2, 1), np.float64)}, "within 0..1"),
        ({"orbit": np.zeros((2, 1), complex)}, "within 0..1"),
        ({"orbit": np.zeros((3, 1), np.float32)}, "ids should be text"),
        ({"orbit": np.zeros((0, 1), np.float32)}, "no patches"),
        ({"ids": np.array([1, 2])}, "ids should be text"),
        ({"ids": np.array(["a", "a"])}, "twice"),
        ({"ids": np.array("a")}, "ids should be text"),
        ({"labels": np.array([0.0, 1.0])}, "labels should be whole numbers"),
        ({"labels": np.array([0, 7])}, "0, 1 or -1"),
        ({"groups": np.array(["x", "y"])}, "groups should be"),
        ({"views": np.array(["identity", "identity"])}, "names of views"),
        ({"labels": None}, "labels"),
    ],
)
def test_arrays_of_other_kinds_are_refused(
    store: Store, changed: dict[str, Any], words: str
) -> None:
    run = before_ids(make(store))
    arrays: dict[str, Any] = {
        "ids": np.array(["a", "b"]),
        "labels": np.array([0, 1], np.int8),
        "orbit": np.zeros((2, 1), np.float32),
    }
    arrays |= changed
    np.savez(
        run.predictions_file("test"),
        **{name: array for name, array in arrays.items() if array is not None},
    )
    with pytest.raises(RunError, match=words):
        run.load_predictions("test")


def test_a_model_that_was_exchanged_is_refused(store: Store) -> None:
    run = make(store)
    (run.path / "result.json").unlink()
    run.model_file.write_bytes(b"the best")
    run = open_run(run.path).complete(RESULT)
    run.check_model()
    run.model_file.write_bytes(b"another")
    with pytest.raises(
        RunError, match=rf"model\.keras is not the model that {run.name} ended with"
    ):
        open_run(run.path).check_model()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("meta.json", "[" * 100_000),
        ("meta.json", '{"schema_version": 1, "seed": ' + "9" * 5000 + "}"),
        ("result.json", "{" * 5),
        ("result.json", '{"a":' * 50_000),
        ("config.yaml", "\x00"),
    ],
)
def test_hostile_text_in_a_run_folder_is_refused(store: Store, file: str, text: str) -> None:
    run = make(store)
    (run.path / file).write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=file):
        open_run(run.path)


@pytest.mark.parametrize(
    ("file", "key", "text"),
    [
        ("result.json", "valid_auc", "1e999"),
        ("result.json", "valid_auc", "NaN"),
        ("result.json", "valid_accuracy", "1.5"),
        ("result.json", "threshold", "-Infinity"),
        ("result.json", "seconds", "-1"),
        ("result.json", "epochs", '"3"'),
        ("meta.json", "seed", "1.5"),
        ("meta.json", "started", "7"),
        ("meta.json", "started", '"\\u001b[2J"'),
        ("meta.json", "store_fingerprint", "null"),
        ("meta.json", "id", "[]"),
        ("meta.json", "leaks", "3"),
        ("meta.json", "test_seen", "1e999"),
        ("meta.json", "git", '"x"'),
        ("meta.json", "teachers", '[{"run": 3}]'),
    ],
)
def test_values_of_other_kinds_are_refused(store: Store, file: str, key: str, text: str) -> None:
    run = make(store)
    path = run.path / file
    values = json.loads(path.read_text(encoding="utf-8")) | {key: "HERE"}
    path.write_text(json.dumps(values).replace('"HERE"', text), encoding="utf-8")
    with pytest.raises(RunError, match=file):
        open_run(run.path)


def write_csv(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text, encoding="utf-8") and None


def write_bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def write_npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def write_encrypted(path: Path) -> None:
    np.savez(path, ids=np.array(["a"]), probabilities=np.zeros(1))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        central = archive.start_dir
    data[6] |= 1
    data[central + 8] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("v.csv", write_csv("id,p\n" + "x" * 200_000 + ",0.5\n")),
        ("v.csv", write_csv("id,p\na,0.5,3\n")),
        ("v.csv", write_bytes(b"\xff\xfeid,p")),
        ("v.csv", write_csv("id,p\na,\x00\n")),
        ("v.npz", write_bytes(b"<!DOCTYPE html>")),
        ("v.npz", write_encrypted),
        ("v.npz", write_npz(ids=np.array([b"\xff"]), probabilities=np.zeros(1))),
        ("v.npz", write_npz(ids=np.array(["a"]), probabilities=np.array([1j]))),
        ("v.npz", write_npz(ids=np.zeros(1, "M8[s]"), probabilities=np.zeros(1))),
        ("v.npz", write_npz(ids=np.array(["a"]), probabilities=np.zeros(1, [("x", "f4")]))),
        ("v.npz", write_npz(ids=np.array(["a"]), probabilities=np.zeros((2, 2)))),
        ("v.npz", write_npz(ids=np.array(["a", "\x1b[2J"]), probabilities=np.zeros(2))),
    ],
)
def test_imports_that_are_no_predictions_are_refused(
    store: Store, name: str, write: Callable[[Path], None]
) -> None:
    write(Path(name))
    with pytest.raises(DataError, match=r"v\.") as caught:
        import_predictions(name, None, "mine", Workspace(), competition="tiny")
    assert caught.value.message.isprintable()
    assert not Path("runs").exists()


def test_a_split_of_one_patch_and_columns_are_taken(store: Store) -> None:
    rows = store.rows("valid")
    values = np.linspace(0, 1, len(rows))[:, None]
    np.savez("v.npz", ids=store.ids[rows], probabilities=values)
    run = import_predictions("v.npz", None, "mine", Workspace(), competition="tiny")
    assert isinstance(run.experiment.model, External)
    kept = predictions_of(run, "valid", "none", Workspace())
    np.testing.assert_allclose(kept.probabilities, values, atol=1e-7)


def test_two_predictions_into_one_csv_at_once_both_end_well(store: Store) -> None:
    """Each CSV that is reported was written whole, and what stood there before is kept."""
    runs = [make(store), make(store)]
    rows = store.rows("valid")
    for seed, run in enumerate(runs):
        values = np.random.default_rng(seed).random((len(rows), 1), np.float32)
        valid = Predictions(store.ids[rows], store.labels[rows], values, VIEWS["none"])
        run.save_predictions("valid", valid)
        run.save_predictions("test", predictions(store, seed))
    out = Path("out.csv")
    expected = [one_csv(run, out) for run in runs]
    assert expected[0] != expected[1]
    for _ in range(10):
        out.write_text("something else\n", encoding="utf-8")
        with ThreadPoolExecutor(4) as threads:
            done = list(threads.map(one_csv, runs * 2, [out] * 4))
        assert done == expected * 2
        assert hashlib.sha256(out.read_bytes()).hexdigest() in expected
        others = {path.read_text(encoding="utf-8") for path in Path().glob("out.*.csv")}
        assert "something else\n" in others


def one_csv(run: Run, out: Path) -> str:
    """The hash of the CSV that `predict` says it wrote."""
    request = PredictRequest(out=out)
    result = predict([run], request, Workspace(submissions=Path("submissions")))
    return result.csv.sha256


def test_labels_that_are_not_known_cannot_be_evaluated(store: Store) -> None:
    with pytest.raises(UsageError, match="labels of the test split are not known") as caught:
        evaluate_runs([make(store)], "test", Workspace())
    assert "--split valid" in caught.value.hint
