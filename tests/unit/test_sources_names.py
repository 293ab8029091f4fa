"""Names as people have them, folders that cannot be read, loops, pipes, bytes that are no text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_factories import (
    LAYOUTS,
    fails,
    patches,
    profile,
    read_all,
    write_csv,
    write_lab,
    write_pcam,
    write_tifs,
    zip_folder,
)

from pcam_kit.data.layouts import open_raw
from pcam_kit.data.sources.folders import walk
from pcam_kit.data.sources.names import is_archive, plain_name, stem_of
from pcam_kit.errors import DataError

STEM = "camelyonpatch_level_2_split_"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a/b/Train.H5", "train.h5"),
        ("train (1).h5", "train.h5"),
        ("train(12).h5.gz", "train.h5.gz"),
        ("train.h5 (2).gz", "train.h5.gz"),
        ("train_x.h5.gz?download=1", "train_x.h5.gz"),
        ("train_x.h5.gz@download=1", "train_x.h5.gz"),
        ("train_x.h5.gz?a=b&c=d.zip", "train_x.h5.gz"),
        ("train_labels - Copy.csv", "train_labels.csv"),
        ("train_labels - Copy (3).csv", "train_labels.csv"),
        ("Copy of train_labels.csv", "train_labels.csv"),
        ("train_labels.csv.txt", "train_labels.csv"),
        ("copy.csv", "copy.csv"),
        ("a@b.h5", "a@b.h5"),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_names_of_archives() -> None:
    names = ["train-20240101T000000Z-001.zip", "Train (1).zip", "train-002.tar.gz", "train.tgz"]
    assert {stem_of(name) for name in names} == {"train"}
    assert all(is_archive(name) for name in [*names, "x.zip?download=1"])
    assert not any(is_archive(name) for name in ("train_x.h5.gz", "a.csv.gz", "zip", "a.tif"))


RENAMED: list[Callable[[str], str]] = [
    lambda name: name.replace(STEM, ""),
    lambda name: f"{name}?download=1",
    lambda name: name.replace(".h5", " (1).h5"),
    lambda name: name.upper(),
    lambda name: name.replace(STEM, "").replace("_x", "_X"),
    lambda name: f"{name[:-3]} (2){name[-3:]}",
]


@pytest.mark.parametrize("rename", RENAMED)
@pytest.mark.parametrize("packed", [False, True])
def test_pcam_files_with_other_names(
    rename: Callable[[str], str], packed: bool, tmp_path: Path
) -> None:
    raw = write_pcam(tmp_path / "raw", packed=packed, slides=True)
    for path in [*raw.iterdir()]:
        path.rename(raw / rename(path.name))
    opened = open_raw(profile("pcam_h5"), raw)
    images = read_all(opened, tmp_path / "work")
    np.testing.assert_array_equal(images["valid"], patches(8, 2))
    parts = opened.unpacked(tmp_path / "work", lambda *_: None).parts
    assert parts[0].slides == [f"train_slide_{i // 4}" for i in range(24)]


def test_upper_case_and_browser_names_in_the_other_layouts(tmp_path: Path) -> None:
    raw = write_lab(tmp_path / "lab", below="PATCHCAM")
    for path in [*(raw / "PATCHCAM").iterdir()]:
        path.rename(path.with_name(path.name.upper()))
    write_csv(raw / "Sample_Submission (1).csv", ("id", "label"), [(f"t{i}", 0) for i in range(6)])
    opened = open_raw(profile("lab_h5"), raw)
    assert opened.parts[-1].ids == [f"t{i}" for i in range(6)]
    renamed = next(note for note in opened.notes if note.startswith("taken under changed names"))
    assert "TRAIN.H5 for train.h5" in renamed
    raw = write_tifs(tmp_path / "tifs")
    (raw / "train_labels.csv").rename(raw / "Train_Labels.CSV")
    (raw / "train").rename(raw / "TRAIN")
    for path in [*(raw / "TRAIN").iterdir()]:
        path.rename(path.with_suffix(".TIF"))
    part = open_raw(profile("tif_folders"), raw).parts[0]
    np.testing.assert_array_equal(np.concatenate([*part.blocks()]), patches(24, 1))


def test_the_exact_name_comes_first(tmp_path: Path) -> None:
    raw = write_lab(tmp_path / "raw", below=".")
    (raw / "train (1).h5").write_bytes(b"another download, cut short")
    opened = open_raw(profile("lab_h5"), raw)
    assert opened.parts[0].n == 24
    (raw / "train (2).h5").write_bytes((raw / "train.h5").read_bytes())
    assert open_raw(profile("lab_h5"), raw).parts[0].n == 24
    (raw / "train.h5").rename(raw / "train (3).h5")
    fails("lab_h5", raw, "train.h5 more than once", "train (2).h5", "train (3).h5")


def test_a_near_miss_and_an_unfinished_download_are_named(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    (raw / "train_labels.csv").rename(raw / "train-label.csv")
    with pytest.raises(DataError) as caught:
        open_raw(profile("tif_folders"), raw)
    assert "is it train-label.csv? then rename it to train_labels.csv" in caught.value.hint
    raw = write_lab(tmp_path / "lab", below=".")
    (raw / "train.h5").rename(raw / "train.h5.crdownload")
    with pytest.raises(DataError) as caught:
        open_raw(profile("lab_h5"), raw)
    assert "train.h5.crdownload is a download that did not end" in caught.value.hint


def test_a_folder_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    raw = write_tifs(tmp_path / "raw")
    (raw / "lost+found").mkdir()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert open_raw(profile("tif_folders"), raw).parts[0].n == 24
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "lost+found cannot be read: permission denied; it is left out" in caplog.text
    (raw / "train_labels.csv").unlink()  # it may be in there
    with pytest.raises(DataError, match="no labels") as caught:
        open_raw(profile("tif_folders"), raw)
    assert "lost+found cannot be read" in caught.value.hint
    (raw / "lost+found").rename(raw.parent / "lost+found")
    fails("tif_folders", raw.parent / "lost+found", "cannot read the folder")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links and pipes")
def test_loops_of_links_and_pipes(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    (raw / "aaa").symlink_to(raw)
    (raw / "train/loop").symlink_to(raw)
    (raw / "gone").symlink_to(raw / "nothing")
    (raw / "itself").symlink_to(raw / "itself")
    os.mkfifo(raw / "train/pipe.tif")
    os.mkfifo(raw / "sample.zip")
    os.mkfifo(raw / "train_labels.h5")
    assert len([*walk(raw)]) == 32
    assert open_raw(profile("tif_folders"), raw).parts[0].n == 24
    for name in ("train_labels.csv", "sample_submission.csv"):
        (raw / name).unlink()
        os.mkfifo(raw / name)
    fails("tif_folders", raw, "no labels")
    os.mkfifo(tmp_path / "all.zip")
    fails("tif_folders", tmp_path / "all.zip", "a pipe or a device")


def test_linked_folders_are_read_under_one_name(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "elsewhere")
    (tmp_path / "raw").mkdir()
    for name in ("train", "test", "train_labels.csv", "sample_submission.csv"):
        (tmp_path / "raw" / name).symlink_to(raw / name)
    part = open_raw(profile("tif_folders"), tmp_path / "raw").parts[0]
    np.testing.assert_array_equal(np.concatenate([*part.blocks()]), patches(24, 1))


FETCH = """
import sys
from pathlib import Path
from pcam_kit.competitions import Competition
from pcam_kit.workflows.fetch import FetchRequest, fetch
from pcam_kit.workspace import Workspace
profile = Competition.model_validate_json(sys.argv[1])
source, data = Path(sys.argv[2]), Path(sys.argv[3])
for _ in range(2):  # and once more, where the record is read
    store = fetch(FetchRequest("tiny", source), Workspace(data), profile=profile)
print(*store.splits, len(store.images), ascii(str(store.ids[-1])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names in Unicode")
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["folder", "inner folder", "zip", "other files"])
def test_names_that_are_no_text(
    form: str, layout: str, locale: dict[str, str], tmp_path: Path
) -> None:
    bad = os.fsdecode(b"caf\xe9 \xff \xc3\xa9")
    raw = tmp_path / bad
    LAYOUTS[layout](raw / bad if form == "inner folder" else raw)
    if form == "other files":
        (raw / bad).write_text("x", encoding="utf-8")
        (raw / f"{bad}.csv").write_text("x", encoding="utf-8")
    if form == "zip":
        raw = zip_folder(raw, tmp_path / f"{bad}.zip")
    done = subprocess.run(
        [sys.executable, "-c", FETCH, profile(layout).model_dump_json(), raw, tmp_path / bad / "d"],
        capture_output=True,
        env=os.environ | locale,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.decode().split()[:2] == ["train", "valid"]
    record = json.loads((tmp_path / bad / "d/tiny/fetched.json").read_bytes())
    assert os.fsencode(record["source"]).endswith(os.fsencode(raw.name))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names in Unicode")
def test_ids_that_are_no_text(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw", sample=False)
    (raw / "test" / os.fsdecode(b"caf\xe9.tif")).write_bytes(
        (raw / "test/test001.tif").read_bytes()
    )
    message = fails(
        "tif_folders", raw, "1 ids or names of images in test are not printable UTF-8 text"
    )
    assert r"caf\udce9" in message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names in Unicode")
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_ids_in_other_letters(locale: dict[str, str], tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw", sample=False)
    (raw / "train/train000.tif").rename(raw / "train" / "e\u0301.tif")  # as a Mac writes é
    (raw / "test/test005.tif").rename(raw / "test" / "ü.tif")
    table = (raw / "train_labels.csv").read_text(encoding="utf-8")
    (raw / "train_labels.csv").write_text(table.replace("train000", "é"), encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FETCH,
            profile("tif_folders").model_dump_json(),
            raw,
            tmp_path / "d",
        ],
        capture_output=True,
        env=os.environ | locale,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.split()[-1] == rb"'\xfc'", "the test patch is called ü"
