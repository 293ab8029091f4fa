"""Folders of tifs: broken pictures, and labels that do not fit them."""

from __future__ import annotations

import csv
import io
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from data_factories import (
    fails,
    labels,
    patches,
    profile,
    shared,
    tif_bytes,
    write_csv,
    write_tifs,
)

from pcam_kit.data.layouts import open_raw
from pcam_kit.data.sources.tiffs import plain_pixels
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


def by_tifffile(image: np.ndarray, **options: Any) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(target, image, **options)
    return target.getvalue()


def by_opencv(image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".tif", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def read_by_store(data: bytes, folder: Path) -> np.ndarray:
    write_tifs(folder / "raw", n_train=1)
    (folder / "raw/train/train000.tif").write_bytes(data)
    (part, _) = open_raw(profile("tif_folders"), folder / "raw").parts
    return np.concatenate(list(part.blocks()))[0]


UNCOMPRESSED = (cv2.IMWRITE_TIFF_COMPRESSION, 1)
STRIPS = (*UNCOMPRESSED, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 8)


@pytest.mark.parametrize(
    "write",
    [
        tif_bytes,
        lambda image: by_opencv(image, *UNCOMPRESSED),
        lambda image: by_opencv(image, *STRIPS),
        lambda image: by_tifffile(image, photometric="rgb", byteorder="<"),
        lambda image: by_tifffile(image, photometric="rgb", byteorder=">", rowsperstrip=5),
    ],
    ids=["baseline", "opencv", "strips", "tifffile", "big-endian"],
)
def test_the_pixels_of_a_plain_tif_are_taken_as_they_stand(
    write: Callable[[np.ndarray], bytes], tmp_path: Path
) -> None:
    image = patches(1, seed=3)[0]
    data = write(image)
    assert plain_pixels(data, 32) is not None
    assert np.array_equal(read_by_store(data, tmp_path), image)


def swapped_strips(image: np.ndarray) -> bytes:
    """The first two strips change places in the table: that of their offsets, as uint32."""
    data = by_opencv(image, *STRIPS)
    starts = struct.pack("<4I", *(8 + 768 * i for i in range(4)))
    assert data.count(starts) == 1
    return data.replace(starts, struct.pack("<4I", 8 + 768, 8, 8 + 2 * 768, 8 + 3 * 768))


def bits_among_pixels(image: np.ndarray) -> bytes:
    """The tag of the bits points into the pixels, where 8, 8, 8 happens to stand."""
    data = bytearray(tif_bytes(image))
    start = len(data) - image.nbytes
    data[start : start + 6] = struct.pack("<3H", 8, 8, 8)
    tag = bytes(data).index(struct.pack("<HHI", 258, 3, 3))
    data[tag + 8 : tag + 12] = struct.pack("<I", start)
    return bytes(data)


@pytest.mark.parametrize(
    "write",
    [
        lambda image: by_opencv(image, cv2.IMWRITE_TIFF_COMPRESSION, 5),
        lambda image: by_tifffile(
            np.moveaxis(image, 2, 0), photometric="rgb", planarconfig="separate"
        ),
        swapped_strips,
        bits_among_pixels,
    ],
    ids=["lzw", "planes", "swapped", "bits"],
)
def test_other_tifs_are_decoded(write: Callable[[np.ndarray], bytes], tmp_path: Path) -> None:
    data = write(patches(1, seed=3)[0])
    assert plain_pixels(data, 32) is None
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read_by_store(data, tmp_path), cv2.cvtColor(expected, cv2.COLOR_BGR2RGB))


def test_published_tifs_are_plain() -> None:
    with zipfile.ZipFile(shared("pcam/kaggle_sample.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".tif")][:50]
        for data in map(archive.read, names):
            start = plain_pixels(data, 96)
            assert start == len(data) - 3 * 96**2
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert data[start:] == expected.tobytes()


def test_something_else_called_tif(tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    (tmp_path / "raw/train/train000.tif").write_text(
        "<html>Sign in to Kaggle</html>" * 50, encoding="utf-8"
    )
    fails("tif_folders", tmp_path / "raw", "train/train000.tif", "found a web page")


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


def as_images(folder: Path, ending: str) -> Path:
    """The tifs of a folder as png or jpg."""
    for path in [*folder.rglob("*.tif")]:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        path.with_suffix(ending).write_bytes(cv2.imencode(ending, image)[1].tobytes())
        path.unlink()
    return folder


def test_png_is_the_same_and_jpg_is_said_to_be_lossy(tmp_path: Path) -> None:
    raw = open_raw(profile("tif_folders"), as_images(write_tifs(tmp_path / "png"), ".png"))
    np.testing.assert_array_equal(np.concatenate([*raw.parts[0].blocks()]), patches(24, 1))
    assert not any("lossy" in note for note in raw.notes)
    assert raw.inventory[0]["name"] == "train/*.png"
    raw = open_raw(profile("tif_folders"), as_images(write_tifs(tmp_path / "jpg"), ".JPG"))
    assert any("30 images are jpg, which is lossy" in note for note in raw.notes)
    images = np.concatenate([*raw.parts[0].blocks()]).astype(int)
    assert np.abs(images - patches(24, 1)).mean() < 20  # the same pictures, about


def in_class_folders(folder: Path, *, below: str = "train/", valid: str = "") -> Path:
    """The tifs of `write_tifs` in folders called after their class, without a table."""
    write_tifs(folder, sample=False)
    (folder / "train_labels.csv").unlink()
    for i, label in enumerate(labels(24)):
        part = valid if valid and i >= 16 else below
        target = folder / part / str(label)
        target.mkdir(parents=True, exist_ok=True)
        (folder / f"train/train{i:03d}.tif").rename(target / f"train{i:03d}.tif")
    return folder


@pytest.mark.parametrize("layout", ["tif_folders", "pcam_h5", "lab_h5"])
@pytest.mark.parametrize("below", ["train/", "Training/", "", "hcd/train/"])
def test_class_folders(layout: str, below: str, tmp_path: Path) -> None:
    folder = in_class_folders(tmp_path / "raw", below=below)
    raw = open_raw(profile(layout), folder)
    assert [part.split for part in raw.parts] == ["train", "test"]
    part = raw.parts[0]
    assert part.ids == [f"train{i:03d}" for i in range(24)]
    np.testing.assert_array_equal(part.labels, labels(24))
    np.testing.assert_array_equal(np.concatenate([*part.blocks()]), patches(24, 1))
    assert (raw.parts[1].labels == -1).all()
    assert any("names of the images' folders" in note for note in raw.notes)


@pytest.mark.parametrize("valid", ["valid/", "val/", "validation/"])
def test_class_folders_with_a_validation_part(valid: str, tmp_path: Path) -> None:
    raw = open_raw(profile("tif_folders"), in_class_folders(tmp_path / "raw", valid=valid))
    assert [(part.split, part.n) for part in raw.parts] == [
        ("train", 16),
        ("valid", 8),
        ("test", 6),
    ]
    np.testing.assert_array_equal(raw.parts[1].labels, labels(24)[16:])


def test_class_folders_with_equal_names_and_labelled_test(tmp_path: Path) -> None:
    for split, n, seed in (("train", 24, 1), ("test", 6, 3)):
        for i, (image, label) in enumerate(zip(patches(n, seed), labels(n), strict=True)):
            path = tmp_path / "raw" / split / str(label) / f"{i // 2}.tif"
            while path.exists():
                path = path.with_stem(f"{path.stem}0")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tif_bytes(image))
    raw = open_raw(profile("tif_folders"), tmp_path / "raw")
    train, test = raw.parts
    assert sorted(train.labels) == sorted(labels(24))
    assert sorted(test.labels) == sorted(labels(6))
    for part in raw.parts:
        for name, label in zip(part.ids, part.labels, strict=True):
            assert f"/{label}/" in name


def test_images_outside_class_folders_and_other_labels(tmp_path: Path) -> None:
    folder = in_class_folders(tmp_path / "raw", valid="valid/")
    (folder / "valid/lost.tif").write_bytes(b"x")
    fails("tif_folders", folder, "1 images of valid are in no class folder: valid/lost.tif")
    (folder / "valid/lost.tif").unlink()
    shutil.rmtree(folder / "test")
    opened = open_raw(profile("tif_folders"), folder)
    assert [part.split for part in opened.parts] == ["train", "valid"]
    assert any("no test images" in note for note in opened.notes)
    write_csv(folder / "sample_submission.csv", ("id", "label"), [("test000", 0)])
    fails("tif_folders", folder, "no test images")
    folder = in_class_folders(tmp_path / "labelled")
    rows = [(f"train{i:03d}", label) for i, label in enumerate(labels(24))]
    write_csv(folder / "train_labels.csv", ("id", "label"), rows)
    open_raw(profile("tif_folders"), folder)
    rows[3] = (rows[3][0], 1 - rows[3][1])
    write_csv(folder / "train_labels.csv", ("id", "label"), rows)
    fails("tif_folders", folder, "1 images are in the folder of the other class")


@pytest.mark.parametrize("change", ["{}.tif", "train/{}.tif", "{}.TIFF", "{}.png"])
def test_ids_with_an_ending(change: str, tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    relabel(raw, lambda rows: [(change.format(name), label) for name, label in rows])
    parts = open_raw(profile("tif_folders"), raw).parts
    assert parts[0].ids == [f"train{i:03d}" for i in range(24)]
    ids = [change.format(f"test{i:03d}") for i in reversed(range(6))]
    write_csv(raw / "sample_submission.csv", ("id", "label"), [(name, 0) for name in ids])
    opened = open_raw(profile("tif_folders"), raw)
    assert opened.parts[1].ids == ids, "a submission has the sample's own ids"
    images = np.concatenate([*opened.parts[1].blocks()])
    np.testing.assert_array_equal(images, patches(6, 3)[::-1])
    assert sum("an ending such as .tif" in note for note in opened.notes) == 2
    relabel(raw, lambda rows: [*rows, ("train003", 1)])
    fails("tif_folders", raw, "differ only in folder or ending: train003")


def test_rows_and_images_left_out_on_purpose(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    for name in ("train/train003", "train/train004", "test/test002"):
        (raw / f"{name}.tif").unlink()
    relabel(raw, lambda rows: rows[:-1])
    with pytest.raises(DataError) as caught:
        open_raw(profile("tif_folders"), raw)
    assert "--allow-missing" in caught.value.hint
    opened = open_raw(profile("tif_folders"), raw, allow_missing=True)
    rows = [i for i in range(23) if i not in (3, 4)]
    assert opened.parts[0].ids == [f"train{i:03d}" for i in rows]
    np.testing.assert_array_equal(opened.parts[0].labels, labels(24)[rows])
    images = np.concatenate([*opened.parts[0].blocks()])
    np.testing.assert_array_equal(images, patches(24, 1)[rows])
    assert opened.parts[1].ids == [f"test{i:03d}" for i in (5, 4, 3, 1, 0)]
    left_out = [note for note in opened.notes if note.startswith("left out")]
    assert "2 ids are labelled" in left_out[0]
    assert "1 id is in train but without a label" in left_out[1]
    assert "1 test ids" in opened.id_warnings[0]
    for path in (raw / "train").iterdir():
        path.unlink()
    (raw / "train/other.tif").write_bytes(b"x")
    with pytest.raises(DataError, match="23 ids are labelled"):  # nothing matches
        open_raw(profile("tif_folders"), raw, allow_missing=True)


@pytest.mark.parametrize("copy", ["{} (1)", "{} - Copy", "Copy of {}", "{} - Copy (2)"])
@pytest.mark.parametrize("sample", [False, True])
def test_copies_that_a_program_made_are_left_out(copy: str, sample: bool, tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw", sample=sample)
    for name in ("train/train001", "test/test002"):
        folder, _, base = name.rpartition("/")
        target = raw / folder / f"{copy.format(base)}.tif"
        target.write_bytes((raw / f"{name}.tif").read_bytes())
    opened = open_raw(profile("tif_folders"), raw)
    assert [part.n for part in opened.parts] == [24, 6]
    assert sum("1 images are copies" in note for note in opened.notes) == 2
    # of another length it is no copy
    (raw / "train" / f"{copy.format('train001')}.tif").write_bytes(b"II*\0")
    fails("tif_folders", raw, "1 id is in train but without a label")
