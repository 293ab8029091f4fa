"""Building a store when something stands there already, is killed, or the disk is full: nothing is
lost, nothing is half there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_factories import (
    contents,
    flip,
    gzip_file,
    labels,
    patches,
    profile,
    write_h5,
    write_lab,
    write_pcam,
    write_tifs,
    zip_folder,
)

from pcam_kit import __main__
from pcam_kit.data import store_writer
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.raw import Part, RawCompetition
from pcam_kit.data.store import build_store, open_store, verify_store
from pcam_kit.errors import DataError, StorageError
from pcam_kit.workflows.fetch import FetchRequest, fetch
from pcam_kit.workspace import Workspace


@pytest.fixture
def lab(tmp_path: Path) -> RawCompetition:
    return open_raw(profile("lab_h5"), write_lab(tmp_path / "raw"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tiny" / "store"


def other(raw: RawCompetition) -> RawCompetition:
    """The same with one label changed: another store."""
    changed = raw.parts[0].labels.copy()
    changed[1] = 1 - changed[1]
    return replace(raw, parts=(replace(raw.parts[0], labels=changed), *raw.parts[1:]))


def test_an_equal_store_is_kept(lab: RawCompetition, place: Path) -> None:
    build_store(lab, place)
    before = (place / "images.npy").stat()
    build_store(lab, place)
    after = (place / "images.npy").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in place.parent.iterdir()) == ["store"]


def test_an_equal_store_takes_a_changed_profile(lab: RawCompetition, place: Path) -> None:
    first = build_store(lab, place)
    second = build_store(replace(lab, profile=profile("lab_h5", target_column="class")), place)
    assert second.fingerprint == first.fingerprint
    assert second.profile.target_column == "class"
    verify_store(second)


@pytest.mark.parametrize("damage", ["flip", "cut", "no manifest", "empty"])
def test_a_damaged_store_is_replaced(damage: str, lab: RawCompetition, place: Path) -> None:
    build_store(lab, place)
    whole = contents(place)
    match damage:
        case "flip":
            flip(place / "images.npy", 5000)
        case "cut":
            os.truncate(place / "images.npy", 5000)
        case "no manifest":
            (place / "manifest.json").unlink()
        case _:
            for path in list(place.iterdir()):
                path.unlink()
    verify_store(build_store(lab, place))
    assert contents(place) == whole
    assert sorted(path.name for path in place.parent.iterdir()) == ["store"]


def test_another_intact_store_is_moved_aside(lab: RawCompetition, place: Path) -> None:
    # no store stays open: Windows could not replace it
    first = build_store(lab, place).fingerprint
    old = contents(place)
    store = build_store(other(lab), place)
    aside, second, notes = place.with_name(f"store.{first[:8]}"), store.fingerprint, store.notes
    del store
    assert contents(aside) == old
    assert any(aside.name in note for note in notes)
    verify_store(open_store(aside))
    build_store(lab, place)  # and back again: no copy is made of what is kept already
    build_store(other(lab), place)
    kept = {f"store.{fingerprint[:8]}" for fingerprint in (first, second)}
    assert {path.name for path in place.parent.iterdir()} == {"store", *kept}


def test_a_folder_with_other_things_is_left_alone(lab: RawCompetition, place: Path) -> None:
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(StorageError, match=r"is no store: .*found thesis\.txt"):
        build_store(lab, place)
    assert contents(place.parent) == {"store/thesis.txt": b"years of work"}


def test_a_failing_source_leaves_the_old_store(lab: RawCompetition, place: Path) -> None:
    build_store(lab, place)
    before = contents(place.parent)

    def broken() -> Iterator[np.ndarray]:
        yield patches(5)
        raise DataError("the tape tore")

    for blocks, message in (
        (broken, "the tape tore"),
        (lambda: (patches(5) for _ in range(1)), "ends early: expected 24 patches, found 5"),
    ):
        with pytest.raises(DataError, match=message):
            build_store(
                replace(lab, parts=(replace(lab.parts[0], blocks=blocks), *lab.parts[1:])), place
            )
        assert contents(place.parent) == before


def test_left_overs_of_killed_builds_are_removed(lab: RawCompetition, place: Path) -> None:
    left = place.with_name(".store.partial-0badcafe")
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    build_store(lab, place)
    assert sorted(path.name for path in place.parent.iterdir()) == ["store"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from data_factories import profile
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import build_store
calls = 0
def progress(what, done, total):
    global calls
    calls += 1
    if calls == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
build_store(open_raw(profile("pcam_h5"), Path({raw!r})), Path({place!r}), progress=progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("at", [2, 7, 8])
def test_killed_at_any_moment_the_next_build_finishes(at: int, tmp_path: Path, place: Path) -> None:
    raw = write_pcam(tmp_path / "raw")
    code = KILLED.format(tests=str(Path(__file__).parent), at=at, raw=str(raw), place=str(place))
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert any(".partial-" in path.name for path in place.parent.iterdir())
    with pytest.raises(DataError, match="does not exist"):
        open_store(place)
    verify_store(build_store(open_raw(profile("pcam_h5"), raw), place))
    assert sorted(path.name for path in place.parent.iterdir()) == ["store"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        not hasattr(os, "geteuid")
        or os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("needs root and the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def big(n: int = 600) -> RawCompetition:
    part = Part(
        "train",
        [str(i) for i in range(n)],
        labels(n).astype(np.int8),
        lambda: (patches(50, i) for i in range(n // 50)),
    )
    return RawCompetition(profile("lab_h5"), (part,), [])


def test_too_small_a_disk_is_told_before_writing(small_disk: Path, lab: RawCompetition) -> None:
    with pytest.raises(
        StorageError, match=r"not enough space in .*: 3\.\d MB needed, 1\.0 MB free"
    ):
        build_store(big(), small_disk / "store")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_disk_that_fills_up_while_writing(
    packed: bool,
    small_disk: Path,
    lab: RawCompetition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_writer, "check_space", lambda folder, needed: None)
    build_store(lab, small_disk / "store")
    before = contents(small_disk)
    raw = big()
    if packed:
        write_pcam(tmp_path / "packed")
        path = tmp_path / "packed/camelyonpatch_level_2_split_train_x.h5"
        write_h5(
            path, x=np.random.default_rng(0).integers(0, 256, (600, 32, 32, 3), dtype=np.uint8)
        )
        gzip_file(path)
        raw = open_raw(profile("pcam_h5"), tmp_path / "packed")
    with pytest.raises(StorageError, match="no space left on the disk"):
        build_store(raw, small_disk / "store")
    assert contents(small_disk) == before
    verify_store(open_store(small_disk / "store"))


def test_read_only_folder(small_disk: Path, lab: RawCompetition) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="read-only"):
        build_store(lab, small_disk / "store")
    with pytest.raises(StorageError, match="read-only"):
        build_store(lab, small_disk / "deeper" / "store")


def test_the_old_store_comes_back_when_the_last_step_fails(
    lab: RawCompetition, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(lab, place)
    before = contents(place.parent)
    rename = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if ".partial-" in path.name and target == place:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(StorageError, match="Input/output error"):
        build_store(other(lab), place)
    assert contents(place.parent) == before


def test_full_memory_while_fetching_is_no_matter_of_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**how: object) -> None:
        raise MemoryError

    monkeypatch.setattr(__main__, "app", full)
    for arguments, hint in ((["fetch", "pcam"], "other programs"), (["train"], "batch_size")):
        with pytest.raises(SystemExit):
            __main__.main(arguments)
        error = capsys.readouterr().err
        assert "out of memory" in error
        assert hint in error


def test_no_store_stands_when_a_file_beside_it_cannot_be_unpacked(tmp_path: Path) -> None:
    """The store needs nothing of notes.txt; all of the zip was asked for."""
    archive = zip_folder(write_tifs(tmp_path / "raw"), tmp_path / "all.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("notes.txt", "what the tissue is")
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"what the tissue is", b"what the tissue was"[:18]))
    workspace = Workspace(tmp_path / "data", tmp_path / "runs", tmp_path / "submissions")
    request = FetchRequest("tiny", archive, keep_raw=True)
    with pytest.raises(DataError, match=r"all\.zip cannot be unpacked: .*notes\.txt"):
        fetch(request, workspace, profile=profile("tif_folders"))
    assert [path.name for path in (tmp_path / "data/tiny").iterdir()] == [".lock"]
    fetch(replace(request, keep_raw=False), workspace, profile=profile("tif_folders"))
    assert (tmp_path / "data/tiny/store").is_dir()
