"""Zips: unsafe, damaged, and the published one."""

from __future__ import annotations

import random
import stat
import zipfile
from pathlib import Path

import pytest
from data_factories import LAYOUTS, fails, profile, read_all, shared, write_tifs, zip_folder

from pcam_kit.competitions import find_competition
from pcam_kit.data.layouts import open_raw
from pcam_kit.errors import DataError


def zipped(tmp_path: Path, *members: zipfile.ZipInfo | str) -> Path:
    """A zip of good tifs with `members` added."""
    path = zip_folder(write_tifs(tmp_path / "raw"), tmp_path / "bad.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for member in members:
            archive.writestr(member, b"evil")
    return path


def member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("../../evil.tif", "leaves its folder"),
        ("train/../../evil.tif", "leaves its folder"),
        ("/etc/evil", "an absolute path"),
        ("C:/evil.tif", "an absolute path"),
        ("train\\..\\evil.tif", "backslash"),
        ("train/12:30.tif", 'one of <>:"|?*'),
        ("train/why?.tif", 'one of <>:"|?*'),
        ("train./a.tif", "ends with a dot or space"),
        ("train/a.tif ", "ends with a dot or space"),
        ("train/NUL.tif", "the name of a device"),
        ("com¹ .tif/a.tif", "the name of a device"),
        (member("train/link.tif", stat.S_IFLNK | 0o777), "a link or device"),
        (member("train/pipe.tif", stat.S_IFIFO | 0o666), "a link or device"),
    ],
)
def test_unsafe_zip(bad: zipfile.ZipInfo | str, why: str, tmp_path: Path) -> None:
    path = zipped(tmp_path, bad)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match="not safe to read") as caught:
        open_raw(profile("tif_folders"), path)
    assert why in caught.value.message
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [(b"UTF-8 \xc3\xa9", b"UTF-8 \xff\xff", "decode"), (b"\x14\x00", b"\x63\x00", "version")],
)
def test_zip_that_nobody_can_read(old: bytes, new: bytes, why: str, tmp_path: Path) -> None:
    path = zipped(tmp_path, "UTF-8 \xe9")
    path.write_bytes(path.read_bytes().replace(old, new))
    fails("tif_folders", path, "cannot be read as a zip", why)


@pytest.mark.parametrize("name", ["", "train", "TRAIN/train001.tif", "train/train001.tif/a"])
def test_names_that_cannot_be_in_one_folder(name: str, tmp_path: Path) -> None:
    """A file beside, or in place of, a folder of others: it could not be unpacked."""
    path = zipped(tmp_path, zipfile.ZipInfo(name or "x"))
    if not name:
        data = path.read_bytes()
        end = data.rindex(b"PK\x05\x06")
        start = data.rindex(b"PK\x01\x02")
        entry = bytearray(data[start:end])
        assert entry[46:47] == b"x"
        entry[28:30] = b"\0\0"  # the length of the name
        tail = bytearray(data[end:])
        size = int.from_bytes(tail[12:16], "little") - 1
        tail[12:16] = size.to_bytes(4, "little")
        path.write_bytes(data[:start] + entry[:46] + entry[47:] + tail)
    fails("tif_folders", path, "not safe to read")


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (98, "PPMd"), (77, "method 77")])
def test_a_packing_that_python_lacks(method: int, name: str, tmp_path: Path) -> None:
    path = zip_folder(write_tifs(tmp_path / "raw"), tmp_path / "bad.zip")
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02")
    data[start + 10 : start + 12] = method.to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"is packed with {name}") as caught:
        open_raw(profile("tif_folders"), path)
    assert "7-Zip" in caught.value.hint


def test_what_it_is_instead(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    fails("tif_folders", path, "cannot be read as a zip: it is a web page: 'Sign in'")


def test_zips_with_any_byte_changed(tmp_path: Path) -> None:
    """The right pixels, or an error that names the file; never anything else."""
    path = zip_folder(write_tifs(tmp_path / "raw", 4, 2), tmp_path / "all.zip")
    whole = path.read_bytes()
    right = read_all(open_raw(profile("tif_folders"), path), tmp_path / "work")
    dice, refused = random.Random(3), 0
    for _ in range(150):
        data = bytearray(whole)
        start = dice.choice([0, len(data) - 900])  # headers more often than pixels
        for _ in range(dice.choice([1, 1, 3])):
            data[dice.randrange(start, len(data))] = dice.randrange(256)
        path.write_bytes(data)
        try:
            read = read_all(open_raw(profile("tif_folders"), path), tmp_path / "work")
        except DataError:
            refused += 1
        else:
            assert all((read[split] == right[split]).all() for split in right)
    assert refused > 50


def test_zip_with_a_name_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path, "train_labels.csv")
    fails("tif_folders", path, "1 names are there more than once: train_labels.csv")


def test_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("train.h5", "w") as stream,
    ):
        for _ in range(80):
            stream.write(bytes(1 << 20))
    fails("lab_h5", path, "would unpack from")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_zip_cut_short(keep: float, tmp_path: Path) -> None:
    path = zipped(tmp_path)
    path.write_bytes(
        path.read_bytes()[: int(path.stat().st_size * keep) if isinstance(keep, float) else keep]
    )
    fails("tif_folders", path, "cannot be read as a zip")


@pytest.mark.parametrize(
    ("layout", "name"), [("tif_folders", "train/train005.tif"), ("lab_h5", "patchcam/train.h5")]
)
def test_zip_with_a_flipped_bit_names_the_member(layout: str, name: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path / "raw")
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:  # stored, so that only the checksum can tell
        for file in sorted((tmp_path / "raw").rglob("*.*")):
            archive.write(file, file.relative_to(tmp_path / "raw").as_posix())
        offset = archive.getinfo(name).header_offset
    data = bytearray(path.read_bytes())
    data[offset + 3000] ^= 1
    path.write_bytes(data)
    fails(layout, path, name, "Bad CRC-32")


def test_the_published_sample_in_its_zip() -> None:
    raw = open_raw(
        find_competition("histopathologic-cancer-detection"), shared("pcam/kaggle_sample.zip")
    )
    assert [(part.split, part.n) for part in raw.parts] == [("train", 1000), ("test", 200)]
    assert raw.parts[0].labels.mean() == pytest.approx(0.403, abs=0.005)
    block = next(raw.parts[1].blocks())
    assert block.shape[1:] == (96, 96, 3)
    red, green, blue = block.mean(axis=(0, 1, 2))
    assert green < min(red, blue)  # both stains take green most
