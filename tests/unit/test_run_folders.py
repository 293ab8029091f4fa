"""Run folders: made, found, listed, read back, and refused when they cannot be trusted."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit import run_folders
from pcam_kit.competitions import find_competition
from pcam_kit.config.schema import Experiment, LabCnn, Tta
from pcam_kit.errors import RunError, StorageError
from pcam_kit.files import locked
from pcam_kit.views import UNNAMED, VIEWS

META: dict[str, Any] = {
    "started": "2024-01-02T03:04:05+00:00",
    "backend": "tensorflow",
    "seed": 0,
    "competition": find_competition("synthetic").model_dump(mode="json"),
    "store_fingerprint": "ab" * 32,
    "split_hash": "cd" * 32,
}
RESULT = run_folders.Result(3, 2, 100, 0.9, 0.8, 0.95, 0.85, 0.84, 0.47, 0.44, 0.5, "d4", 12.5)


def experiment(name: str) -> Experiment:
    return Experiment(name=name, model=LabCnn(name="lab_cnn"))


def make(folder: Path, name: str, *, slug: str = "synthetic") -> run_folders.Run:
    """A run that looks as if begun one second after the last."""
    run = run_folders.create_run(
        folder, experiment(name), META | {"competition": META["competition"] | {"slug": slug}}
    )
    later = run.path.with_name(f"20240102T{30405 + len(list(folder.iterdir())):06d}{run.name[15:]}")
    run.path.rename(later)
    return run_folders.open_run(later)


def as_before_ids(run: run_folders.Run) -> run_folders.Run:
    """The run as an earlier version would have made it."""
    values = json.loads((run.path / "meta.json").read_text(encoding="utf-8"))
    del values["id"]
    (run.path / "meta.json").write_text(json.dumps(values), encoding="utf-8")
    return run_folders.open_run(run.path)


def change_meta(run: run_folders.Run, **changes: object) -> None:
    values = json.loads((run.path / "meta.json").read_text(encoding="utf-8"))
    (run.path / "meta.json").write_text(json.dumps(values | changes), encoding="utf-8")


def test_the_config_is_read_from_meta_while_it_is_that_of_the_file(tmp_path: Path) -> None:
    run = run_folders.create_run(tmp_path / "runs", experiment("a"), META)
    kept = run.meta["config"]
    change_meta(run, config=kept | {"values": kept["values"] | {"seed": 7}})
    assert run_folders.open_run(run.path).experiment.seed == 7
    file = run.path / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    assert run_folders.open_run(run.path).experiment.seed == 0
    change_meta(run, config=None)
    assert run_folders.open_run(run.path).experiment == run.experiment


@pytest.mark.parametrize("values", [None, [], {"seed": "x"}, {"nothing": 1}])
def test_a_config_in_meta_that_is_none(values: object, tmp_path: Path) -> None:
    run = run_folders.create_run(tmp_path / "runs", experiment("a"), META)
    change_meta(run, config=run.meta["config"] | {"values": values})
    with pytest.raises(RunError, match=r"is damaged: config\.yaml"):
        run_folders.open_run(run.path)
    change_meta(run, config={"sha256": run.meta["config"]["sha256"]})
    with pytest.raises(RunError, match=r"is damaged: config\.yaml"):
        run_folders.open_run(run.path)


def test_a_new_run_reads_back(tmp_path: Path) -> None:
    run = run_folders.create_run(tmp_path / "runs", experiment("a-b.c"), META)
    assert re.fullmatch(r"\d{8}T\d{6}-a-b\.c-[0-9a-f]{4}", run.name)
    assert run.result is None
    assert run_folders.open_run(run.path) == run
    assert run.experiment == experiment("a-b.c")
    assert run.competition == find_competition("synthetic")
    assert {path.name for path in run.path.iterdir()} == {"config.yaml", "meta.json"}


def test_complete_is_written_last_and_drops_the_checkpoint(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    run.state_file.write_bytes(b"state")
    done = run.complete(RESULT)
    assert done.result == RESULT
    assert not run.state_file.exists()
    assert run_folders.open_run(run.path).result == RESULT


def test_update_meta_keeps_the_rest(tmp_path: Path) -> None:
    made = make(tmp_path, "a")
    run = run_folders.update_meta(made, ended="now")
    assert run.meta == made.meta | {"ended": "now"}
    assert run.meta.items() >= META.items()
    assert (
        json.loads((run.path / "meta.json").read_text(encoding="utf-8"))["schema_version"]
        == run_folders.SCHEMA_VERSION
    )


@pytest.mark.parametrize(
    ("columns", "views"),
    [(1, "none"), (8, "d4"), (5, "shifts"), (40, "d4-shifts"), (4, "turns"), (32, "d4-turns")],
)
def test_predictions_round_trip(tmp_path: Path, columns: int, views: Tta) -> None:
    run = make(tmp_path, "a")
    assert run.load_predictions("valid") is None
    orbit = np.random.default_rng(0).random((5, columns), np.float32)
    made = run_folders.Predictions(
        np.array(["é", "b", "c", "d", "e" * 50]),
        np.array([0, 1, -1, 0, 1], np.int8),
        orbit,
        VIEWS[views],
    )
    run.save_predictions("valid", made)
    kept = run.load_predictions("valid")
    assert kept is not None
    assert kept.views == VIEWS[views]
    for one, other in (
        (kept.ids, made.ids),
        (kept.labels, made.labels),
        (kept.probabilities, made.probabilities),
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert kept.covers("none")
    assert kept.covers("d4") == (columns in (8, 32, 40))
    np.testing.assert_array_equal(kept.probability("none"), orbit[:, 0])
    mean = kept.probability(views)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, orbit.mean(axis=1), rtol=1e-6)
    assert kept.covers("shifts") == (columns in (5, 40))
    if columns >= 32:
        np.testing.assert_allclose(kept.probability("d4"), orbit[:, :8].mean(axis=1), rtol=1e-6)
    if columns == 40:
        np.testing.assert_allclose(
            kept.probability("shifts"), orbit[:, ::8].mean(axis=1), rtol=1e-6
        )
    else:
        with pytest.raises(
            RunError,
            match=f"predictions of {columns} views of each patch hold none of --tta d4-shifts",
        ):
            kept.probability("d4-shifts")
    assert run.load_predictions("test") is None


@pytest.mark.parametrize(("columns", "tta"), UNNAMED.items())
def test_predictions_of_version_0_1_have_their_views_by_number(
    tmp_path: Path, columns: int, tta: Tta
) -> None:
    run = as_before_ids(make(tmp_path, "a"))
    path = run.path / "predictions" / "valid.npz"
    path.parent.mkdir()
    orbit = np.random.default_rng(0).random((2, columns), np.float32)
    np.savez(path, ids=np.array(["a", "b"]), labels=np.zeros(2, np.int8), orbit=orbit)
    kept = run.load_predictions("valid")
    assert kept is not None
    assert kept.views == VIEWS[tta]


def test_another_set_of_as_many_views_does_not_pass_for_ours(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    views = tuple(f"zoom{i}" for i in range(8))
    made = run_folders.Predictions(
        np.array(["a"]), np.zeros(1, np.int8), np.zeros((1, 8), np.float32), views
    )
    run.save_predictions("valid", made)
    kept = run.load_predictions("valid")
    assert kept is not None
    assert kept.views == views
    assert not kept.covers("d4")
    assert not kept.covers("none")


@pytest.mark.parametrize(
    ("orbit", "views", "words"),
    [
        (np.zeros((2, 3), np.float32), None, "3 views without names"),
        (np.zeros((2, 2), np.float32), ["identity"], "2 columns and 1 names of views"),
        (np.zeros(2, np.float32), None, r"\[patches, views\]"),
    ],
)
def test_predictions_that_do_not_say_their_views_are_refused(
    tmp_path: Path, orbit: np.ndarray, views: list[str] | None, words: str
) -> None:
    run = as_before_ids(make(tmp_path, "a"))
    path = run.path / "predictions" / "valid.npz"
    path.parent.mkdir()
    named = {} if views is None else {"views": np.array(views)}
    np.savez(path, ids=np.array(["a", "b"]), labels=np.zeros(2, np.int8), orbit=orbit, **named)
    with pytest.raises(RunError, match=words):
        run.load_predictions("valid")


def test_slides_are_kept_with_predictions_and_old_files_have_none(tmp_path: Path) -> None:
    run = as_before_ids(make(tmp_path, "a"))
    made = run_folders.Predictions(
        np.array(["a", "b"]),
        np.array([0, 1], np.int8),
        np.zeros((2, 1), np.float32),
        VIEWS["none"],
        np.array([4, -1], np.int32),
    )
    run.save_predictions("valid", made)
    kept = run.load_predictions("valid")
    assert kept is not None
    assert kept.groups is not None
    assert (kept.groups.dtype, kept.groups.tolist()) == (np.int32, [4, -1])
    # as it was
    np.savez(
        run.path / "predictions" / "test.npz",
        ids=made.ids,
        labels=made.labels,
        orbit=made.probabilities,
    )
    old = run.load_predictions("test")
    assert old is not None
    assert old.groups is None


def test_a_result_from_before_there_was_a_temperature(tmp_path: Path) -> None:
    run = make(tmp_path, "a").complete(replace(RESULT, temperature=1.5))
    assert run.result is not None
    assert run.result.temperature == 1.5
    values = json.loads((run.path / "result.json").read_text(encoding="utf-8"))
    del values["temperature"]
    (run.path / "result.json").write_text(json.dumps(values), encoding="utf-8")
    assert run_folders.open_run(run.path).result == RESULT


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut", b"\x93NUMPY", b"text"])
def test_damaged_predictions_are_refused(tmp_path: Path, data: bytes) -> None:
    run = make(tmp_path, "a")
    path = run.path / "predictions" / "valid.npz"
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(RunError, match=re.escape(str(path))) as caught:
        run.load_predictions("valid")
    assert f"delete {path}" in caught.value.hint


def test_find_by_path_name_and_unique_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (
        make(tmp_path / "runs", "lab").complete(RESULT),
        make(tmp_path / "runs", "lab").complete(RESULT),
    )
    monkeypatch.chdir(tmp_path)
    for name in (
        str(first.path),
        f"runs/{first.name}",
        f"runs/{first.name}/",
        first.name,
        first.name[:15],
        first.name[-6:],
        first.name[-5:-1],
        first.name[9:15],
    ):
        assert run_folders.find_run(Path("runs"), name).path.resolve() == first.path.resolve(), name
    assert run_folders.find_run(tmp_path / "runs", None).name == second.name


def test_find_refuses_what_is_not_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    run = make(folder, "lab").complete(RESULT)
    make(folder, "lab").complete(RESULT)
    with pytest.raises(RunError, match="2 runs called '2024'"):
        run_folders.find_run(folder, "2024")
    with pytest.raises(RunError, match="(?s)2 runs called '-lab-'.*" + re.escape(run.name)):
        run_folders.find_run(folder, "-lab-")
    for hostile in ("a\0b", "x" * 5000, "\x1b[31m", "\udcff"):
        with pytest.raises(RunError, match="no run called") as caught:
            run_folders.find_run(folder, hostile)
        assert caught.value.message.isprintable()
    with pytest.raises(RunError, match="no run called 'nothing'"):
        run_folders.find_run(folder, "nothing")
    with pytest.raises(RunError, match="no run called ''"):
        run_folders.find_run(folder, "")
    with pytest.raises(RunError, match=f"did you mean '{run.name}'"):
        run_folders.find_run(folder, f"x{run.name}")
    with pytest.raises(RunError, match=r"is not a run folder: it has no meta\.json"):
        run_folders.find_run(folder, str(tmp_path))
    with pytest.raises(RunError, match="no run called 'x'"):
        run_folders.find_run(tmp_path / "none", "x")


def test_find_by_completeness_and_competition(tmp_path: Path) -> None:
    done, other = (
        make(tmp_path, "a").complete(RESULT),
        make(tmp_path, "b", slug="other").complete(RESULT),
    )
    stopped = make(tmp_path, "c")
    assert run_folders.find_run(tmp_path, None).name == other.name
    assert run_folders.find_run(tmp_path, None, complete=False).name == stopped.name
    assert run_folders.find_run(tmp_path, None, complete=None).name == stopped.name
    assert run_folders.find_run(tmp_path, None, competition="synthetic").name == done.name
    with pytest.raises(RunError, match="is not complete") as caught:
        run_folders.find_run(tmp_path, stopped.name)
    assert caught.value.hint == f"pcam train --resume {stopped.name}"
    assert run_folders.find_run(tmp_path, stopped.name, complete=None).name == stopped.name
    with pytest.raises(RunError, match="no finished run"):
        run_folders.find_run(tmp_path, None, competition="third")


def test_listing_tells_what_it_leaves_out(tmp_path: Path) -> None:
    good, bad = make(tmp_path, "good"), make(tmp_path, "bad")
    (bad.path / "meta.json").write_text("{", encoding="utf-8")
    (tmp_path / "begun-but-killed").mkdir()
    (tmp_path / "begun-but-killed" / "config.yaml").write_text("", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    told: list[str] = []
    assert [run.name for run in run_folders.list_runs(tmp_path, told.append)] == [good.name]
    assert len(told) == 1
    assert bad.name in told[0]
    assert run_folders.list_runs(tmp_path / "none") == []


def test_runs_of_one_second_are_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    second, first = (
        run_folders.create_run(
            tmp_path, experiment(name), META | {"started": f"2024-01-02T03:04:05.{part}+00:00"}
        )
        for name, part in (("a", "250"), ("b", "125"))
    )
    assert [run.name for run in run_folders.list_runs(tmp_path)] == [first.name, second.name]
    assert run_folders.find_run(tmp_path, None, complete=None).name == second.name


@pytest.mark.parametrize("name", ["meta.json", "result.json"])
@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_schema_is_refused(tmp_path: Path, name: str, version: object) -> None:
    run = make(tmp_path, "a").complete(RESULT)
    values = json.loads((run.path / name).read_text(encoding="utf-8")) | {"schema_version": version}
    (run.path / name).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(
        RunError,
        match=f"{name} has schema version {version!r}, "
        f"this pcam reads version {run_folders.SCHEMA_VERSION}",
    ):
        run_folders.open_run(run.path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("meta.json", "[]", "schema version None"),
        ("meta.json", '{"schema_version": 1}', "has no started, backend"),
        (
            "meta.json",
            json.dumps(META | {"schema_version": 1, "competition": {}}),
            "unusable competition",
        ),
        ("result.json", "", "cannot read"),
        ("result.json", '{"schema_version": 1, "epochs": 3}', "expected keys"),
        (
            "result.json",
            json.dumps({"schema_version": 1} | vars(replace(RESULT, valid_auc="good"))),
            "valid_auc",
        ),  # type: ignore[arg-type]
        ("config.yaml", "model: {name: perceptron}", "perceptron"),
    ],
)
def test_damaged_runs_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    run = make(tmp_path, "a").complete(RESULT)
    (run.path / name).write_text(text, encoding="utf-8")
    with pytest.raises(RunError) as caught:
        run_folders.open_run(run.path)
    assert words in caught.value.message
    assert str(run.path) in caught.value.message


def test_a_run_without_config_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    (run.path / "config.yaml").unlink()
    with pytest.raises(RunError, match=re.escape("config.yaml")):
        run_folders.open_run(run.path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="plain"):
        run_folders.create_run(tmp_path / "plain", experiment("a"), META)


def test_a_run_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    live, stopped, done = (make(tmp_path, name) for name in ("live", "stopped", "done"))
    done = done.complete(RESULT)
    live = make(tmp_path, "newest")
    with locked(live.lock_file, "training"):
        states = {run.name: run_folders.state_of(run) for run in run_folders.list_runs(tmp_path)}
        assert states[live.name] == "running"
        assert states[stopped.name] == "stopped"
        assert states[done.name] == "complete"
        found = run_folders.find_run(tmp_path, None, complete=False)
        assert found.name == stopped.name, "a live one cannot be resumed"
    assert run_folders.state_of(live) == "stopped"
    assert run_folders.find_run(tmp_path, None, complete=False).name == live.name


def test_the_newest_is_the_newest_after_the_clock_was_set_back(tmp_path: Path) -> None:
    times = ["2030-01-01T00:00:00.000+00:00", "2024-01-01T00:00:00.000+00:00"]
    times += ["2024-01-01T00:00:01.000+00:00", "2031-01-01T00:00:00.000+00:00"]
    made: list[str] = []
    for i, started in enumerate(times):
        meta = META | {"started": started}
        if i > 0:  # the first is of an older version
            meta |= {run_folders.ORDER: run_folders.next_order(tmp_path, started)}
        made.append(run_folders.create_run(tmp_path, experiment("a"), meta).name)
    assert [run.name for run in run_folders.list_runs(tmp_path)] == made
    assert run_folders.list_runs(tmp_path)[-1].meta[run_folders.ORDER] == times[-1]


@pytest.mark.parametrize("order", ["zzz", 7, None, "9999-12-31T23:59:59.999+00:00", []])
def test_an_order_that_nobody_wrote_does_no_harm(tmp_path: Path, order: Any) -> None:
    run_folders.create_run(tmp_path, experiment("a"), META | {run_folders.ORDER: order})
    started = "2024-05-01T00:00:00.000+00:00"
    assert run_folders.next_order(tmp_path, started) == started
    assert len(run_folders.list_runs(tmp_path)) == 1


DAMAGES: dict[str, tuple[str, str]] = {
    "infinite score": (
        "result.json",
        json.dumps({"schema_version": 1, **asdict(RESULT)}).replace("0.9,", "1e999,"),
    ),
    "Infinity": (
        "result.json",
        json.dumps({"schema_version": 1, **asdict(RESULT)}).replace("0.9,", "Infinity,"),
    ),
    "no object": ("meta.json", "[]"),
    "nested": ("meta.json", "[" * 100_000),
    "text": ("meta.json", "\x00"),
    "an experiment that is none": ("config.yaml", "- 1"),
    "aliases": ("config.yaml", "a: &a [*a]"),
    "other types": ("meta.json", json.dumps({"schema_version": 1, **META, "competition": 7})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_damaged_run_does_not_hide_the_others(tmp_path: Path, damage: str) -> None:
    good, bad = make(tmp_path, "good").complete(RESULT), make(tmp_path, "bad").complete(RESULT)
    name, text = DAMAGES[damage]
    (bad.path / name).write_text(text, encoding="utf-8")
    told: list[str] = []
    assert [run.name for run in run_folders.list_runs(tmp_path, told.append)] == [good.name]
    assert len(told) == 1
    assert bad.name in told[0]
    with pytest.raises(RunError):
        run_folders.find_run(tmp_path, bad.name)


def test_runs_are_filtered_and_sorted(tmp_path: Path) -> None:
    best = make(tmp_path, "best").complete(replace(RESULT, valid_auc=0.99, valid_accuracy=0.1))
    plain = make(tmp_path, "plain", slug="other").complete(RESULT)
    stopped = make(tmp_path, "stopped")
    listed = run_folders.list_runs(tmp_path)

    def names(**how: Any) -> list[str]:
        return [run.experiment.name for run in run_folders.select_runs(listed, **how)]

    assert names() == ["best", "plain", "stopped"]
    assert names(sort="accuracy") == ["plain", "best", "stopped"]
    assert names(sort="newest") == ["stopped", "plain", "best"]
    assert names(state="stopped") == ["stopped"]
    assert names(state="complete", competition="other") == ["plain"]
    assert names(name="-best-") == ["best"]
    assert {best.name, plain.name, stopped.name} == {run.name for run in listed}
