"""Small synthetic raw files of every layout, and the tif writer behind them (not OpenCV's: it would
share its mistakes).
"""

from __future__ import annotations

import csv
import gzip
import shutil
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pcam_kit.competitions import Competition
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.raw import RawCompetition
from pcam_kit.errors import DataError
from pcam_kit.progress import silent

SIZE = 32
SHARED = Path(__file__).resolve().parents[2].parent / "shared"
COUNTS = {"train": 24, "valid": 8, "test": 6}


def shared(name: str) -> Path:
    """A real file beside the checkout; skips the test where there is none."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs real patches at {path}")
    return path


def profile(layout: str, **changes: Any) -> Competition:
    values: dict[str, Any] = {
        "slug": "tiny",
        "title": "Tiny",
        "layout": layout,
        "image_size": SIZE,
        "target_column": "label",
        "target": "probability",
        "metric": "roc_auc",
        "counts": COUNTS,
        "default_config": "demo",
        "valid_fraction": 0.25,
    }
    return Competition(**(values | changes))


def patches(n: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Coarse colour patterns, no two alike: uint8 [n, size, size, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(size // 8, axis=1).repeat(size // 8, axis=2))


def labels(n: int) -> np.ndarray:
    return (np.arange(n) % 3 == 0).astype(np.uint8)


def tif_bytes(image: np.ndarray) -> bytes:
    """A baseline TIFF, uncompressed, one strip after the tags: [h, w] or [h, w, channels], uint8 or
    uint16.
    """
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    bits = image.dtype.itemsize * 8
    data = image.astype(image.dtype.newbyteorder("<")).tobytes()
    entries = 10 + (channels == 4)
    extra = 8 + 2 + 12 * entries + 4
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, extra if channels > 2 else bits),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if channels >= 3 else 1),
        (273, 4, 1, extra + 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
        *([(338, 3, 1, 2)] if channels == 4 else []),
    ]
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        b"II*\0"
        + struct.pack("<IH", 8, entries)
        + table
        + struct.pack("<I", 0)
        + struct.pack("<4H", *[bits] * 4)
        + data
    )


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])


def write_tifs(folder: Path, n_train: int = 24, n_test: int = 6, *, sample: bool = True) -> Path:
    for split, n, seed in (("train", n_train, 1), ("test", n_test, 3)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(patches(n, seed)):
            (folder / split / f"{split}{i:03d}.tif").write_bytes(tif_bytes(image))
    write_csv(
        folder / "train_labels.csv",
        ("id", "label"),
        [(f"train{i:03d}", label) for i, label in enumerate(labels(n_train))],
    )
    if sample:
        write_csv(
            folder / "sample_submission.csv",
            ("id", "label"),
            [(f"test{i:03d}", 0) for i in reversed(range(n_test))],
        )
    return folder


def write_h5(path: Path, **datasets: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as handle:
        for key, value in datasets.items():
            handle[key] = value
    return path


def write_lab(folder: Path, *, below: str = "patchcam", valid: bool = True) -> Path:
    write_h5(folder / below / "train.h5", x=patches(24, 1), y=labels(24))
    if valid:
        write_h5(folder / below / "valid.h5", x=patches(8, 2), y=labels(8).reshape(-1, 1, 1, 1))
    write_h5(folder / below / "test_x.h5", x=patches(6, 3))
    return folder


def write_pcam(
    folder: Path, *, packed: bool = True, valid: bool = True, slides: bool = False
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, n, seed in (("train", 24, 1), ("valid", 8, 2), ("test", 6, 3)):
        if split == "valid" and not valid:
            continue
        stem = f"camelyonpatch_level_2_split_{split}"
        for key, array in (("x", patches(n, seed)), ("y", labels(n).reshape(-1, 1, 1, 1))):
            path = write_h5(folder / f"{stem}_{key}.h5", **{key: array})
            if packed:
                gzip_file(path)
        if slides:
            write_csv(
                folder / f"{stem}_meta.csv",
                ("", "wsi"),
                [(i, f"{split}_slide_{i // 4}") for i in range(n)],
            )
    return folder


def gzip_file(path: Path) -> Path:
    target = Path(f"{path}.gz")
    target.write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()
    return target


def zip_folder(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    shutil.rmtree(folder)
    return target


LAYOUTS = {"tif_folders": write_tifs, "lab_h5": write_lab, "pcam_h5": write_pcam}


def read_all(raw: RawCompetition, work: Path) -> dict[str, np.ndarray]:
    work.mkdir(exist_ok=True)
    return {
        part.split: np.concatenate(list(part.blocks())) for part in raw.unpacked(work, silent).parts
    }


def fails(layout: str, folder: Path, *words: str) -> str:
    """The raw data must be refused as DataError, with all of `words` in the message."""
    with pytest.raises(DataError) as caught:
        read_all(open_raw(profile(layout), folder), folder.parent / "work")
    for word in words:
        assert word in caught.value.message
    return caught.value.message


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def flip(path: Path, offset: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
