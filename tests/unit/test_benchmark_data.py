"""MLE-bench's split and medals are those of its own code, and what is missing is named before
anything is trained.
"""

from __future__ import annotations

import csv
import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from data_factories import labels, patches, tif_bytes, write_csv, write_h5
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split

import pcam_kit as pcam
from pcam_kit.competitions import find_competition
from pcam_kit.data import mle_bench
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import Store, build_store
from pcam_kit.errors import ConfigError, DataError, UsageError
from pcam_kit.evaluation.intervals import balanced_accuracy_interval, percentile_interval
from pcam_kit.evaluation.published import PCAM, medal_of
from pcam_kit.metrics import confusion
from pcam_kit.progress import SILENT
from pcam_kit.workflows.benchmark import BenchmarkRequest, benchmark
from pcam_kit.workflows.train import TrainRequest
from pcam_kit.workspace import Workspace

SIZE = 96


def write_kaggle(folder: Path, n: int = 40, n_test: int = 11) -> Path:
    """Kaggle's files; the ids are in another order than their names."""
    ids = [hashlib.sha1(bytes([i])).hexdigest() for i in range(n)]
    for split, names, seed in (
        ("train", ids, 1),
        ("test", [f"{i:040x}" for i in range(n_test)], 2),
    ):
        (folder / split).mkdir(parents=True)
        for name, image in zip(names, patches(len(names), seed, SIZE), strict=True):
            (folder / split / f"{name}.tif").write_bytes(tif_bytes(image))
    rows = list(zip(ids, labels(n).tolist(), strict=True))
    random.Random(0).shuffle(rows)
    write_csv(folder / "train_labels.csv", ("id", "label"), rows)
    return folder


def write_pcam96(folder: Path, splits: dict[str, int], *, without: tuple[str, ...] = ()) -> Path:
    """PCam's files, unpacked; `without`: e.g. `test_y`."""
    for seed, (split, n) in enumerate(splits.items()):
        for key, array in (("x", patches(n, seed, SIZE)), ("y", labels(n))):
            if f"{split}_{key}" not in without:
                name = f"camelyonpatch_level_2_split_{split}_{key}.h5"
                write_h5(folder / name, **{key: array})
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.below(tmp_path)


def build(slug: str, raw: Path, place: Workspace) -> Store:
    return build_store(open_raw(find_competition(slug), raw), place.store_path(slug, None))


@pytest.fixture
def kaggle(tmp_path: Path, place: Workspace) -> Store:
    return build(mle_bench.SOURCE, write_kaggle(tmp_path / "raw"), place)


def as_mle_bench(store: Store, place: Workspace) -> Store:
    return build_store(mle_bench.as_mle_bench(store), place.store_path("mle-bench", None))


def test_the_split_is_that_of_mle_benchs_own_steps(
    tmp_path: Path, kaggle: Store, place: Workspace
) -> None:
    ours = as_mle_bench(kaggle, place)
    # as its prepare.py goes about it, from the files
    with open(tmp_path / "raw" / "train_labels.csv", encoding="utf-8", newline="") as handle:
        old_train = list(csv.DictReader(handle))
    num_test = len(list((tmp_path / "raw" / "test").glob("*.tif")))
    _, new_test_ids = train_test_split(
        [row["id"] for row in old_train],
        test_size=num_test / (len(old_train) + num_test),
        random_state=0,
    )
    for code, in_test in ((0, False), (2, True)):
        rows = np.flatnonzero(ours.index.parts == code)
        theirs = [row for row in old_train if (row["id"] in new_test_ids) == in_test]
        assert ours.ids[rows].tolist() == [row["id"] for row in theirs]
        assert ours.labels[rows].tolist() == [int(row["label"]) for row in theirs]
    # a patch keeps its pixels, and no id is in two splits
    where = {name: row for row, name in enumerate(kaggle.ids)}
    for row, name in enumerate(ours.ids):
        np.testing.assert_array_equal(ours.images[row], kaggle.images[where[name]])
    assert len(set(ours.ids)) == len(ours.ids) == 40
    assert {name: count.n for name, count in ours.splits.items()} == {
        "train": 26,
        "valid": 5,
        "test": 9,
    }


def test_the_whole_data_gives_parts_of_the_published_sizes() -> None:
    train, test = mle_bench.split_as_mle_bench(220_025, 57_458)
    assert (len(train), len(test)) == (mle_bench.COUNTS["train"], mle_bench.COUNTS["test"])
    np.testing.assert_array_equal(np.union1d(train, test), np.arange(220_025))


def test_the_checksums_are_of_the_csvs_that_mle_bench_writes(
    kaggle: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas", reason="MLE-bench writes its CSVs with pandas")
    ours = as_mle_bench(kaggle, place)
    assert not mle_bench.is_published_split(ours)
    sums: dict[str, str] = {}
    for code, part in ((0, "train"), (2, "test")):
        rows = np.flatnonzero(ours.index.parts == code)
        frame = pandas.DataFrame({"id": ours.ids[rows], "label": ours.labels[rows]})
        sums[part] = hashlib.md5(frame.to_csv(index=False).encode()).hexdigest()
    monkeypatch.setattr(mle_bench, "CHECKSUMS", sums)
    assert mle_bench.is_published_split(ours)
    monkeypatch.setattr(mle_bench, "CHECKSUMS", sums | {"test": sums["train"]})
    assert not mle_bench.is_published_split(ours)


def test_a_store_of_other_patches_is_not_used_again(
    tmp_path: Path, kaggle: Store, place: Workspace
) -> None:
    ours = as_mle_bench(kaggle, place)
    assert mle_bench.is_made_from(ours, kaggle)
    other = build(mle_bench.SOURCE, write_kaggle(tmp_path / "other", n=41), place)
    assert not mle_bench.is_made_from(ours, other)


def test_stores_without_test_patches_are_refused(tmp_path: Path, place: Workspace) -> None:
    for label in "01":
        (tmp_path / "raw" / "train" / label).mkdir(parents=True)
        for i, image in enumerate(patches(4, int(label), SIZE)):
            name = f"{label}{i}.tif"
            (tmp_path / "raw" / "train" / label / name).write_bytes(tif_bytes(image))
    store = build(mle_bench.SOURCE, tmp_path / "raw", place)
    with pytest.raises(DataError, match="has no test patches"):
        mle_bench.as_mle_bench(store)


@pytest.mark.parametrize(
    ("auc", "medal"),
    [
        (0.9835, "gold"),
        (0.983495, "gold"),  # rounded to 5 decimals
        (0.98349, "silver"),
        (0.9798, "silver"),
        (0.9738, "bronze"),
        (0.97379, "above median"),
        (0.9477, "none"),
    ],
)
def test_medals(auc: float, medal: str) -> None:
    assert medal_of(auc) == medal


def test_published_scores_are_as_the_sources_have_them() -> None:
    assert [(PCAM[0].text(key)) for key in ("auc", "accuracy", "balanced_accuracy")] == [
        "0.963",
        "0.898",
        "-",
    ]
    probes = [other.balanced_accuracy for other in PCAM[1:]]
    assert probes == sorted(probes, key=lambda score: -(score or 0))
    assert (len(probes), probes[0], probes[-1]) == (15, 0.955, 0.886)


def test_the_interval_of_balanced_accuracy_resamples_slides() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    p = np.clip(0.3 * y + rng.random(300) * 0.7, 0, 1)
    slides = rng.integers(0, 12, 300).astype(np.int32)
    assert confusion(y, p, 0.5).balanced_accuracy == pytest.approx(
        balanced_accuracy_score(y, p >= 0.5)
    )
    draws = np.random.default_rng(0)
    scores: list[float] = []
    for _ in range(60):
        chosen = draws.integers(0, 12, 12)
        rows = np.concatenate([np.flatnonzero(slides == slide) for slide in chosen])
        scores.append(balanced_accuracy_score(y[rows], p[rows] >= 0.5))
    assert balanced_accuracy_interval(y, p, 0.5, slides, draws=60) == pytest.approx(
        percentile_interval(np.array(scores), 12)
    )


def test_the_interval_of_balanced_accuracy_by_patch_covers_what_it_says() -> None:
    rng = np.random.default_rng(1)
    sensitivity, specificity = 0.9, 0.7
    y = np.repeat([1, 0], [40, 160])
    truth, covered = (sensitivity + specificity) / 2, 0
    for _ in range(1000):
        right = rng.random(200) < np.where(y == 1, sensitivity, specificity)
        low, high = balanced_accuracy_interval(y, np.where(right, y, 1 - y), 0.5)
        covered += low <= truth <= high
    assert 0.93 <= covered / 1000 <= 0.97


def run(name: str, place: Workspace, *overrides: str) -> None:
    training = TrainRequest("lab", overrides)
    benchmark(BenchmarkRequest(name, training, 1), place, display=SILENT)  # type: ignore[arg-type]


def test_data_that_are_not_there_are_named_with_the_command_that_brings_them(
    place: Workspace,
) -> None:
    for name, command in (
        ("pcam", "pcam fetch pcam --download"),
        ("mle-bench", "pcam fetch histopathologic-cancer-detection"),
    ):
        with pytest.raises(DataError, match="store") as caught:
            run(name, place)
        assert caught.value.hint.startswith(command)
    assert not place.data.exists()


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (("test_y",), "labels of test"),
        (("valid_x", "valid_y"), "validation patches"),
        (("valid_x", "valid_y", "test_y"), "validation patches .* and labels of test"),
    ],
)
def test_pcam_needs_its_own_validation_patches_and_test_labels(
    tmp_path: Path, place: Workspace, without: tuple[str, ...], missing: str
) -> None:
    splits = {"train": 24, "valid": 8, "test": 6}
    build("pcam", write_pcam96(tmp_path / "raw", splits, without=without), place)
    with pytest.raises(DataError, match=missing) as caught:
        run("pcam", place)
    assert "pcam fetch pcam" in caught.value.hint
    assert not place.runs.exists()


def test_another_name_is_refused(place: Workspace) -> None:
    with pytest.raises(UsageError, match="no benchmark 'eva': expected pcam or mle-bench"):
        run("eva", place)


def test_settings_that_would_change_the_parts_are_refused(place: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"data\.fold"):
        run("pcam", place, "data.fold.index=1", "data.fold.of=2")
    with pytest.raises(ConfigError, match=r"data\.stain"):
        run("mle-bench", place, "data.stain=reinhard")


def test_test_patches_of_one_class_are_refused(tmp_path: Path, place: Workspace) -> None:
    write_pcam96(tmp_path / "raw", {"train": 24, "valid": 8, "test": 1})
    build("pcam", tmp_path / "raw", place)
    with pytest.raises(DataError, match="both classes, found 1 positive of 1"):
        run("pcam", place)


def test_leaks_compares_no_store_with_its_own_split(kaggle: Store, place: Workspace) -> None:
    as_mle_bench(kaggle, place)
    report = pcam.find_copies(workspace=place, display=SILENT)
    stores = [store.profile.slug for part in report.comparisons for store in part.stores]
    assert stores == [mle_bench.SOURCE]
