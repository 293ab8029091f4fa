"""Names and links in a data folder that somebody else prepared: no other file is ever touched."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from data_factories import contents, profile

from pcam_kit.downloads import parts
from pcam_kit.downloads.parts import Version
from pcam_kit.errors import DataError, StorageError, UsageError
from pcam_kit.progress import SILENT
from pcam_kit.workflows import download, fetch
from pcam_kit.workflows.download_record import (
    DownloadRecord,
    discard_doubtful,
    find_complete,
    read_record,
    set_aside,
)
from pcam_kit.workflows.raw_source import KaggleSource

NO_LINKS = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


@pytest.fixture
def source(tmp_path: Path) -> KaggleSource:
    (tmp_path / "data/tiny/raw").mkdir(parents=True)
    return KaggleSource("tiny", tmp_path / "data/tiny/raw", profile("lab_h5"))


def record(source: KaggleSource, **values: Any) -> None:
    whole = {"read": ".", "crcs": {}, "unproven": []} | values
    source.record.write_text(json.dumps(whole), encoding="utf-8")


@pytest.mark.parametrize("name", ["{outside}", "../../../outside.txt", "a/../../../../outside.txt"])
@pytest.mark.parametrize("key", ["crcs", "unproven", "read"])
def test_names_in_a_record_stay_in_the_folder(
    key: str, name: str, source: KaggleSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine", encoding="utf-8")
    name = name.format(outside=outside)
    value = {"crcs": {name: "00000000"}, "unproven": [name], "read": name}[key]
    record(source, **{key: value})
    with SILENT.work() as progress:
        assert find_complete(source, progress) is None
    assert discard_doubtful(source, DataError(f"{name} is damaged")) == []
    assert read_record(source) == DownloadRecord()
    assert outside.read_text(encoding="utf-8") == "mine"
    assert "raw.json is not used: it names" in caplog.text


@pytest.mark.parametrize("name", [3, None, ["a"]])
def test_names_that_are_no_text(name: Any, source: KaggleSource) -> None:
    record(source, unproven=[name])
    assert read_record(source) == DownloadRecord()


def test_a_good_record_is_used(source: KaggleSource) -> None:
    record(source, crcs={"train/a b.tif": "0a0b0c0d"}, unproven=["train/a b.tif"])
    assert read_record(source).crcs == {"train/a b.tif": "0a0b0c0d"}


@NO_LINKS
@pytest.mark.parametrize("linked", ["raw", "raw/train", "raw/deep/er"])
def test_nothing_is_renamed_or_written_behind_a_linked_folder(
    linked: str, source: KaggleSource, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "er").mkdir(parents=True)
    name = f"{linked}/a.csv".removeprefix("raw/")
    for folder in (outside, outside / "er"):
        (folder / "a.csv").write_text("mine", encoding="utf-8")
        (folder / "a.csv.part").write_text("mine", encoding="utf-8")
    link = tmp_path / "data/tiny" / linked
    link.parent.mkdir(exist_ok=True)
    if linked == "raw":
        link.rmdir()
    link.symlink_to(outside)
    before = contents(outside)
    record(source, crcs={name: "00000000"}, unproven=[name])
    with SILENT.work() as progress:
        with pytest.raises(StorageError, match="is a link to another folder"):
            find_complete(source, progress)
        with pytest.raises(StorageError, match="is a link to another folder"):
            download._download_each(
                source, [download.RemoteFile(name, 9)], progress, for_store=False
            )
    with pytest.raises(StorageError, match="is a link to another folder"):
        discard_doubtful(source, DataError(f"{name} is damaged"))
    assert contents(outside) == before


@NO_LINKS
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "linked notes", "piped notes"])
def test_no_download_goes_on_in_something_else(kind: str, tmp_path: Path) -> None:
    target, mine = tmp_path / "X", tmp_path / "mine"
    mine.write_bytes(b"mine")
    part, notes = parts.part_paths(target)
    parts.write_notes(target, Version("s", '"tag"', 99, {}))
    match kind:
        case "link":
            part.symlink_to(mine)
        case "hard link":
            os.link(mine, part)
        case "pipe":
            os.mkfifo(part)
        case "linked notes":
            notes.rename(tmp_path / "elsewhere")
            notes.symlink_to(tmp_path / "elsewhere")
        case _:
            notes.unlink()
            os.mkfifo(notes)
    assert parts.read_notes(target, "s") is None
    assert not os.path.lexists(part)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "change",
    [
        {"total": "9"},
        {"total": True},
        {"total": -1},
        {"validator": "x\r\nHost: evil"},
        {"validator": None},
        {"hashes": {"md5": 3}},
        {"hashes": ["md5"]},
        {"source": 3},
        {"more": 1},
    ],
)
def test_notes_that_are_not_ours(change: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "X"
    part, notes = parts.part_paths(target)
    part.write_bytes(b"1234")
    good = {"source": "s", "validator": '"tag"', "total": 9, "hashes": {}}
    notes.write_text(json.dumps(good), encoding="utf-8")
    assert parts.read_notes(target, "s") == Version("s", '"tag"', 9, {})
    notes.write_text(json.dumps(good | change), encoding="utf-8")
    assert parts.read_notes(target, "s") is None
    assert not part.exists()


def test_listed_names_are_shown_without_their_controls(
    source: KaggleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a\x1b[2Jb.csv", "c\nd.csv"]
    listed = [download.RemoteFile(name, 3) for name in names]
    monkeypatch.setattr(download.kaggle_client, "list_files", lambda name: iter(listed))
    with SILENT.work() as progress, pytest.raises(UsageError) as caught:
        download.download_matching(source, ["*.tif"], progress)
    assert r"Kaggle lists a\x1b[2Jb.csv, c\nd.csv" in caught.value.message


def test_what_was_set_aside_before_stays(tmp_path: Path) -> None:
    for content in ("first", "second", "third"):
        (tmp_path / "a.csv").write_text(content, encoding="utf-8")
        set_aside(tmp_path / "a.csv")
    assert contents(tmp_path) == {
        "a.csv.damaged": b"first",
        "a.csv.damaged-2": b"second",
        "a.csv.damaged-3": b"third",
    }


def test_what_is_remembered_of_a_fetch_is_checked_like_what_is_typed() -> None:
    request = fetch.FetchRequest("tiny")
    with pytest.raises(UsageError, match="no dataset's name"):
        fetch._wanted(request, {"dataset": "../../../outside"})
    assert fetch._wanted(request, {"dataset": 3}) == {}
    assert "source" not in fetch._wanted(request, {"source": ["/"], "stamp": "x"})
    assert fetch._wanted(request, {"dataset": "owner/name"}) == {"dataset": "owner/name"}
