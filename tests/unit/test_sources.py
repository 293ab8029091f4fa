"""Raw files of the three layouts, whole, in every form they come in, or with a part missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from data_factories import (
    COUNTS,
    LAYOUTS,
    fails,
    labels,
    patches,
    profile,
    read_all,
    write_lab,
    write_tifs,
    zip_folder,
)

from pcam_kit.data.layouts import open_raw
from pcam_kit.errors import DataError
from pcam_kit.progress import silent


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "form", ["folder", "nested", "zip", "folder with zip", "zip with a folder"]
)
def test_every_layout_in_every_form(layout: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    LAYOUTS[layout](path / "inner" if form in ("nested", "zip with a folder") else path)
    if form.startswith("zip"):
        path = zip_folder(path, tmp_path / "all.zip")
    if form == "folder with zip":
        (tmp_path / "download").mkdir()
        zip_folder(path, tmp_path / "download" / "tiny.zip")
        (path := tmp_path / "download").joinpath("complete.json").write_text("{}", encoding="utf-8")
    raw = open_raw(profile(layout), path)
    images = read_all(raw, tmp_path / "work")
    parts = {part.split: part for part in raw.unpacked(tmp_path / "work", silent).parts}
    seeds = {"train": 1, "valid": 2, "test": 3}
    for split, part in parts.items():
        expected = patches(COUNTS[split], seeds[split])
        if layout == "tif_folders" and split == "test":
            expected = expected[::-1]  # the sample submission's order
            assert part.ids == [f"test{i:03d}" for i in reversed(range(6))]
        np.testing.assert_array_equal(images[split], expected)
        known = split != "test" or layout == "pcam_h5"
        np.testing.assert_array_equal(part.labels, labels(part.n) if known else np.full(part.n, -1))
    assert set(parts) == (
        {"train", "test"} if layout == "tif_folders" else {"train", "valid", "test"}
    )
    if layout != "tif_folders":
        assert parts["test"].ids == [str(i) for i in range(6)]
    assert all(entry["bytes"] > 0 for entry in raw.inventory)


def test_counts_are_told_not_enforced(tmp_path: Path) -> None:
    raw = open_raw(
        profile("lab_h5", counts={"train": 100_000, "valid": 8, "test": 5}), write_lab(tmp_path)
    )
    assert raw.notes[:2] == ("a subset: 24 of 100,000 train", "more than published: 6 of 5 test")


def test_a_single_file_stands_for_its_folder(tmp_path: Path) -> None:
    raw = open_raw(profile("lab_h5"), write_lab(tmp_path, below=".") / "train.h5")
    assert [part.n for part in raw.parts] == [24, 8, 6]


@pytest.mark.parametrize(
    "text", ["\ufeffid,label\r\n{}\r\n", '"id","label"\n{}\n\n', "label,id\n{}\n"]
)
def test_label_tables_of_other_programs(text: str, tmp_path: Path) -> None:
    write_tifs(tmp_path, n_train=3)
    rows = ["train000,1", "train001,0.0", "train002, 1 "]
    if text.startswith("label"):
        rows = [",".join(reversed(row.split(","))) for row in rows]
    (tmp_path / "train_labels.csv").write_bytes(
        text.format(("\r\n" if "\r" in text else "\n").join(rows)).encode()
    )
    assert open_raw(profile("tif_folders"), tmp_path).parts[0].labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_parts_are_named_with_what_is_there(layout: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/notes.txt").write_text("x", encoding="utf-8")
    message = fails(layout, tmp_path / "raw", "looked for", "found notes.txt")
    with pytest.raises(DataError, match="there is nothing at"):
        open_raw(profile(layout), tmp_path / "nowhere")
    with pytest.raises(DataError, match="no raw data given"):
        open_raw(profile(layout), None)
    assert "Traceback" not in message


def test_missing_test_part(tmp_path: Path) -> None:
    (write_lab(tmp_path / "raw") / "patchcam/test_x.h5").unlink()
    fails(
        "lab_h5",
        tmp_path / "raw",
        "no test part",
        "test_x.h5",
        "patchcam/train.h5, patchcam/valid.h5",
    )


def test_missing_valid_part_is_fine(tmp_path: Path) -> None:
    assert [
        part.split for part in open_raw(profile("lab_h5"), write_lab(tmp_path, valid=False)).parts
    ] == ["train", "test"]


def test_two_of_a_file(tmp_path: Path) -> None:
    write_lab(tmp_path / "raw", below="a")
    write_lab(tmp_path / "raw", below="b")
    fails("lab_h5", tmp_path / "raw", "train.h5 more than once: a/train.h5, b/train.h5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"id,label\na\x1b[2Jb,0\n", ["line 2: id", r"a\\x1b[2Jb"]),
        (b'id,label\na,0\n"b\nc",1\n', ["line 4: id", r"b\\nc"]),
        (b"id,label\n" + b"a" * 20_000 + b",0\n", ["line 2: id", "(20,000)"]),
        (b"id,label\n" + b"a" * 140_000 + b",0\n", ["line 1", "field larger than field limit"]),
        (b"id,label\na,0\n,1\n", ["has 1 ids that are none: row 2: ''"]),
        ("id,label\na,0\n".encode("utf-16"), ["is not UTF-8 text: found UTF-16 text"]),
        (b"<html><title>Sign in</title>", ["is no CSV table: it is a web page: 'Sign in'"]),
        (b"\x89PNG\r\n\x1a\n", ["is not UTF-8 text: found a PNG picture"]),
    ],
)
def test_tables_that_hold_no_ids(text: bytes, words: list[str], tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    (tmp_path / "raw/train_labels.csv").write_bytes(text)
    assert "train_labels.csv" in fails("tif_folders", tmp_path / "raw", *words)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(300 << 20))
    write_tifs(tmp_path / "raw")
    (tmp_path / "raw/train_labels.csv").write_bytes(bomb)
    fails("tif_folders", tmp_path / "raw", "train_labels.csv cannot be read: it unpacks to more")
    write_lab(tmp_path / "lab")
    (tmp_path / "lab/patchcam/train.h5").write_bytes(bomb)
    fails("lab_h5", tmp_path / "lab", "train.h5 unpacks from", "to more than 67,108,864 bytes")
    assert (tmp_path / "work/0.h5").stat().st_size <= 64 << 20
