"""Folders of tifs: broken pictures, and labels that do not fit them."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_factories import fails, profile, shared, tif_bytes, write_csv, write_tifs

from pcam_kit.data.layouts import open_raw
from pcam_kit.errors import DataError


@pytest.mark.parametrize("left", [0, 1, 8, 100, 0.5, 0.9, -100, -50, -1])
def test_truncated_tif(left: float, tmp_path: Path) -> None:
    path = write_tifs(tmp_path / "raw") / "train" / "train007.tif"
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data)) if isinstance(left, float) else left])
    fails(
        "tif_folders",
        tmp_path / "raw",
        "train/train007.tif",
        "expected a whole 32x32 8-bit RGB image",
    )


@pytest.mark.parametrize("cut", [1, 50, 99, 5_000, 27_600])
def test_truncated_published_tif(
    cut: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(shared("pcam/kaggle_sample.zip")) as archive:
        name = next(name for name in archive.namelist() if name.startswith("train/"))
        data = archive.read(name)
    write_tifs(tmp_path / "raw", n_train=1)
    (tmp_path / "raw/train/train000.tif").write_bytes(data[:-cut])
    with pytest.raises(DataError, match=r"train000\.tif: expected a whole 96x96"):
        list(open_raw(profile("tif_folders", image_size=96), tmp_path / "raw").parts[0].blocks())
    assert "ERROR" not in capfd.readouterr().err  # OpenCV's own complaint does not reach the person


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((32, 31, 3), np.uint8), "found 31x32, 3 channels of uint8"),
        (np.zeros((96, 96, 3), np.uint8), "found 96x96"),
        (np.zeros((32, 32), np.uint8), "1 channels"),
        (np.zeros((32, 32, 4), np.uint8), "4 channels"),
        (np.zeros((32, 32, 3), np.uint16), "uint16"),
    ],
)
def test_tif_of_another_shape(image: np.ndarray, found: str, tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    (tmp_path / "raw/test/test002.tif").write_bytes(tif_bytes(image))
    fails("tif_folders", tmp_path / "raw", "test/test002.tif", found)


def test_something_else_called_tif(tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    (tmp_path / "raw/train/train000.tif").write_text(
        "<html>Sign in to Kaggle</html>" * 50, encoding="utf-8"
    )
    fails("tif_folders", tmp_path / "raw", "train/train000.tif", "do not decode")


def relabel(folder: Path, change) -> None:
    with open(folder / "train_labels.csv", newline="", encoding="utf-8") as handle:
        header, *rows = list(csv.reader(handle))
    write_csv(folder / "train_labels.csv", header, change(rows))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: [*rows, ("ghost1", 0), ("ghost2", 1)],
            ["2 ids are labelled", "missing in train", "ghost1, ghost2"],
        ),
        (lambda rows: rows[1:], ["1 id is in train but without a label: train000"]),
        (
            lambda rows: [*rows[5:], ("a", 0)],
            [
                "5 ids are in train but",
                "train000, train001, train002 and 2 more",
                "1 id is labelled",
            ],
        ),
        (lambda rows: [*rows, rows[3]], ["labels 1 ids more than once: train003"]),
        (
            lambda rows: [(rows[0][0], 2), (rows[1][0], ""), *rows[2:]],
            ["2 labels other than 0 and 1", "train000: '2'", "train001: ''"],
        ),
        (lambda rows: [(rows[0][0], 0, 0), *rows[1:]], ["line 2", "expected 2 cells, found 3"]),
    ],
)
def test_labels_and_images_must_fit(change, words: list[str], tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    relabel(tmp_path / "raw", change)
    with pytest.raises(DataError) as caught:  # before a pixel is read
        open_raw(profile("tif_folders"), tmp_path / "raw")
    assert all(word in caught.value.message for word in words), caught.value.message


def test_sample_submission_must_fit(tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    write_csv(
        tmp_path / "raw/sample_submission.csv", ("id", "label"), [("test000", 0), ("test000", 0)]
    )
    fails("tif_folders", tmp_path / "raw", "sample_submission.csv repeats 1 ids: test000")
    write_csv(
        tmp_path / "raw/sample_submission.csv",
        ("id", "label"),
        [(f"test{i:03d}", 0) for i in range(1, 7)],
    )
    fails(
        "tif_folders", tmp_path / "raw", "asked for by sample_submission.csv", "test006", "test000"
    )
    write_csv(tmp_path / "raw/sample_submission.csv", ("name", "label"), [])
    fails("tif_folders", tmp_path / "raw", "no column id", "found name,label")


def test_same_id_twice_below_train(tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    (tmp_path / "raw/train/more").mkdir()
    (tmp_path / "raw/train/more/train001.tif").write_bytes(b"x")
    fails("tif_folders", tmp_path / "raw", "1 ids have more than one image", "train001.tif")
