"""Parquet copies of PCam: an `image` with bytes, and a `label`."""

from __future__ import annotations

import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_factories import COUNTS, fails, labels, patches, profile, read_all, write_csv

from pcam_kit.data.layouts import open_raw
from pcam_kit.errors import DataError

SEEDS = {"train": 1, "valid": 2, "test": 3}
NAMES = {"train": "train", "valid": "validation", "test": "test"}


def write(path: Path, images: np.ndarray, values: Any, *, plain: bool = False) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    pictures = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    if not plain:
        pictures = [{"bytes": data, "path": None} for data in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pictures, "label": values}), path, row_group_size=5)


def write_all(folder: Path, *, plain: bool = False) -> Path:
    for split, name in NAMES.items():
        images = patches(COUNTS[split], SEEDS[split])
        half = len(images) // 2
        for i, rows in enumerate((slice(0, half), slice(half, None))):
            path = folder / "data" / f"{name}-0000{i}-of-00002-abc.parquet"
            write(path, images[rows], labels(len(images))[rows].tolist(), plain=plain)
    return folder


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", ["pcam_h5", "tif_folders", "lab_h5"])
def test_parquet_copies(layout: str, packed: bool, plain: bool, tmp_path: Path) -> None:
    source = write_all(tmp_path / "raw", plain=plain)
    if packed:
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for path in sorted(source.rglob("*.parquet")):
                archive.write(path, path.name)
        source = tmp_path / "all.zip"
    raw = open_raw(profile(layout), source)
    images = read_all(raw, tmp_path / "work")
    for split, found in images.items():
        np.testing.assert_array_equal(found, patches(COUNTS[split], SEEDS[split]))
    parts = raw.unpacked(tmp_path / "work", lambda *_: None).parts
    for part in parts:
        np.testing.assert_array_equal(part.labels, labels(part.n))
    assert any("row numbers" in warning for warning in raw.id_warnings)


def test_parquet_with_a_sample(tmp_path: Path) -> None:
    source = write_all(tmp_path / "raw")
    write_csv(source / "sample_submission.csv", ("id", "label"), [(f"t{i}", 0) for i in range(6)])
    raw = open_raw(profile("pcam_h5"), source)
    assert raw.parts[-1].ids == [f"t{i}" for i in range(6)]
    write_csv(source / "sample_submission.csv", ("id", "label"), [(i, 0) for i in range(5)])
    fails("pcam_h5", source, "6 images of test, but 5 ids")


def test_parquet_that_is_damaged_or_foreign(tmp_path: Path) -> None:
    source = write_all(tmp_path / "raw")
    path = source / "data/train-00001-of-00002-abc.parquet"
    good = path.read_bytes()
    for data in (b"", b"PAR1", good[: len(good) // 2], good[:-8] + b"\xff" * 8):
        path.write_bytes(data)
        fails("pcam_h5", source, path.name, "cannot be read as parquet")
    for place in range(0, len(good), 97):  # a PcamError or the right result
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        with suppress(DataError):
            read_all(open_raw(profile("pcam_h5"), source), tmp_path / "work")
    write(path, patches(3), [0, 1, 2])
    fails("pcam_h5", source, path.name, "labels other than 0 and 1: 2")
    write(path, patches(3), [0, None, 1])
    fails("pcam_h5", source, path.name, "labels other than 0 and 1: -1")
    write(path, patches(3, size=64), [0, 1, 1])
    fails("pcam_h5", source, path.name, "row 0", "found 64x64")
    path.unlink()
    fails("pcam_h5", source, "1 of 2 parquet files of train are missing")


def test_without_pyarrow_the_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for name in ("train", "test"):
        (tmp_path / f"{name}-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="needs pyarrow") as caught:
        open_raw(profile("pcam_h5"), tmp_path)
    assert "pip install pyarrow" in caught.value.hint
