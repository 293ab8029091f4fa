"""HDF5 files: shapes, labels, gzip, slides."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from data_factories import (
    fails,
    gzip_file,
    labels,
    patches,
    profile,
    read_all,
    write_csv,
    write_h5,
    write_lab,
    write_pcam,
)

from pcam_kit.data.layouts import open_raw


@pytest.mark.parametrize(
    "y",
    [
        labels(24).astype(np.int64),
        labels(24).astype(np.float32),
        labels(24).astype(bool),
        labels(24).reshape(-1, 1, 1, 1),
    ],
)
def test_labels_of_any_kind(y: np.ndarray, tmp_path: Path) -> None:
    write_lab(tmp_path)
    write_h5(tmp_path / "patchcam/train.h5", x=patches(24), y=y)
    part = open_raw(profile("lab_h5"), tmp_path).parts[0]
    assert part.labels.dtype == np.int8
    np.testing.assert_array_equal(part.labels, labels(24))


GOOD = {"x": patches(24), "y": labels(24)}
BAD_H5 = [
    ({"images": GOOD["x"], "y": GOOD["y"]}, "expected a dataset 'x', found images, y"),
    ({"x": GOOD["x"]}, "expected a dataset 'y', found x"),
    ({"x/deeper": GOOD["x"], "y": GOOD["y"]}, "expected 'x' to be a dataset, found a group"),
    ({"x": GOOD["x"].astype(np.float32), "y": GOOD["y"]}, "x: expected uint8, found float32"),
    (
        {"x": GOOD["x"][:, :30], "y": GOOD["y"]},
        "expected shape [n, 32, 32, 3], found [24, 30, 32, 3]",
    ),
    ({"x": GOOD["x"][..., 0], "y": GOOD["y"]}, "found [24, 32, 32]"),
    ({"x": GOOD["x"][:0], "y": GOOD["y"][:0]}, "holds no images"),
    ({"x": GOOD["x"], "y": GOOD["y"][:20]}, "24 images in x, 20 labels in y"),
    ({"x": GOOD["x"], "y": np.zeros((24, 2))}, "found [24, 2]"),
    ({"x": GOOD["x"], "y": GOOD["y"] * 2}, "8 labels other than 0 and 1: 2"),
    ({"x": GOOD["x"], "y": np.full(24, np.nan)}, "24 labels other than 0 and 1"),
    ({"x": GOOD["x"], "y": np.array(["0"] * 24, dtype="S1")}, "expected whole numbers"),
]


@pytest.mark.parametrize(("content", "message"), BAD_H5)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_hdf5(
    content: dict[str, np.ndarray], message: str, packed: bool, tmp_path: Path
) -> None:
    write_lab(tmp_path / "raw")
    path = write_h5(tmp_path / "raw/patchcam/train.h5", **content)
    if packed:
        gzip_file(path)
    assert "patchcam/train.h5" in fails("lab_h5", tmp_path / "raw", message)


@pytest.mark.parametrize("keep", [0, 1, 0.3, 0.97])
def test_hdf5_cut_short(keep: float, tmp_path: Path) -> None:
    path = write_lab(tmp_path / "raw") / "patchcam/valid.h5"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep) if keep != 1 else 1])
    fails("lab_h5", tmp_path / "raw", "patchcam/valid.h5")


@pytest.mark.parametrize("cut", [1, 8, 1000, 0.5, 0.999])
def test_gzip_cut_short(cut: float, tmp_path: Path) -> None:
    path = write_pcam(tmp_path / "raw") / "camelyonpatch_level_2_split_train_x.h5.gz"
    data = path.read_bytes()
    path.write_bytes(data[: -cut if cut >= 1 else -int(len(data) * cut)])
    fails("pcam_h5", tmp_path / "raw", "split_train_x.h5.gz", "cannot be read: it is cut short")


def test_gzip_damaged_or_not_what_it_says(tmp_path: Path) -> None:
    path = write_pcam(tmp_path / "raw") / "camelyonpatch_level_2_split_test_x.h5.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    fails("pcam_h5", tmp_path / "raw", "split_test_x.h5.gz", "cannot be read")
    path.write_bytes(gzip.compress(b"<html>" * 100))
    fails("pcam_h5", tmp_path / "raw", "split_test_x.h5.gz is not HDF5", "a web page")
    path.write_bytes(b"")
    fails("pcam_h5", tmp_path / "raw", "split_test_x.h5.gz")


def test_gz_name_without_gzip_is_read_by_what_it_is(tmp_path: Path) -> None:
    write_pcam(tmp_path / "raw", packed=False)
    for path in list((tmp_path / "raw").glob("*_x.h5")):
        path.rename(f"{path}.gz")  # browsers unpack gzip on the way and keep the name
    assert (
        len(read_all(open_raw(profile("pcam_h5"), tmp_path / "raw"), tmp_path / "work")["train"])
        == 24
    )


def test_slides_from_the_meta_file(tmp_path: Path) -> None:
    raw = open_raw(profile("pcam_h5"), write_pcam(tmp_path / "raw", packed=False, slides=True))
    assert raw.parts[0].slides == [f"train_slide_{i // 4}" for i in range(24)]
    write_csv(tmp_path / "raw/camelyonpatch_level_2_split_train_meta.csv", ("wsi",), [("a",)] * 23)
    fails("pcam_h5", tmp_path / "raw", "24 images, but 23 slides")


def test_sample_submission_names_the_lab_rows(tmp_path: Path) -> None:
    write_lab(tmp_path / "raw")
    write_csv(
        tmp_path / "raw/sample_submission.csv",
        ("id", "label"),
        [(i, 0) for i in (3, 1, 2, 0, 5, 4)],
    )
    assert open_raw(profile("lab_h5"), tmp_path / "raw").parts[-1].ids == list("012345")
    write_csv(
        tmp_path / "raw/sample_submission.csv", ("id", "label"), [(f"t{i}", 0) for i in range(6)]
    )
    raw = open_raw(profile("lab_h5"), tmp_path / "raw")
    assert raw.parts[-1].ids == [f"t{i}" for i in range(6)]
    assert "not row numbers" in raw.notes[-1]
    write_csv(tmp_path / "raw/sample_submission.csv", ("id", "label"), [(i, 0) for i in range(5)])
    fails("lab_h5", tmp_path / "raw", "6 images, but 5 ids")
