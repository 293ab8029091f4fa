"""`pcam fetch` against the loopback Kaggle: single files, several at once, zips, datasets,
notebooks, room on the disk.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from command_line import Done, Project, tree
from loopback import Loopback

from pcam_kit.data.store import open_store

HCD, LAB = "histopathologic-cancer-detection", "tnm-112-lab-2-2024"
COPY = "andrewmvd/metastatic-tissue-classification-patchcamelyon"


@pytest.fixture
def pcam(started: Project, account: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Run `pcam` in an empty folder."""
    (tmp_path / "here").mkdir()
    warm = started.warm
    assert warm is not None
    return lambda *args, hook=None: warm.run(args, tmp_path / "here", account, hook)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder of `pcam`."""
    return tmp_path / "here" / "data"


@pytest.fixture
def tifs(tmp_path: Path) -> Path:
    """More files than are downloaded one by one: 60 tifs to train on, 10 to test."""
    folder, dice = tmp_path / "tifs", np.random.default_rng(3)
    for part, count in (("train", 60), ("test", 10)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(
                str(folder / part / f"{part}{i:02d}.tif"),
                dice.integers(0, 256, (96, 96, 3), np.uint8),
            )
    (folder / "train_labels.csv").write_text(
        "id,label\n" + "".join(f"train{i:02d},{i % 2}\n" for i in range(60)), encoding="utf-8"
    )
    (folder / "sample_submission.csv").write_text(
        "id,label\n" + "".join(f"test{i:02d},0\n" for i in range(10)), encoding="utf-8"
    )
    return folder


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Three files, downloaded one by one."""
    folder, dice = tmp_path / "lab", np.random.default_rng(4)
    folder.mkdir()
    for name in ("train", "valid", "test_x"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["x"] = dice.integers(0, 256, (40, 32, 32, 3), np.uint8)
            if name != "test_x":
                file["y"] = np.arange(40, dtype=np.uint8) % 2
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """PCam as a dataset on Kaggle names its files."""
    folder, dice = tmp_path / "copy", np.random.default_rng(5)
    for name in ("pcam", "Labels/Labels", "Metadata/Metadata"):
        (folder / name).mkdir(parents=True)
    for split, images in (("train", "training"), ("valid", "validation"), ("test", "test")):
        with h5py.File(folder / "pcam" / f"{images}_split.h5", "w") as file:
            file["x"] = dice.integers(0, 256, (12, 96, 96, 3), np.uint8)
        with h5py.File(
            folder / "Labels" / "Labels" / f"camelyonpatch_level_2_split_{split}_y.h5", "w"
        ) as file:
            file["y"] = (np.arange(12, dtype=np.uint8) % 2).reshape(12, 1, 1, 1)
        meta = "".join(f"{i},{split}_{i // 4}\n" for i in range(12))
        (
            folder / "Metadata" / "Metadata" / f"camelyonpatch_level_2_split_{split}_meta.csv"
        ).write_text(f"patch,wsi\n{meta}", encoding="utf-8")
    return folder


def test_single_files_then_everything(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, tifs: Path
) -> None:
    kaggle.serve(HCD, tifs)
    done = pcam("fetch", HCD, "--only", "*.csv", "--json").json
    assert [Path(file["path"]).name for file in done["files"]] == [
        "sample_submission.csv",
        "train_labels.csv",
    ]
    raw = data / HCD / "raw"
    assert (raw / "train_labels.csv").read_bytes() == (tifs / "train_labels.csv").read_bytes()
    assert not (data / HCD / "store").exists()
    pages = len(kaggle.seen("ListDataFiles"))
    assert (
        pcam("fetch", HCD, "--only", "train_labels.csv").ok().out
        == f"{Path('data') / HCD / 'raw' / 'train_labels.csv'}\n"
    )
    assert len(kaggle.seen("DownloadDataFile")) == 2, "what is there is not downloaded again"
    assert len(kaggle.seen("ListDataFiles")) == pages + 1
    # the tables that lie there do not hide the zip that comes then
    assert pcam("fetch", HCD, "--json").json["splits"]["test"]["n"] == 10
    assert sorted(path.name for path in raw.iterdir()) == [
        "histopathologic-cancer-detection.zip",
        "sample_submission.csv",
        "train_labels.csv",
    ]
    assert "nothing to do" in pcam("fetch", HCD).ok().err


def test_a_pattern_that_fits_nothing(
    pcam: Callable[..., Done], kaggle: Loopback, lab: Path
) -> None:
    kaggle.serve(LAB, lab)
    pcam("fetch", LAB, "--only", "*.csv").refused(
        2, "no file of tnm-112-lab-2-2024 matches *.csv", "test_x.h5, train.h5, valid.h5"
    )
    (lab / "odd[1].csv").write_text("odd", encoding="utf-8")
    assert pcam("fetch", LAB, "--only", "odd[1].csv", "--json").json["files"][0]["bytes"] == 3


def test_the_zip_is_unpacked_when_asked_for(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, tifs: Path
) -> None:
    kaggle.serve(HCD, tifs)
    pcam("fetch", HCD).ok()
    assert not (data / HCD / "unpacked").exists(), "the tifs do not lie on disk beside the zip"
    assert "unpacked" in pcam("fetch", HCD, "--keep-raw").ok().err
    assert tree(data / HCD / "unpacked") == tree(tifs)
    assert len(kaggle.seen("DownloadDataFiles")) == 1
    assert "already" in pcam("fetch", HCD, "--keep-raw").ok().err
    (data / HCD / "unpacked" / "mine.txt").write_text("mine", encoding="utf-8")
    (data / HCD / "unpacked" / "train_labels.csv").write_text("changed", encoding="utf-8")
    pcam("fetch", HCD, "--keep-raw").refused(8, "does not hold the files of", "move")
    assert (data / HCD / "unpacked" / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_several_files_come_at_once(
    pcam: Callable[..., Done], kaggle: Loopback, tmp_path: Path, lab: Path
) -> None:
    for i in range(9):
        (lab / f"notes{i}.txt").write_text(f"note {i}", encoding="utf-8")
    kaggle.serve(LAB, lab)
    lock = threading.Lock()
    waiting: dict[int, float] = {}  # since when, for each request that is not answered yet
    running: list[int] = []

    def after_a_while() -> bool:
        me, now = threading.get_ident(), time.monotonic()
        with lock:
            since = waiting.setdefault(me, now)
            running.append(len(waiting))
            if now - since < 0.3:
                return False
            del waiting[me]
            return True

    kaggle.fail("storage", times=12, until=after_a_while)
    pcam("fetch", LAB).ok()
    assert 2 <= max(running) <= 4, (
        "between two and four requests were being answered at the same time"
    )


def test_a_dataset_in_the_role_of_a_competition(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, copy: Path
) -> None:
    kaggle.serve(COPY, copy)
    kaggle.fail("storage", truncate=1000)
    splits = pcam(
        "fetch", "--dataset", f"https://www.kaggle.com/datasets/{COPY}", "--as", "pcam", "--json"
    ).json["splits"]
    assert splits == {name: {"n": 12, "positive": 6} for name in ("train", "valid", "test")}
    manifest = json.loads((data / "pcam" / "store" / "manifest.json").read_text(encoding="utf-8"))
    assert len(manifest["slides"]) == 9
    assert tree(data / "pcam" / "datasets" / COPY) == tree(copy)
    asked = len(kaggle.requests)
    assert "nothing to do" in pcam("fetch", "pcam").ok().err
    assert "nothing to do" in pcam("fetch", "pcam", "--dataset", COPY).ok().err
    images = data / "pcam" / "store" / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    assert pcam("fetch", "pcam", "--json").json["splits"] == splits
    assert len(kaggle.requests) == asked, "it is built again from what was downloaded"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("fetch",), "no competition is named"),
        (("fetch", "--dataset", COPY), "no competition is named"),
        (("fetch", f"https://www.kaggle.com/datasets/{COPY}"), f"pcam fetch --dataset {COPY} --as"),
        (("fetch", "pcam", "--dataset", "no-slash"), "no dataset's name: 'no-slash'"),
        (("fetch", "pcam", "--as", "lab", "--dataset", COPY), "two competitions are named"),
        (("fetch", "pcam", "--dataset", COPY, "--from", "."), "both say where the files come from"),
        (("fetch", "pcam", "--only", "*.csv", "--from", "."), "--only downloads"),
        (("fetch", "synthetic", "--only", "*.csv"), "is synthetic"),
    ],
)
def test_what_does_not_fit_together(
    pcam: Callable[..., Done], args: tuple[str, ...], words: str
) -> None:
    pcam(*args).refused(2, words, "-> ")


def test_in_a_kaggle_notebook_nothing_is_downloaded(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path, copy: Path
) -> None:
    mounts = data.parent / "input"
    (mounts / "datasets" / "andrewmvd").mkdir(parents=True)
    lab.rename(mounts / LAB)
    copy.rename(mounts / "datasets" / COPY)
    hook = {"set": {"pcam_kit.workflows.raw_source.KAGGLE_INPUT": str(mounts)}}
    assert f"using {mounts / LAB}" in pcam("fetch", LAB, hook=hook).ok().err
    assert (
        pcam("fetch", "--dataset", COPY, "--as", "pcam", "--json", hook=hook).json["splits"][
            "train"
        ]["n"]
        == 12
    )
    assert kaggle.requests == []
    assert not (data / LAB / "raw").exists()


def test_too_little_room_is_told_before_anything_is_downloaded(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path
) -> None:
    kaggle.serve(LAB, lab)
    whole = sum(path.stat().st_size for path in lab.iterdir())
    pcam("fetch", LAB, hook={"free": 2 * whole}).refused(
        8, "not enough space", "MB needed", "--data-dir"
    )
    assert kaggle.seen("DownloadDataFile") == []
    assert [
        path for path in (data / LAB).rglob("*") if path.is_file() and path.name != ".lock"
    ] == []
    assert (
        pcam("fetch", LAB, "--json", hook={"free": 4 * whole + (2 << 20)}).json["splits"]["train"][
            "n"
        ]
        == 40
    )


def test_too_little_room_for_the_zip_is_told_before_its_bytes_come(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, tifs: Path
) -> None:
    kaggle.serve(HCD, tifs)
    pcam("fetch", HCD, hook={"free": 3 << 20}).refused(8, "not enough space", "MB needed")
    assert [
        path for path in (data / HCD).rglob("*") if path.is_file() and path.name != ".lock"
    ] == []


@pytest.mark.parametrize("lost", [(), ("test_x.h5",)], ids=["all there", "one gone"])
def test_raw_files_that_were_damaged_since_are_downloaded_again(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path, lost: tuple[str, ...]
) -> None:
    kaggle.serve(LAB, lab)
    fetched = pcam("fetch", LAB, "--json").json
    raw = data / LAB / "raw"
    for name in ("train.h5", "valid.h5"):
        (raw / name).write_bytes((lab / name).read_bytes()[:-1] + b"!")
    for name in lost:
        (raw / name).unlink()
    (data / LAB / "store" / "images.npy").unlink()
    again = pcam("fetch", LAB, "--json")
    assert again.json == fetched
    assert again.err.count("not what was downloaded any more") == 2
    assert {path.name for path in raw.iterdir()} == {
        "train.h5",
        "valid.h5",
        "test_x.h5",
        "train.h5.damaged",
        "valid.h5.damaged",
    }
    assert tree(lab).items() <= tree(raw).items()


def test_a_damaged_zip_without_a_record_is_downloaded_again(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, tifs: Path
) -> None:
    """As a version before this one left it."""
    kaggle.serve(HCD, tifs)
    fetched = pcam("fetch", HCD, "--json").json
    archive = data / HCD / "raw" / f"{HCD}.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    (data / HCD / "raw.json").unlink()
    (data / HCD / "store" / "images.npy").unlink()
    assert pcam("fetch", HCD, "--json").json == fetched
    assert archive.read_bytes() == whole
    assert archive.with_name(f"{HCD}.zip.damaged").is_file()


def test_an_h5_file_of_unknown_origin_that_cannot_be_read_is_set_aside(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path
) -> None:
    kaggle.serve(LAB, lab)
    raw = data / LAB / "raw"
    raw.mkdir(parents=True)
    (raw / "train.h5").write_bytes(bytes((lab / "train.h5").stat().st_size))
    pcam("fetch", LAB).refused(
        3, "train.h5 is not HDF5", "run the same command again", "train.h5.damaged"
    )
    assert pcam("fetch", LAB, "--json").json["splits"]["train"]["n"] == 40


def test_a_list_that_lacked_a_file_is_read_again(
    pcam: Callable[..., Done], kaggle: Loopback, lab: Path
) -> None:
    served = kaggle.serve(LAB, lab)
    missing = (lab / "test_x.h5").read_bytes()
    (lab / "test_x.h5").unlink()
    pcam("fetch", LAB).refused(3, "has no test part")
    (lab / "test_x.h5").write_bytes(missing)
    assert served.names() == ["test_x.h5", "train.h5", "valid.h5"]
    assert pcam("fetch", LAB, "--json").json["splits"]["test"]["n"] == 40
    assert len(kaggle.seen("storage")) == 3, "the others are not downloaded again"


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{}",
        "oops",
        '{"read": 1}',
        '{"read": ".", "crcs": [], "unproven": []}',
        '{"files": {}}',
    ],
)
def test_a_record_of_another_form_is_none(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path, record: str
) -> None:
    kaggle.serve(LAB, lab)
    fetched = pcam("fetch", LAB, "--json").json
    (data / LAB / "raw.json").write_text(record, encoding="utf-8")
    (data / LAB / "store" / "images.npy").unlink()
    assert pcam("fetch", LAB, "--json").json == fetched
    assert len(kaggle.seen("storage")) == 3, "the files are there"


def test_an_exposed_key_is_told_with_its_fix(
    pcam: Callable[..., Done], kaggle: Loopback, lab: Path, tmp_path: Path
) -> None:
    kaggle.serve(LAB, lab)
    stored = tmp_path / "home" / ".kaggle" / "kaggle.json"
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text('{"username": "tester", "key": "0123456789abcdef"}', encoding="utf-8")
    stored.chmod(0o644)
    assert f"chmod 600 {stored}" in pcam("fetch", LAB).ok().err
    stored.chmod(0o600)
    assert "chmod" not in pcam("fetch", LAB, "--only", "train.h5").ok().err


def test_a_listing_with_a_zip_and_a_sample_beside_it(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path, tmp_path: Path
) -> None:
    """The table outside the zip was ignored once, and row numbers were taken in its place."""
    listed = tmp_path / "listed"
    listed.mkdir()
    with zipfile.ZipFile(listed / "images.zip", "w") as archive:
        for path in lab.iterdir():
            archive.write(path, f"patchcam/{path.name}")
    ids = [f"patch_{i:02d}" for i in range(40)]
    text = "id,class\n" + "".join(f"{name},0\n" for name in ids)
    (listed / "sample_submission.csv").write_text(text, encoding="utf-8")
    kaggle.serve(LAB, listed)
    done = pcam("fetch", LAB).ok()
    assert "are row numbers" not in done.err
    store = open_store(data / LAB / "store")
    assert store.ids[store.rows("test")].tolist() == ids
    assert "nothing to do" in pcam("fetch", LAB).ok().err


def test_a_sample_of_another_length_stops(
    pcam: Callable[..., Done], data: Path, kaggle: Loopback, lab: Path
) -> None:
    rows = "".join(f"{i},0\n" for i in range(39))
    (lab / "sample_submission.csv").write_text(f"id,class\n{rows}", encoding="utf-8")
    kaggle.serve(LAB, lab)
    pcam("fetch", LAB).refused(3, "40 images, but 39 ids")
    assert not (data / LAB / "store").exists()


def test_ids_that_are_row_numbers_are_said(
    pcam: Callable[..., Done], data: Path, lab: Path
) -> None:
    done = pcam("fetch", LAB, "--from", lab).ok()
    assert "are row numbers" in done.err
    assert len(open_store(data / LAB / "store").id_warnings) == 1


def test_images_left_out_on_purpose(pcam: Callable[..., Done], data: Path, tifs: Path) -> None:
    (tifs / "train/train07.tif").unlink()
    pcam("fetch", HCD, "--from", tifs).refused(3, "1 id is labelled", "--allow-missing")
    done = pcam("fetch", HCD, "--from", tifs, "--allow-missing").ok()
    assert (
        "left out: 1 id is labelled in train_labels.csv but missing in train: train07" in done.err
    )
    store = open_store(data / HCD / "store")
    assert len(store.images) == 69
    assert "train07" not in store.ids
    # what was asked for is kept for the next time, when the files are read again
    (tifs / "train/train08.tif").unlink()
    shutil.rmtree(data / HCD / "store")
    pcam("fetch", HCD).ok()
    assert len(open_store(data / HCD / "store").images) == 68


def test_stain_alone_takes_the_last_fetched(
    pcam: Callable[..., Done], data: Path, tifs: Path, lab: Path
) -> None:
    pcam("fetch", "--stain", "reinhard").refused(2, "no competition's data")
    pcam("fetch", LAB, "--from", lab).ok()
    pcam("fetch", HCD, "--from", tifs).ok()
    done = pcam("fetch", "--stain", "reinhard", "--json").json
    assert Path(done["store"]) == Path("data") / HCD / "store-reinhard"
    assert not (data / LAB / "store-reinhard").exists()


def test_a_source_that_may_only_be_read(pcam: Callable[..., Done], tifs: Path) -> None:
    before = tree(tifs)
    for path in [*tifs.rglob("*"), tifs]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        pcam("fetch", HCD, "--from", tifs).ok()
    finally:
        for path in [tifs, *tifs.rglob("*")]:
            path.chmod(0o755)
    assert tree(tifs) == before
