"""Published files from fixed addresses: the md5 tells what is right, and the next address helps."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest
from loopback import ALWAYS, Loopback

from pcam_kit.downloads import Mirrors, RemoteFile, http, part_size, retry
from pcam_kit.errors import TransferError, UnreachableError

NAME, SIZE, HALF = "train.h5", 300_000, 150_000
PAGE = b"<!DOCTYPE html><title>Down for maintenance</title>"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "raw" / NAME


@pytest.fixture
def file(folder: Path) -> RemoteFile:
    digest = hashlib.md5((folder / NAME).read_bytes(), usedforsecurity=False).hexdigest()
    return RemoteFile(NAME, SIZE, digest)


@pytest.fixture
def mirrors(kaggle: Loopback, folder: Path) -> Mirrors:
    """Two addresses with the same files."""
    return Mirrors([kaggle.publish(place, folder) for place in ("first", "second")])


def check_whole(here: Path, folder: Path) -> None:
    """The file is there byte for byte, and nothing else is."""
    assert here.read_bytes() == (folder / NAME).read_bytes()
    assert [path.name for path in here.parent.iterdir()] == [NAME]


def asked(kaggle: Loopback) -> list[tuple[str, str]]:
    """Place and range of every request."""
    return [(seen.what, seen.headers.get("range", "")) for seen in kaggle.requests]


@pytest.mark.parametrize(
    ("how", "requests"),
    [
        ({}, 1),
        ({"truncate": HALF}, 2),
        ({"truncate": HALF, "framing": "chunked"}, 2),
        ({"truncate": HALF, "framing": "close"}, 2),  # only the published size tells
        ({"framing": "chunked"}, 1),
        ({"gzip": True}, 1),
        ({"short": HALF}, 2),  # headers that agree with half of the file
        ({"status": 500, "body": b""}, 2),
        ({"status": 429, "body": b"", "retry_after": "0"}, 2),
        ({"body": PAGE, "content_type": "text/html"}, 2),
        ({"body": PAGE, "content_type": "application/octet-stream"}, 2),
        ({"reset": True}, 2),
    ],
)
def test_what_passes_needs_no_other_address(
    kaggle: Loopback,
    mirrors: Mirrors,
    file: RemoteFile,
    folder: Path,
    here: Path,
    how: dict[str, Any],
    requests: int,
) -> None:
    if how:
        kaggle.fail("first", **how)
    mirrors.download(file, here)
    check_whole(here, folder)
    assert [what for what, _ in asked(kaggle)] == ["first"] * requests
    if "truncate" in how:
        assert asked(kaggle)[1] == ("first", f"bytes={HALF}-")
    for seen in kaggle.requests:
        assert "authorization" not in seen.headers
        assert seen.headers["user-agent"].startswith("pcam-kit/"), "Zenodo refuses others"


@pytest.mark.parametrize(
    "how",
    [{"ignore_range": True}, {"wrong_range": True}, {"wrong_end": True}, {"status": 416}],
    ids=["ignored", "another range", "another size", "416"],
)
def test_a_range_that_is_not_the_rest_starts_over(
    kaggle: Loopback,
    mirrors: Mirrors,
    file: RemoteFile,
    folder: Path,
    here: Path,
    how: dict[str, Any],
) -> None:
    kaggle.fail("first", truncate=HALF)
    kaggle.fail("first", **how)
    mirrors.download(file, here)
    check_whole(here, folder)


def test_validators_are_not_needed_to_resume(
    kaggle: Loopback, mirrors: Mirrors, file: RemoteFile, folder: Path, here: Path
) -> None:
    kaggle.fail("first", truncate=HALF, weak_etag=True)
    kaggle.fail("first", weak_etag=True)
    mirrors.download(file, here)
    check_whole(here, folder)
    assert asked(kaggle) == [("first", ""), ("first", f"bytes={HALF}-")]


@pytest.mark.parametrize(
    ("how", "requests", "reason"),
    [
        ({"status": 404, "body": b""}, 1, "the storage answered HTTP 404 Not Found"),
        ({"status": 403, "body": PAGE, "content_type": "text/html"}, 1, "HTTP 403 Forbidden"),
        ({"status": 503, "body": b""}, 6, "the storage answered HTTP 503"),
        ({"status": 429, "body": b"", "retry_after": "3600"}, 1, "a pause of 60 minutes"),
        ({"corrupt": True}, 1, "other bytes arrived than the profile lists (md5: expected "),
        ({"short": HALF}, 3, "150,000 bytes were announced where the profile lists 300,000"),
        ({"body": PAGE, "content_type": "text/html"}, 3, "an error page came instead of the file"),
        ({"reset": True}, 6, "cannot reach 127.0.0.1: the proxy did not answer"),
    ],
)
def test_the_next_address_is_tried_and_that_is_told(
    kaggle: Loopback,
    mirrors: Mirrors,
    file: RemoteFile,
    folder: Path,
    here: Path,
    caplog: pytest.LogCaptureFixture,
    how: dict[str, Any],
    requests: int,
    reason: str,
) -> None:
    kaggle.fail("first", times=ALWAYS, **how)
    with caplog.at_level(logging.WARNING, "pcam_kit"):
        mirrors.download(file, here)
    check_whole(here, folder)
    assert len(kaggle.seen("first")) == requests
    assert len(kaggle.seen("second")) == 1
    (message,) = caplog.messages
    assert reason in message
    assert message.endswith("/public/first/{name}); trying 127.0.0.1/public/second/{name}")
    kaggle.requests.clear()
    mirrors.download(file, here.with_name("again.h5"))
    assert [what for what, _ in asked(kaggle)] == ["second"], "what failed comes last from then on"


def test_another_address_continues_the_part(
    kaggle: Loopback, mirrors: Mirrors, file: RemoteFile, folder: Path, here: Path
) -> None:
    kaggle.fail("first", truncate=HALF)
    kaggle.fail("first", status=404, body=b"")
    mirrors.download(file, here)
    check_whole(here, folder)
    assert asked(kaggle)[-1] == ("second", f"bytes={HALF}-")


def test_a_part_of_other_bytes_is_found_out_and_fetched_anew(
    kaggle: Loopback, mirrors: Mirrors, file: RemoteFile, folder: Path, here: Path
) -> None:
    kaggle.fail("first", truncate=HALF)
    kaggle.fail("first", foreign=HALF)
    mirrors.download(file, here)
    check_whole(here, folder)
    assert asked(kaggle)[-1] == ("second", "")


def test_no_address_gives_the_right_bytes(
    kaggle: Loopback, mirrors: Mirrors, file: RemoteFile, here: Path
) -> None:
    kaggle.fail("first", corrupt=True)
    kaggle.fail("second", status=404, body=b"")
    with pytest.raises(TransferError) as caught:
        mirrors.download(file, here)
    first, *others = caught.value.message.splitlines()
    assert first == "no address gives train.h5"
    assert f"md5: expected {file.md5}, found " in others[0]
    assert others[1].startswith("  127.0.0.1/public/second/{name}: could not download train.h5")
    assert "run the same command again" in caught.value.hint
    assert list(here.parent.iterdir()) == [], "wrong bytes are kept under no name"


@pytest.mark.usefixtures("kaggle")
def test_no_network(file: RemoteFile, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What in an address may be a password is not shown."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirrors = Mirrors(["http://me:secret@127.0.0.1:9/{name}?token=secret"])
    with pytest.raises(TransferError, match=r"cannot reach 127\.0\.0\.1: .*refused") as caught:
        mirrors.download(file, here)
    assert isinstance(caught.value, UnreachableError)
    assert "Kaggle" not in caught.value.message
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.usefixtures("kaggle")
def test_a_host_that_cannot_be_reached_is_tried_once(
    file: RemoteFile,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    places = ["127.0.0.1:9/a", "127.0.0.1:9/b", "127.0.0.1:11/a"]
    with pytest.raises(TransferError, match="no address gives") as caught:
        Mirrors([f"http://{place}/{{name}}" for place in places]).download(file, here)
    assert len(caught.value.message.splitlines()) == 3
    assert [message[-25:] for message in caplog.messages] == ["trying 127.0.0.1/a/{name}"]


def test_the_next_process_goes_on(
    kaggle: Loopback,
    mirrors: Mirrors,
    file: RemoteFile,
    folder: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as hasty:
        hasty.setattr(retry, "ATTEMPTS", 1)
        for place in ("first", "second"):
            kaggle.fail(place, truncate=HALF if place == "first" else 0)
        with pytest.raises(TransferError, match="no address gives"):
            mirrors.download(file, here)
    assert part_size(here) == HALF
    mirrors.download(file, here)
    check_whole(here, folder)
    assert asked(kaggle)[-1][1] == f"bytes={HALF}-"


def test_silence_ends(
    kaggle: Loopback,
    mirrors: Mirrors,
    file: RemoteFile,
    folder: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "READ_TIMEOUT", 0.2)
    kaggle.fail("first", stall=HALF)
    mirrors.download(file, here)
    check_whole(here, folder)
    assert asked(kaggle)[-1] == ("first", f"bytes={HALF}-")


def test_a_file_of_unknown_size(
    kaggle: Loopback, mirrors: Mirrors, file: RemoteFile, folder: Path, here: Path
) -> None:
    """Nothing but the md5 tells that the body is short."""
    kaggle.fail("first", short=HALF)
    mirrors.download(RemoteFile(NAME, 0, file.md5), here)
    check_whole(here, folder)
    assert [what for what, _ in asked(kaggle)] == ["first", "second"]


def test_names_are_quoted(kaggle: Loopback, mirrors: Mirrors, folder: Path, here: Path) -> None:
    name = "extra/my notes.bin"
    (folder / "extra" / "my%20notes.bin").write_bytes((folder / name).read_bytes())
    digest = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
    mirrors.download(RemoteFile(name, 70_000, digest), here)
    assert kaggle.seen("first")[0].path.endswith("/public/first/extra/my%20notes.bin?download=1")


@pytest.mark.parametrize("fixed", ["false", '"yes"', "1"])
def test_notes_of_another_form_are_none(
    kaggle: Loopback, mirrors: Mirrors, file: RemoteFile, folder: Path, here: Path, fixed: str
) -> None:
    here.parent.mkdir()
    here.with_name(f"{NAME}.part").write_bytes(b"x" * HALF)
    here.with_name(f"{NAME}.part.json").write_text(
        f'{{"source": "md5:{file.md5}", "validator": "", "total": {SIZE}, "hashes": {{}}, '
        f'"fixed": {fixed}}}',
        encoding="utf-8",
    )
    mirrors.download(file, here)
    check_whole(here, folder)
    assert asked(kaggle) == [("first", "")]
