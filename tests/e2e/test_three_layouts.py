"""The whole road on real patches, in all three raw layouts: fetch, train, evaluate, predict,
submit, the score read back.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command_line import (
    EVALUATE_KEYS,
    PREDICT_KEYS,
    SUBMIT_KEYS,
    TRAIN_KEYS,
    Done,
    Layout,
    Project,
    Warm,
)
from loopback import Loopback
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Road:
    """One layout: what to make, where it belongs, how it is trained and scored."""

    layout: tuple[str, ...]
    slug: str
    metric: str
    splits: dict[str, int]
    slides: bool = False
    dataset: str | None = None  # what Kaggle has it as, where it is no competition there

    @property
    def from_kaggle(self) -> tuple[str, ...]:
        """The arguments of `pcam fetch`."""
        if self.dataset is not None:
            return "--dataset", self.dataset, "--as", self.slug
        return (f"https://www.kaggle.com/competitions/{self.slug}/data",)


# No CONFIG: the competition's default, made small, without teachers (test_teachers_typed.py has
# them).
SMALL = (
    *(
        "--set",
        "training.teachers=null",
        "--set",
        "training.epochs=1",
        "--set",
        "data.limit=256",
        "--set",
        "augment.transforms=[]",
    ),
    *(
        "--set",
        "model={name: lab_cnn, filters: [4, 8], units: 8}",
        "--set",
        "training.batch_size=32",
    ),
)
ROADS = {
    "lab": Road(
        ("tnm112", "--train", "600", "--valid", "300", "--test", "200"),
        "tnm-112-lab-2-2024",
        "accuracy",
        {"train": 600, "valid": 300, "test": 200},
    ),
    "pcam": Road(
        ("pcam", "--train", "240", "--valid", "90", "--test", "70"),
        "pcam",
        "roc_auc",
        {"train": 240, "valid": 90, "test": 70},
        slides=True,
        dataset="someone/copy-of-pcam",
    ),
    "kaggle": Road(
        ("kaggle", "--original"),
        "histopathologic-cancer-detection",
        "roc_auc",
        {"train": 850, "valid": 150, "test": 200},
    ),
}


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest) -> Road:
    """Each of the three."""
    return ROADS[request.param]


@pytest.fixture
def raw(road: Road, real_patches: Layout, tmp_path: Path) -> tuple[Path, Path]:
    """The raw files, and the CSV with the true answers."""
    made, solution = real_patches(*road.layout)
    if not road.slides:
        return made, solution
    folder = tmp_path / "raw"
    shutil.copytree(made, folder)
    for split, n in road.splits.items():
        slides = "".join(f"{i},{split}_{i * 5 // n:03d}\n" for i in range(n))
        (folder / f"camelyonpatch_level_2_split_{split}_meta.csv").write_text(
            f"patch,wsi\n{slides}", encoding="utf-8"
        )
    return folder, answers_of(
        folder / "camelyonpatch_level_2_split_test_y.h5.gz", tmp_path / "answers.csv"
    )


def answers_of(labels: Path, target: Path) -> Path:
    """PCam's test labels are public: as the CSV that a competition would score with."""
    import h5py

    with gzip.open(labels) as stream, h5py.File(stream, "r") as file:
        y = np.asarray(file["y"]).reshape(-1)
    target.write_text(
        "id,label\n" + "".join(f"{i},{value}\n" for i, value in enumerate(y)), encoding="utf-8"
    )
    return target


def column(path: Path) -> dict[str, float]:
    """A two-column CSV, in its order."""
    with open(path, newline="", encoding="utf-8") as handle:
        return {name: float(value) for name, value in list(csv.reader(handle))[1:]}


def score(truth: Path, given: Path, metric: str) -> float:
    """What the competition should say."""
    labels, values = column(truth), column(given)
    assert list(labels) == list(values), "ids in the order of the test images"
    y, p = np.array(list(labels.values())), np.array(list(values.values()))
    return float((y == p).mean()) if metric == "accuracy" else float(roc_auc_score(y, p))


def objects(done: Done, keys: set[str]) -> dict[str, object]:
    """The object on stdout, with exactly these keys."""
    value = done.json
    assert set(value) == keys
    return value


@pytest.mark.slow
def test_from_files_on_disk_to_a_score(
    road: Road,
    raw: tuple[Path, Path],
    empty: Project,
    warm: Warm,
    kaggle: Loopback,
    account: dict[str, str],
) -> None:
    folder, solution = raw
    work = empty.path
    # each command in a process of its own, for one of the three
    cold = road is ROADS["kaggle"]
    run = empty.pcam if cold else Project(empty.path, empty.env, warm).quick
    kaggle.serve(road.slug, folder, solution, road.metric)  # type: ignore[arg-type]

    fetched = objects(
        run("fetch", road.slug, "--from", folder, "--json"),
        {"store", "fingerprint", "splits"},
    )
    splits: dict[str, dict[str, int | None]] = fetched["splits"]  # type: ignore[assignment]
    assert {name: split["n"] for name, split in splits.items()} == road.splits
    assert all(set(split) == {"n", "positive"} for split in splits.values())
    assert 0.3 < (splits["train"]["positive"] or 0) / road.splits["train"] < 0.7
    assert (splits["test"]["positive"] is None) == (road.slug != "pcam")
    manifest = json.loads(
        (work / str(fetched["store"]) / "manifest.json").read_text(encoding="utf-8")
    )
    assert len(manifest["slides"]) == (15 if road.slides else 0)

    trained = objects(run("train", *SMALL, "--json"), TRAIN_KEYS)
    assert trained["epochs"] == trained["best_epoch"] == 1

    evaluated = objects(run("evaluate", "--json"), EVALUATE_KEYS)
    assert evaluated["run"] == trained["run"]
    assert (evaluated["split"], evaluated["n"]) == ("valid", road.splits["valid"])
    assert evaluated["auc"] == trained["valid_auc"]
    assert evaluated["accuracy"] == trained["valid_accuracy"]
    assert evaluated["threshold"] == trained["threshold"]

    predicted = objects(run("predict", "--json"), PREDICT_KEYS)
    assert predicted["rows"] == road.splits["test"]
    assert predicted["runs"] == [trained["run"]]
    csv_file = work / str(predicted["csv"])
    values = column(csv_file)
    assert np.mean([value >= 0.5 for value in values.values()]) == predicted["positive_rate"]
    assert (set(values.values()) <= {0.0, 1.0}) == (road.metric == "accuracy")

    submitted = objects(run("submit", "--json", **account), SUBMIT_KEYS)
    expected = score(solution, csv_file, road.metric)
    assert submitted["status"] == "complete"
    # Kaggle shows five decimals
    assert submitted["public_score"] == pytest.approx(expected, abs=6e-6)
    assert isinstance(submitted["ref"], int)
    assert len(kaggle.seen("CreateSubmission")) == 1
    assert kaggle.seen("upload")[0].body == csv_file.read_bytes()

    entry = run("submissions", "--json").json["submissions"][0]
    assert entry["public_score"] == submitted["public_score"]
    assert (entry["ref"], entry["status"], entry["competition"]) == (
        submitted["ref"],
        "complete",
        road.slug,
    )
    measured = evaluated["accuracy"] if road.metric == "accuracy" else evaluated["auc"]
    assert entry["valid_score"] == measured

    again = run("submit", "--json", **account).refused(6, "were submitted", str(submitted["ref"]))
    assert "--again" in again.err
    assert len(kaggle.seen("CreateSubmission")) == 1
    repeated = objects(run("submit", "--again", "--json", **account), SUBMIT_KEYS)
    assert repeated["csv_sha256"] == submitted["csv_sha256"]
    assert repeated["ref"] != submitted["ref"]


def test_downloaded_and_taken_from_disk_are_the_same_store(
    road: Road, raw: tuple[Path, Path], empty: Project, kaggle: Loopback, account: dict[str, str]
) -> None:
    folder, _ = raw
    kaggle.serve(road.dataset or road.slug, folder)
    loaded = empty.pcam("fetch", *road.from_kaggle, "--json", **account).json
    on_disk = empty.pcam("fetch", road.slug, "--from", folder, "--data-dir", "other", "--json").json
    assert loaded["fingerprint"] == on_disk["fingerprint"]
    assert loaded["splits"] == on_disk["splits"]
    files = kaggle.seen("storage")
    assert len(files) == (
        1
        if len(list(folder.rglob("*"))) > 50
        else sum(path.is_file() for path in folder.rglob("*"))
    )

    requests, before = len(kaggle.requests), (empty.path / loaded["store"] / "images.npy").stat()
    again = empty.pcam("fetch", road.slug, "--json", **account)
    assert again.json == loaded
    assert "nothing to do" in again.err
    assert len(kaggle.requests) == requests
    assert (empty.path / loaded["store"] / "images.npy").stat() == before

    same = empty.pcam("fetch", road.slug, "--from", folder, "--data-dir", "other", "--json")
    assert same.json == on_disk
    assert "nothing to do" in same.err


def test_zipped_and_unpacked_files_are_the_same_store(real_patches: Layout, empty: Project) -> None:
    folder, _ = real_patches(*ROADS["lab"].layout)
    with zipfile.ZipFile(empty.path / "lab.zip", "w") as archive:
        for path in sorted(folder.rglob("*.h5")):
            archive.write(path, path.relative_to(folder))
    zipped = empty.pcam("fetch", "tnm112", "--from", "lab.zip", "--json").json
    unpacked = empty.pcam("fetch", "tnm112", "--from", folder, "--data-dir", "other", "--json").json
    assert zipped["fingerprint"] == unpacked["fingerprint"]
    shutil.rmtree(empty.path / "data")
    for path in folder.rglob("*.h5"):  # at the top instead of in patchcam/
        shutil.copy(path, empty.path)
    (empty.path / "lab.zip").unlink()
    assert (
        empty.pcam("fetch", "tnm112", "--from", ".", "--json").json["fingerprint"]
        == unpacked["fingerprint"]
    )


def test_no_wait_then_refresh_fills_the_score_in(
    project: Project, kaggle: Loopback, account: dict[str, str]
) -> None:
    solution = project.path / "solution.csv"
    solution.write_text(
        "id,class\n" + "".join(f"{i},{i % 2}\n" for i in range(60)), encoding="utf-8"
    )
    kaggle.serve("tiny", project.path / "configs", solution, pending_polls=0)
    sent = project.pcam(
        "submit", "submissions/tiny0.csv", "--no-wait", "-m", "first try", "--json", **account
    ).json
    assert (sent["status"], sent["public_score"], sent["private_score"]) == ("pending", None, None)

    def entry() -> dict[str, object]:
        return next(
            e
            for e in project.pcam("submissions", "--json").json["submissions"]
            if e["ref"] == sent["ref"]
        )

    assert (entry()["status"], entry()["public_score"], entry()["message"]) == (
        "pending",
        None,
        "first try",
    )
    project.pcam("submissions", "--refresh", **account).ok()
    assert entry()["status"] == "complete"
    assert entry()["public_score"] == pytest.approx(
        score(solution, project.path / "submissions" / "tiny0.csv", "accuracy"), abs=6e-6
    )
    asked = len(kaggle.requests)
    project.pcam("submissions", "--refresh", **account).ok()
    assert len(kaggle.requests) == asked, "nothing is open any more"
