"""Archives as people have them: several, in each other, tars, beside loose files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_factories import (
    LAYOUTS,
    contents,
    fails,
    labels,
    patches,
    profile,
    read_all,
    write_csv,
    write_h5,
    write_lab,
    write_pcam,
    write_tifs,
)

from pcam_kit.data.layouts import open_raw
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.store import build_store
from pcam_kit.errors import DataError
from pcam_kit.progress import silent

SAMPLE_IDS = [f"test{i:03d}" for i in reversed(range(6))]


def pack(target: Path, base: Path, *names: str, flat: bool = False) -> Path:
    """A zip of files and folders of `base`; flat: without their folders."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            path = base / name
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    archive.write(file, file.name if flat else file.relative_to(base).as_posix())
    return target


def tar(target: Path, base: Path, mode: str = "w") -> Path:
    with tarfile.open(target, mode) as archive:  # type: ignore[call-overload]
        archive.add(base, ".")
    return target


def whole(raw: RawCompetition, work: Path) -> RawCompetition:
    """The raw competition unpacked, its pixels and ids those of `write_tifs`."""
    work.mkdir(exist_ok=True)
    raw = raw.unpacked(work, silent)
    train, test = raw.parts
    assert (train.n, test.ids) == (24, SAMPLE_IDS)
    np.testing.assert_array_equal(np.concatenate([*train.blocks()]), patches(24, 1))
    np.testing.assert_array_equal(np.concatenate([*test.blocks()]), patches(6, 3)[::-1])
    np.testing.assert_array_equal(train.labels, labels(24))
    return raw


def zips_beside_tables(raw: Path, out: Path) -> Path:
    for part in ("train", "test"):
        pack(out / f"{part}.zip", raw, part)
    for table in ("train_labels.csv", "sample_submission.csv"):
        shutil.copy(raw / table, out)
    return out


def flat_zips(raw: Path, out: Path) -> Path:
    zips_beside_tables(raw, out)
    for part in ("train", "test"):
        pack(out / f"{part}.zip", raw, part, flat=True)
    return out


def each_zipped(raw: Path, out: Path) -> Path:
    flat_zips(raw, out)
    for path in [*out.glob("*.csv")]:
        pack(out / f"{path.name}.zip", out, path.name)
        path.unlink()
    return out


def zip_of_zips(raw: Path, out: Path) -> Path:
    inner = out / "inner"
    inner.mkdir()
    each_zipped(raw, inner)
    pack(out / "all.zip", inner, *(path.name for path in inner.iterdir()))
    shutil.rmtree(inner)
    return out / "all.zip"


def two_of_drive(raw: Path, out: Path) -> Path:
    names = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.*"))
    for number in (0, 1):  # train/ is spread over both
        pack(out / f"hcd-20240102T030405Z-00{number + 1}.zip", raw, *names[number::2])
    return out


def tables_outside(raw: Path, out: Path) -> Path:
    pack(out / "X.zip", raw, "train", "test")
    for table in ("train_labels.csv", "sample_submission.csv"):
        shutil.copy(raw / table, out)
    return out


def plain_tar(raw: Path, out: Path) -> Path:
    return tar(out / "all.tar", raw)


def tar_gz(raw: Path, out: Path) -> Path:
    tar(out / "all.tar.gz", raw, "w:gz")
    return out


def tar_bz2(raw: Path, out: Path) -> Path:
    return tar(out / "all.tbz2", raw, "w:bz2")


def tar_xz(raw: Path, out: Path) -> Path:
    return tar(out / "all.tar.xz", raw, "w:xz")


def tar_of_zips(raw: Path, out: Path) -> Path:
    inner = out / "inner"
    inner.mkdir()
    each_zipped(raw, inner)
    tar(out / "all.tar.gz", inner, "w:gz")
    shutil.rmtree(inner)
    return out / "all.tar.gz"


def name_of_a_browser(raw: Path, out: Path) -> Path:
    tables_outside(raw, out)
    (out / "X.zip").rename(out / "X (1).ZIP")
    return out


FORMS: list[Callable[[Path, Path], Path]] = [
    zips_beside_tables,
    flat_zips,
    each_zipped,
    zip_of_zips,
    two_of_drive,
    tables_outside,
    plain_tar,
    tar_gz,
    tar_bz2,
    tar_xz,
    tar_of_zips,
    name_of_a_browser,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_tifs_in_archives(form: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = form(write_tifs(tmp_path / "raw"), tmp_path / "out")
    before = contents(tmp_path / "out")
    raw = whole(open_raw(profile("tif_folders"), source), tmp_path / "work")
    assert {entry["files"] for entry in raw.inventory} == {24, 6, 1}
    assert not raw.id_warnings
    raw.close()
    assert contents(tmp_path / "out") == before, "nothing is written beside the source"


@pytest.mark.parametrize("layout", ["lab_h5", "pcam_h5"])
@pytest.mark.parametrize("form", ["zips", "tar.gz", "zip of zips", "tar"])
def test_hdf5_in_archives(layout: str, form: str, tmp_path: Path) -> None:
    source = LAYOUTS[layout](tmp_path / "raw")
    out = tmp_path / "out"
    out.mkdir()
    for path in source.rglob("*.h5*"):
        pack(out / f"{path.name}.zip", path.parent, path.name)
    if form == "zip of zips":
        out = pack(tmp_path / "all.zip", out, *(path.name for path in out.iterdir()))
    if form.startswith("tar"):
        out = tar(tmp_path / f"all.{form}", source, "w:gz" if form == "tar.gz" else "w")
    images = read_all(open_raw(profile(layout), out), tmp_path / "work")
    np.testing.assert_array_equal(images["train"], patches(24, 1))
    np.testing.assert_array_equal(images["test"], patches(6, 3))


def test_a_store_from_a_zip_of_zips_leaves_nothing_unpacked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = zip_of_zips(write_tifs(tmp_path / "raw"), tmp_path / "out")
    store = build_store(open_raw(profile("tif_folders"), source), tmp_path / "data/store")
    np.testing.assert_array_equal(store.images[:24], patches(24, 1))
    assert sorted(contents(tmp_path / "data/store")) == ["images.npy", "index.npz", "manifest.json"]


def test_the_sample_outside_the_zip_counts(tmp_path: Path) -> None:
    """Its ids were ignored once, and row numbers taken in their place."""
    out = tmp_path / "out"
    out.mkdir()
    pack(out / "X.zip", write_lab(tmp_path / "raw"), "patchcam")
    write_csv(out / "sample_submission.csv", ("id", "label"), [(f"t{i}", 0) for i in range(6)])
    raw = open_raw(profile("lab_h5"), out)
    (tmp_path / "work").mkdir()
    unpacked = raw.unpacked(tmp_path / "work", silent)
    assert unpacked.parts[-1].ids == [f"t{i}" for i in range(6)]
    assert not unpacked.id_warnings
    write_csv(out / "sample_submission.csv", ("id", "label"), [(f"t{i}", 0) for i in range(7)])
    fails("lab_h5", out, "6 images, but 7 ids")
    write_csv(out / "sample_submission.csv", ("Id", "Expected"), [(i, 0) for i in range(6)])
    fails("lab_h5", out, "sample_submission.csv has no column id")
    write_csv(out / "sample_submission.csv", ("id", "class"), [(i, 0) for i in range(6)])
    fails("lab_h5", out, "sample_submission.csv has no column label")
    write_csv(out / "sample_submission.csv", ("id", "label"), [(i, 0) for i in (3, 1, 2, 4, 5, 6)])
    fails("lab_h5", out, "neither 0 to 5 nor in order")


@pytest.mark.parametrize("layout", ["lab_h5", "pcam_h5"])
def test_made_up_ids_are_said_and_kept(layout: str, tmp_path: Path) -> None:
    raw = open_raw(profile(layout), LAYOUTS[layout](tmp_path / "raw"))
    store = build_store(raw, tmp_path / "data/store")
    assert any("row numbers" in note for note in store.notes)
    assert [warning for warning in store.id_warnings if "row numbers" in warning]
    write_csv(tmp_path / "raw/sample_submission.csv", ("id", "label"), [(i, 0) for i in range(6)])
    again = build_store(
        open_raw(profile(layout), tmp_path / "raw"), tmp_path / "data/store"
    )  # equal data, but now the ids are the competition's
    assert not again.id_warnings
    assert again.fingerprint == store.fingerprint


def test_names_of_tifs_are_no_made_up_ids(tmp_path: Path) -> None:
    raw = open_raw(profile("tif_folders"), write_tifs(tmp_path / "raw", sample=False))
    assert not raw.id_warnings


def test_two_different_tables_at_one_place(tmp_path: Path) -> None:
    out = tmp_path / "raw"
    write_tifs(out)
    pack(out / "X.zip", out, "train_labels.csv", "sample_submission.csv")
    open_raw(profile("tif_folders"), out)
    rows = [(f"train{i:03d}", 1) for i in range(24)]
    write_csv(out / "train_labels.csv", ("id", "label"), rows)
    message = fails("tif_folders", out, "two different train_labels.csv", "X.zip")
    assert str(out / "X.zip") in message


def test_tifs_cut_by_an_unfinished_unpacking_come_from_the_zip(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    pack(raw / "train.zip", raw, "train")
    (raw / "train/train005.tif").write_bytes(b"II*\0")
    (raw / "train/train006.tif").unlink()
    opened = whole(open_raw(profile("tif_folders"), raw), tmp_path / "work")
    assert any("1 images are longer in train.zip" in note for note in opened.notes)


@pytest.mark.parametrize("installed", [True, False])
def test_gzip_is_read_with_isal_and_without(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal.igzip", None)  # an import of it fails
    raw = write_pcam(tmp_path / "raw", packed=True)
    opened = open_raw(profile("pcam_h5"), raw)
    np.testing.assert_array_equal(read_all(opened, tmp_path / "work")["train"], patches(24, 1))
    path = raw / "camelyonpatch_level_2_split_train_x.h5.gz"
    data = path.read_bytes()
    middle = len(data) // 2
    damaged = {
        "cut": data[:middle],
        "sum": data[:-8] + bytes(4) + data[-4:],
        "bytes": data[:middle] + bytes(64) + data[middle + 64 :],
    }
    for name, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train_x\.h5\.gz"):
            read_all(open_raw(profile("pcam_h5"), raw), tmp_path / name)


@pytest.mark.parametrize("where", ["gz", "zip", "zip at the same place"])
@pytest.mark.parametrize("keep", [0, 100, 0.6])
def test_a_whole_file_is_taken_in_place_of_a_cut_one(
    where: str, keep: float, tmp_path: Path
) -> None:
    raw = write_pcam(tmp_path / "raw", packed=False)
    path = raw / "camelyonpatch_level_2_split_train_x.h5"
    data = path.read_bytes()
    if where == "gz":
        Path(f"{path}.gz").write_bytes(gzip.compress(data))
    elif where == "zip":
        pack(raw / f"{path.name}.zip", raw, path.name)
    else:
        with zipfile.ZipFile(raw / "a.zip", "w") as archive:
            archive.write(path, path.name)
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    opened = open_raw(profile("pcam_h5"), raw)
    np.testing.assert_array_equal(read_all(opened, tmp_path / "work")["train"], patches(24, 1))
    assert any("train_x.h5 is cut short" in note for note in opened.notes)
    # a whole one is not unpacked again
    path.write_bytes(data)
    assert not any("cut" in note for note in open_raw(profile("pcam_h5"), raw).notes)


def test_an_archive_that_cannot_be_read(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    (raw / "models.zip").write_bytes(b"PK\x03\x04 cut")
    opened = open_raw(profile("tif_folders"), raw)  # nothing in it is needed
    assert any("models.zip" in note and "nothing in it" in note for note in opened.notes)
    # without a sample the ids might be in it
    (raw / "sample_submission.csv").unlink()
    fails("tif_folders", raw, "models.zip cannot be read as a zip")
    (raw / "models.zip").unlink()
    (raw / "train_labels.csv").unlink()
    (raw / "train_labels.zip").write_bytes(b"")
    fails("tif_folders", raw, "train_labels.zip")


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("../evil.tif", tarfile.REGTYPE, "leaves its folder"),
        ("/etc/evil.tif", tarfile.REGTYPE, "an absolute path"),
        ("train/link.tif", tarfile.SYMTYPE, "a link or device"),
        ("train/link.tif", tarfile.LNKTYPE, "a link or device"),
        ("train/pipe.tif", tarfile.FIFOTYPE, "a link or device"),
        ("train/dev.tif", tarfile.CHRTYPE, "a link or device"),
        ("./train/train000.tif", tarfile.REGTYPE, "there more than once"),
        ("train/NUL.tif", tarfile.REGTYPE, "the name of a device"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_unsafe_tar(name: str, kind: bytes, why: str, packed: bool, tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    path = tar(tmp_path / "bad.tar", raw)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, "/etc/passwd", stat.S_IRUSR
        archive.addfile(info, io.BytesIO())
    if packed:
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = Path(f"{path}.gz")
    fails("tif_folders", path, "not safe to read", why)


@pytest.mark.parametrize("end", ["header", "data", "no end", "between"])
@pytest.mark.parametrize("packed", [False, True])
def test_tar_cut_short(end: str, packed: bool, tmp_path: Path) -> None:
    """Python's tarfile takes a damaged header, and the end of the file, for the archive's end."""
    path = tar(tmp_path / "all.tar", write_tifs(tmp_path / "raw"))
    with tarfile.open(path) as archive:
        member = [info for info in archive if info.isfile()][10]
        zeros = archive.offset  # where the archive ends
    data = bytearray(path.read_bytes())
    match end:
        case "header":
            data[member.offset + 150] ^= 0xFF  # its checksum
        case "data":
            del data[member.offset_data + 100 :]
        case "no end":
            del data[zeros:]
        case _:
            del data[member.offset :]
    path.write_bytes(data)
    if packed:
        path.write_bytes(gzip.compress(bytes(data)))
        path = path.rename(tmp_path / "all.tgz")
    fails("tif_folders", path, path.name, "cannot be read as a tar")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_tar_bomb(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(compress(bytes(80 << 20)))
    fails("tif_folders", path, "unpacks from", "expected at most 100 times its size")


def test_bomb_of_zips_in_zips(tmp_path: Path) -> None:
    """Each level is within its limit; together they are not."""
    data = bytes(1 << 20)
    path = tmp_path / "0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(60):
            archive.writestr(f"train/{i}.tif", data)
    for level in (1, 2):
        inner, path = path, tmp_path / f"{level}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(40):
                archive.write(inner, f"{i}.zip")
    fails("tif_folders", path, "2.zip: the archives in it unpack to more than")


def test_archives_too_deep(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    path = pack(tmp_path / "0.zip", raw, "train", "test", "train_labels.csv")
    for level in range(1, 6):
        path = pack(tmp_path / f"{level}.zip", tmp_path, path.name)
    fails("tif_folders", path, "archives deep")


def test_other_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/hcd.7z").write_bytes(b"7z")
    with pytest.raises(DataError) as caught:
        open_raw(profile("tif_folders"), tmp_path / "raw")
    assert "unpack hcd.7z first" in caught.value.hint


def test_an_archive_under_a_data_files_name(tmp_path: Path) -> None:
    raw = write_lab(tmp_path / "raw", below=".")
    path = pack(tmp_path / "download", raw, "train.h5", "valid.h5", "test_x.h5")
    images = read_all(open_raw(profile("lab_h5"), path), tmp_path / "work")
    np.testing.assert_array_equal(images["valid"], patches(8, 2))


def test_an_unpacked_copy_beside_its_zip(tmp_path: Path) -> None:
    raw = write_h5(tmp_path / "raw/patchcam/train.h5", x=patches(24, 1), y=labels(24)).parents[1]
    write_lab(raw)
    pack(raw / "tiny.zip", raw, "patchcam")
    opened = open_raw(profile("lab_h5"), raw)
    assert len(opened.parts) == 3  # the loose files: nothing to unpack


def test_a_zip_for_each_class(tmp_path: Path) -> None:
    raw, out = write_tifs(tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    for label in (0, 1):
        names = [f"train/train{i:03d}.tif" for i in range(24) if labels(24)[i] == label]
        pack(out / f"{label}.zip", raw, *names, flat=True)
    pack(out / "test.zip", raw, "test", flat=True)
    train, test = open_raw(profile("tif_folders"), out).parts
    np.testing.assert_array_equal(train.labels, labels(24))
    np.testing.assert_array_equal(np.concatenate([*train.blocks()]), patches(24, 1))
    assert test.n == 6


def test_a_zip_of_train_with_its_table_inside(tmp_path: Path) -> None:
    raw, out = write_tifs(tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    pack(out / "train.zip", raw, "train", "train_labels.csv", flat=True)
    pack(out / "test.zip", raw, "test", "sample_submission.csv", flat=True)
    whole(open_raw(profile("tif_folders"), out), tmp_path / "work")


def test_another_table_deeper_down_is_named(tmp_path: Path) -> None:
    raw = write_tifs(tmp_path / "raw")
    (raw / "old").mkdir()
    shutil.copy(raw / "sample_submission.csv", raw / "old")
    assert not any("not used" in note for note in open_raw(profile("tif_folders"), raw).notes)
    write_csv(raw / "old/sample_submission.csv", ("id", "label"), [("a", 0)])
    notes = open_raw(profile("tif_folders"), raw).notes
    assert any("old/sample_submission.csv" in note and "not used" in note for note in notes)


def test_tifs_with_a_table_are_not_taken_for_pcam(tmp_path: Path) -> None:
    """The Kaggle competition's patches under PCam's name would be another data set."""
    fails("pcam_h5", write_tifs(tmp_path / "raw"), "no train part")
