"""Listing and downloading through the real client, in good and in bad weather."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import requests
from loopback import EXPIRED, Loopback, Seen

from pcam_kit.downloads import RemoteFile, http, parts, retry, transfer
from pcam_kit.errors import (
    AccessError,
    CredentialsError,
    DataError,
    KaggleError,
    StorageError,
    TransferError,
)
from pcam_kit.kaggle_client import download_all, download_file, list_files

WriteCsv = Callable[..., Path]
SLUG = "tiny-tissue"
SIZE = 300_000
TRAIN = RemoteFile("train.h5", SIZE)


@pytest.fixture
def served(kaggle: Loopback, folder: Path, solution: Path) -> Loopback:
    kaggle.serve(SLUG, folder, solution, "accuracy")
    return kaggle


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "train.h5"


def is_whole(here: Path, folder: Path, name: str = "train.h5") -> bool:
    """The file is there byte for byte, and nothing else is."""
    return here.read_bytes() == (folder / name).read_bytes() and [
        path.name for path in here.parent.iterdir()
    ] == [here.name]


def ranges(requests_seen: list[Seen]) -> list[str]:
    return [seen.headers.get("range", "") for seen in requests_seen]


# listing


def test_listing_reads_pages_until_the_end(served: Loopback, folder: Path) -> None:
    served.page_size = 3
    assert {file.name: file.size for file in list_files(SLUG)} == {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert [seen.json["pageToken"] for seen in served.seen("ListDataFiles")] == ["", "3"]


def test_listing_asks_for_no_page_that_nobody_wants(served: Loopback) -> None:
    served.page_size = 2
    assert len([*islice(list_files(SLUG), 2)]) == 2
    assert len(served.seen("ListDataFiles")) == 1


# downloads


def test_download_is_whole_and_leaves_nothing_else(
    served: Loopback, folder: Path, here: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    download_file(SLUG, TRAIN, here, progress=lambda *step: told.append(step))
    assert is_whole(here, folder)
    assert told[0] == ("train.h5", 0, SIZE)
    assert told[-1] == ("verifying train.h5", SIZE, SIZE)
    told = [step for step in told if step[0] == "train.h5"]
    assert told[-1] == ("train.h5", SIZE, SIZE)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_name_with_folder_and_space_is_asked_for_as_it_is(
    served: Loopback, folder: Path, tmp_path: Path
) -> None:
    name = "extra/my notes.bin"
    here = tmp_path / "raw" / name
    download_file(SLUG, RemoteFile(name, 70_000), here)
    assert is_whole(here, folder, name)
    assert served.seen("DownloadDataFile")[0].json["fileName"] == name


def test_credentials_go_to_kaggle_and_never_to_the_storage(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = here.parent.parent / "netrc"
    netrc.write_text(
        "machine 127.0.0.1 login someone password secret\nmachine localhost login someone "
        "password secret\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("NETRC", str(netrc))
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert all("authorization" in seen.headers for seen in served.seen("DownloadDataFile"))
    assert not any("authorization" in seen.headers for seen in served.seen("storage"))


@pytest.mark.parametrize("no_proxy", ["", "127.0.0.1"])
def test_the_storage_is_reached_through_the_proxy_and_directly(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    monkeypatch.setenv("no_proxy", no_proxy)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert served.seen("storage")[0].path.startswith("/storage" if no_proxy else "http://127.0.0.1")


def test_a_body_without_redirect_is_taken(kaggle: Loopback, folder: Path, here: Path) -> None:
    kaggle.serve(SLUG, folder, direct=True)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)


def test_an_empty_file_is_downloaded(served: Loopback, folder: Path, here: Path) -> None:
    (folder / "empty.csv").touch()
    download_file(SLUG, RemoteFile("empty.csv", 0), here)
    assert is_whole(here, folder, "empty.csv")


def test_a_broken_download_goes_on_where_it_stopped(
    served: Loopback, folder: Path, here: Path
) -> None:
    served.fail("storage", truncate=200_000)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    first, second = served.seen("storage")
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 200_000 - transfer.CHUNK <= start <= 200_000
    assert second.headers["if-range"].startswith('"')
    assert first.path != second.path, "an old signed URL was used again"
    assert len(served.seen("DownloadDataFile")) == 2


def test_the_next_process_goes_on_too(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    served.fail("storage", truncate=200_000)
    with pytest.raises(TransferError, match="cannot reach Kaggle") as caught:
        download_file(SLUG, TRAIN, here)
    assert "same command again" in caught.value.hint
    assert not here.exists()
    assert here.with_name("train.h5.part").stat().st_size > 100_000
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert ranges(served.seen("storage"))[-1] != ""


def test_a_part_that_is_complete_needs_no_further_bytes(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(transfer, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            download_file(SLUG, TRAIN, here)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert len(served.seen("storage")) == 1


def test_an_expired_url_while_resuming_adds_no_error_page(
    served: Loopback, folder: Path, here: Path
) -> None:
    served.fail("storage", truncate=200_000)
    served.fail("storage", status=403, body=EXPIRED, content_type="application/xml")
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert ranges(served.seen("storage"))[2] != "", "the part was thrown away"


@pytest.mark.parametrize(
    "content_type", ["application/xml", "text/html", "application/octet-stream"]
)
def test_an_error_page_with_status_200_is_not_the_file(
    served: Loopback, folder: Path, here: Path, content_type: str
) -> None:
    served.fail("storage", body=EXPIRED, content_type=content_type)
    download_file(SLUG, RemoteFile("train.h5", 0), here)  # no size to tell them apart
    assert is_whole(here, folder)


def test_a_page_with_status_200_while_resuming_costs_nothing(
    served: Loopback, folder: Path, here: Path
) -> None:
    served.fail("storage", truncate=200_000)
    served.fail("storage", body=b"Please sign in", content_type="text/html; charset=utf-8")
    download_file(SLUG, RemoteFile("train.h5", 0), here)
    assert is_whole(here, folder)
    assert ranges(served.seen("storage"))[2] != "", "the part was thrown away"


def test_an_error_page_as_long_as_the_file_is_not_the_file(served: Loopback, here: Path) -> None:
    page = b"\n<!DOCTYPE html><html>" + b" " * 979
    served.fail("storage", body=page, content_type="application/octet-stream", times=9)
    with pytest.raises(TransferError, match="an error page came instead of the file"):
        download_file(SLUG, RemoteFile("test.h5", len(page)), here)
    assert list(here.parent.iterdir()) == []


@pytest.mark.parametrize("fault", [{"ignore_range": True}, {"wrong_range": True}])
def test_a_wrong_continuation_starts_over(
    kaggle: Loopback, folder: Path, here: Path, fault: dict[str, bool]
) -> None:
    kaggle.serve(SLUG, folder, hashes=False)  # the size alone would not tell
    kaggle.fail("storage", truncate=200_000)
    kaggle.fail("storage", **fault)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)


def test_a_file_that_changed_meanwhile_starts_over(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    served.fail("storage", truncate=200_000)
    with pytest.raises(TransferError):
        download_file(SLUG, TRAIN, here)
    (folder / "train.h5").write_bytes(os.urandom(SIZE))
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)


@pytest.mark.parametrize(
    "damage",
    [
        "other source",
        "longer than all",
        "not JSON",
        "no notes",
        "nested",
        '{"total": "300000"}',
        '{"total": true}',
        '{"total": -1}',
        '{"hashes": 7}',
        '{"hashes": {"md5": 7}}',
        '{"hashes": null}',
        '{"validator": "a\\r\\nX-Evil: 1"}',
        '{"validator": ["a"]}',
        '{"source": {}}',
        '{"new": 1}',
    ],
)
def test_a_part_that_cannot_be_trusted_is_thrown_away(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    served.fail("storage", truncate=200_000)
    with monkeypatch.context() as hasty:
        hasty.setattr(retry, "ATTEMPTS", 1)
        with pytest.raises(TransferError):
            download_file(SLUG, TRAIN, here)
    part, notes = here.with_name("train.h5.part"), here.with_name("train.h5.part.json")
    match damage:
        case "other source":
            notes.write_text(
                notes.read_text(encoding="utf-8").replace(SLUG, "another-competition"),
                encoding="utf-8",
            )
        case "longer than all":
            part.write_bytes(bytes(SIZE + 1))
        case "not JSON":
            notes.write_text("{", encoding="utf-8")
        case "nested":
            notes.write_text("[" * 100_000, encoding="utf-8")
        case str() if damage.startswith("{"):
            values = json.loads(notes.read_text(encoding="utf-8")) | json.loads(damage)
            notes.write_text(json.dumps(values), encoding="utf-8")
        case _:
            notes.unlink()
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert ranges(served.seen("storage"))[-1] == ""


def test_wrong_bytes_of_the_right_length_are_fetched_again(
    served: Loopback, folder: Path, here: Path
) -> None:
    served.fail("storage", corrupt=True)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert len(served.seen("storage")) == 2


def test_bytes_that_stay_wrong_are_never_accepted(served: Loopback, here: Path) -> None:
    served.fail("storage", corrupt=True, times=99)
    with pytest.raises(TransferError, match=r"could not download train\.h5: .*md5"):
        download_file(SLUG, TRAIN, here)
    assert list(here.parent.iterdir()) == []
    assert len(served.seen("storage")) == 3, "full downloads count twice"


def test_a_short_body_with_consistent_headers_is_not_accepted(
    kaggle: Loopback, folder: Path, here: Path
) -> None:
    kaggle.serve(SLUG, folder, hashes=False)
    kaggle.fail("storage", short=1234, times=99)
    with pytest.raises(
        TransferError, match=r"1,234 bytes were announced where Kaggle lists 300,000"
    ):
        download_file(SLUG, TRAIN, here)
    assert list(here.parent.iterdir()) == []


def test_a_slow_line_that_gets_further_each_time_is_not_given_up(
    served: Loopback, folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "GAIN", 10_000)
    monkeypatch.setattr(transfer, "CHUNK", 10_000)
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    served.fail("storage", truncate=50_000, times=5)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert len(served.seen("storage")) == 6


def test_a_file_that_kaggle_zipped_is_unwrapped(kaggle: Loopback, folder: Path, here: Path) -> None:
    kaggle.serve(SLUG, folder, zipped=("train.h5",))
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)


@pytest.mark.parametrize(
    "members", [{"other.h5": SIZE}, {"train.h5": SIZE - 1}, {"train.h5": SIZE, "more": 1}]
)
def test_another_zip_is_not_unwrapped(
    served: Loopback, here: Path, members: dict[str, int]
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in members.items():
            archive.writestr(name, bytes(size))
    served.fail("storage", body=buffer.getvalue(), content_type="application/zip", times=99)
    with pytest.raises(TransferError, match="bytes arrived where Kaggle lists"):
        download_file(SLUG, TRAIN, here)
    assert list(here.parent.iterdir()) == []


def test_a_zip_that_is_the_file_itself_stays_a_zip(
    served: Loopback, folder: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        archive.writestr("data.zip", b"x" * 100)
    here = tmp_path / "raw" / "data.zip"
    download_file(SLUG, RemoteFile("data.zip", (folder / "data.zip").stat().st_size), here)
    assert is_whole(here, folder, "data.zip")


def test_the_whole_competition_comes_as_one_zip(
    served: Loopback, folder: Path, tmp_path: Path
) -> None:
    here = tmp_path / "raw" / "all.zip"
    told: list[tuple[str, int, int]] = []
    inspected: list[Path] = []
    served.fail("storage", truncate=150_000)
    download_all(SLUG, here, inspect=inspected.append, progress=lambda *step: told.append(step))
    with zipfile.ZipFile(here) as archive:
        assert sorted(archive.namelist()) == sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
        assert archive.read("train.h5") == (folder / "train.h5").read_bytes()
    assert (f"{SLUG}.zip", here.stat().st_size, here.stat().st_size) in told
    assert told[-1][0] == f"verifying {SLUG}.zip"
    assert inspected == [here.with_name("all.zip.part")]
    assert ranges(served.seen("storage"))[1] != ""


def test_a_whole_competition_that_is_no_zip_is_not_accepted(
    kaggle: Loopback, folder: Path, tmp_path: Path
) -> None:
    kaggle.serve(SLUG, folder, hashes=False)
    kaggle.fail("storage", short=200_000, times=99)
    with pytest.raises(TransferError, match="not a whole zip"):
        download_all(SLUG, tmp_path / "raw" / "all.zip", inspect=lambda path: None)
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_zip_that_is_refused_is_not_kept(served: Loopback, tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise DataError("not safe")

    with pytest.raises(DataError, match="not safe"):
        download_all(SLUG, tmp_path / "raw" / "all.zip", inspect=refuse)
    assert list((tmp_path / "raw").iterdir()) == []
    assert len(served.seen("storage")) == 1, "it would be the same the next time"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_as_such(
    served: Loopback, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = partial(open, "/dev/full", "ab")
    monkeypatch.setattr(transfer, "open_own", lambda path, mode: full())
    with pytest.raises(StorageError, match="no space left"):
        download_file(SLUG, TRAIN, here)
    assert len(served.seen("storage")) == 1, "a full disk is no reason to try again"


# what may be repeated, and how often


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("what", ["ListDataFiles", "DownloadDataFile", "storage"])
def test_reads_are_repeated(
    served: Loopback, folder: Path, here: Path, what: str, status: int
) -> None:
    served.fail(what, status=status, message="busy", times=2)
    assert len([*list_files(SLUG)]) == 4
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert len(served.seen(what)) == 3


@pytest.mark.parametrize("what", ["ListDataFiles", "DownloadDataFile", "storage"])
def test_a_connection_that_is_reset_is_repeated(
    served: Loopback, folder: Path, here: Path, what: str
) -> None:
    served.fail(what, reset=True, times=2)
    assert len([*list_files(SLUG)]) == 4
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)


def test_repeating_ends(served: Loopback) -> None:
    served.fail("ListDataFiles", status=503, message="Down for maintenance.", times=99)
    with pytest.raises(
        TransferError, match='could not list the files of tiny-tissue: "Down for maintenance"'
    ):
        [*list_files(SLUG)]
    assert len(served.seen("ListDataFiles")) == retry.ATTEMPTS


def test_retry_after_is_honoured(served: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", pauses.append)
    served.fail("ListDataFiles", status=429, retry_after="7")
    [*list_files(SLUG)]
    assert pauses == [7.0]


def test_a_very_long_pause_is_told_instead_of_waited_for(served: Loopback) -> None:
    served.fail("ListDataFiles", status=429, message="Too many requests", retry_after="3600")
    with pytest.raises(TransferError, match="asks for a pause of 60 minutes"):
        [*list_files(SLUG)]
    assert len(served.seen("ListDataFiles")) == 1


def test_a_server_that_says_nothing_is_not_waited_for_forever(
    served: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    served.fail("ListDataFiles", wait=1.0, times=2)
    with pytest.raises(TransferError, match=r"cannot reach Kaggle.*no answer in time"):
        [*list_files(SLUG)]


def test_a_login_page_in_place_of_kaggle_is_named(served: Loopback) -> None:
    served.fail(
        "ListDataFiles",
        body=b"<html>Welcome to our WiFi</html>",
        content_type="text/html",
        times=99,
    )
    with pytest.raises(TransferError, match="cannot be read: it is not JSON"):
        [*list_files(SLUG)]


def test_a_redirect_of_an_api_call_is_not_followed(served: Loopback) -> None:
    served.fail("ListDataFiles", status=302, body=b"", location="http://wifi.test/login", times=99)
    with pytest.raises(TransferError, match="cannot be read: it points to another address"):
        [*list_files(SLUG)]


def test_no_server_at_all(kaggle: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(TransferError, match=r"cannot reach Kaggle \(localhost\)") as caught:
        [*list_files(SLUG)]
    assert "same command again" in caught.value.hint


# what Kaggle refuses


def test_rules_not_accepted(kaggle: Loopback, folder: Path, here: Path) -> None:
    kaggle.serve(SLUG, folder, rules_accepted=False)
    with pytest.raises(AccessError, match="the rules of tiny-tissue are not accepted") as caught:
        download_file(SLUG, TRAIN, here)
    assert f"https://www.kaggle.com/competitions/{SLUG}/rules" in caught.value.hint
    assert len(kaggle.seen("DownloadDataFile")) == 1


def test_forbidden_for_another_reason(served: Loopback) -> None:
    served.fail("ListDataFiles", status=403, message="Permission 'competitions.get' was denied")
    with pytest.raises(AccessError, match=r"Permission 'competitions\.get' was denied") as caught:
        [*list_files(SLUG)]
    assert f"https://www.kaggle.com/competitions/{SLUG}" in caught.value.hint


def test_unknown_competition(served: Loopback) -> None:
    with pytest.raises(AccessError, match="does not know the competition no-such-thing") as caught:
        [*list_files("no-such-thing")]
    assert "pcam fetch no-such-thing --from PATH" in caught.value.hint


def test_unknown_file(served: Loopback, here: Path) -> None:
    with pytest.raises(
        AccessError,
        match=r"lists the file gone\.h5 of the competition tiny-tissue, but does not have it",
    ):
        download_file(SLUG, RemoteFile("gone.h5", 1), here)


def test_kaggles_own_words_are_quoted(served: Loopback) -> None:
    served.fail("ListDataFiles", status=400, message="Page size must be friendly.")
    with pytest.raises(
        KaggleError, match='refused to list the files of tiny-tissue: "Page size must be friendly"'
    ):
        [*list_files(SLUG)]
    assert len(served.seen("ListDataFiles")) == 1


def test_an_error_inside_a_success_is_an_error(served: Loopback) -> None:
    served.fail("ListDataFiles", body=b'{"code": 404, "message": "Not found"}')
    with pytest.raises(AccessError, match="does not know"):
        [*list_files(SLUG)]


def test_refused_credentials_name_their_source(served: Loopback) -> None:
    served.users.clear()
    with pytest.raises(
        CredentialsError, match="refused the credentials in KAGGLE_USERNAME and KAGGLE_KEY"
    ) as caught:
        [*list_files(SLUG)]
    assert "https://www.kaggle.com/settings" in caught.value.hint
    assert len(served.seen("ListDataFiles")) == 1


# what a caller may rely on


def test_stdout_stdin_and_the_client_are_left_as_they_were(
    served: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    from kagglesdk.kaggle_http_client import KaggleHttpClient

    stdin, enter = sys.stdin, KaggleHttpClient.__enter__
    [*list_files(SLUG)]
    assert capsys.readouterr().out == ""
    assert sys.stdin is stdin
    assert KaggleHttpClient.__enter__ is enter


def test_no_error_holds_a_secret(served: Loopback, here: Path) -> None:
    texts: list[str] = []
    for what, act in {
        "storage": lambda: download_file(SLUG, TRAIN, here),
        "DownloadDataFile": lambda: download_file(SLUG, TRAIN, here),
    }.items():
        served.fail(what, reset=True, times=retry.ATTEMPTS)
        with pytest.raises(TransferError) as caught:
            act()
        texts.append(f"{caught.value.message} {caught.value.hint}")
    secrets = ("secret", "0123456789abcdef", "ignature")
    assert not any(secret in text for text in texts for secret in secrets), texts


def test_the_proxy_of_the_environment_is_used_for_every_request(
    served: Loopback, here: Path
) -> None:
    download_file(SLUG, TRAIN, here)
    assert all(seen.path.startswith("http://") for seen in served.requests)
    assert requests.utils.get_environ_proxies("http://localhost")["http"] == served.url


# what only looks like a proper answer


def test_a_compressed_body_is_unpacked_and_never_resumed(
    served: Loopback, folder: Path, here: Path
) -> None:
    """Length, hash and ETag are those of the compressed bytes: none of them may be used."""
    served.fail("storage", gzip=True, truncate=150_000)
    served.fail("storage", gzip=True)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert ranges(served.seen("storage")) == ["", ""]


def test_a_weak_etag_is_not_resumed_with(served: Loopback, folder: Path, here: Path) -> None:
    served.fail("storage", weak_etag=True, truncate=150_000)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert ranges(served.seen("storage")) == ["", ""]
    assert all(
        request.headers["accept-encoding"] == "identity" for request in served.seen("storage")
    )


def test_a_continuation_of_a_file_of_another_size_is_not_taken(
    kaggle: Loopback, folder: Path, here: Path
) -> None:
    kaggle.serve(SLUG, folder, hashes=False)
    kaggle.fail("storage", truncate=150_000)
    kaggle.fail("storage", wrong_end=True)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert len(kaggle.seen("storage")) == 3


def test_a_line_that_gains_nothing_is_given_up(served: Loopback, here: Path) -> None:
    served.fail("storage", truncate=1, times=99)
    with pytest.raises(TransferError):
        download_file(SLUG, TRAIN, here)
    assert len(served.seen("storage")) == retry.ATTEMPTS


def test_a_listing_that_turns_in_circles_ends(served: Loopback) -> None:
    served.page_size = 3
    served.fail("ListDataFiles", patch={"nextPageToken": "3"}, times=99)
    with pytest.raises(TransferError, match="round in circles"):
        [*list_files(SLUG)]
    assert len(served.seen("ListDataFiles")) == 2


@pytest.mark.parametrize("body", [b"{}", b'{"code": 503}', b'{"error": "x"}', b"[" * 100_000])
def test_a_page_that_fails_without_saying_so_is_asked_for_again(
    served: Loopback, body: bytes
) -> None:
    served.page_size = 3
    served.fail("ListDataFiles", skip=1, body=body)
    assert len([*list_files(SLUG)]) == 4


def test_a_size_that_is_none_is_told(served: Loopback) -> None:
    served.fail("ListDataFiles", patch={"files": [{"name": "a.csv", "totalBytes": "abc"}]})
    with pytest.raises(KaggleError, match=r"a\.csv with a size that is none") as caught:
        [*list_files(SLUG)]
    assert caught.value.hint


def test_an_address_that_is_none_is_told_without_its_signature(
    served: Loopback, here: Path
) -> None:
    served.fail(
        "DownloadDataFile", status=302, location="http://[bad/x?sig=secret", body=b"", times=99
    )
    with pytest.raises(TransferError, match="no address") as caught:
        download_file(SLUG, TRAIN, here)
    assert "secret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("what", ["ListDataFiles", "storage"])
def test_an_answer_that_drips_is_not_waited_for_forever(
    served: Loopback, here: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    served.fail(what, slow_headers=0.05, times=2)
    with pytest.raises(TransferError, match="no answer in time"):
        download_file(SLUG, TRAIN, here) if what == "storage" else [*list_files(SLUG)]


@pytest.mark.parametrize("fault", [{"other_version": True}, {"foreign": 1300}])
def test_a_continuation_of_something_else_is_not_taken(
    kaggle: Loopback, folder: Path, here: Path, fault: dict[str, object]
) -> None:
    """A 206 that ignores If-Range; one whose length is not that of its range."""
    kaggle.serve(SLUG, folder, hashes=False)
    kaggle.fail("storage", truncate=150_000)
    kaggle.fail("storage", **fault)
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)


def test_the_size_in_a_range_is_remembered(kaggle: Loopback, folder: Path, here: Path) -> None:
    kaggle.serve(SLUG, folder, hashes=False)
    kaggle.fail("storage", framing="chunked", truncate=50_000)
    kaggle.fail("storage", framing="close", truncate=60_000)
    download_file(SLUG, RemoteFile("train.h5", 0), here)
    assert is_whole(here, folder)


@pytest.mark.parametrize("name", ["train.h5", "nothing.h5"])
def test_a_zip_around_a_file_of_unknown_size_is_undone(
    kaggle: Loopback, folder: Path, here: Path, name: str
) -> None:
    (folder / "nothing.h5").write_bytes(b"")
    kaggle.serve(SLUG, folder, zipped=(name,))
    download_file(SLUG, RemoteFile(name, 0), here)
    assert here.read_bytes() == (folder / name).read_bytes()


def test_netrc_is_not_asked_after_a_redirect_of_the_storage(
    served: Loopback, folder: Path, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / ".netrc").write_text(
        "default login me password secret\n", encoding="utf-8"
    )
    served.other_hosts.add("elsewhere.example")
    served.fail("storage", status=302, location="http://elsewhere.example/train.h5", body=b"")
    download_file(SLUG, TRAIN, here)
    assert is_whole(here, folder)
    assert [request.headers.get("authorization") for request in served.seen("elsewhere")] == [None]


# datasets


def test_a_dataset_is_listed_and_downloaded(kaggle: Loopback, folder: Path, tmp_path: Path) -> None:
    kaggle.serve("someone/tiny-tissue", folder)
    kaggle.page_size = 3
    files = {file.name: file for file in list_files("someone/tiny-tissue")}
    assert sorted(files) == ["extra/my notes.bin", "sample_submission.csv", "test.h5", "train.h5"]
    kaggle.fail("storage", truncate=1000)
    download_file("someone/tiny-tissue", files["extra/my notes.bin"], tmp_path / "notes.bin")
    assert (tmp_path / "notes.bin").read_bytes() == (folder / "extra/my notes.bin").read_bytes()
    download_all("someone/tiny-tissue", tmp_path / "all.zip", inspect=lambda path: None)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert sorted(archive.namelist()) == sorted(files)


def test_an_unknown_dataset(kaggle: Loopback) -> None:
    with pytest.raises(AccessError, match="does not know the dataset someone/nothing") as caught:
        [*list_files("someone/nothing")]
    assert "kaggle.com/datasets/OWNER/SLUG" in caught.value.hint


class TestAnswersThatDoNotEnd:
    """What an API answers is read into memory, but only so much of it."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcam_kit.downloads.http.ANSWER_BYTES", 100_000)

    @pytest.mark.parametrize("status", [200, 404])
    @pytest.mark.parametrize("framing", ["length", "close", "chunked"])
    def test_of_a_list(self, kaggle: Loopback, folder: Path, status: int, framing: str) -> None:
        kaggle.serve(SLUG, folder)
        kaggle.fail("ListDataFiles", body=b" " * 200_000, status=status, framing=framing, times=9)
        with pytest.raises(KaggleError, match="does not end: more than 100,000 bytes"):
            list(list_files(SLUG))
        assert len(kaggle.seen("ListDataFiles")) == 1, "another attempt would be as long"

    def test_of_a_download_that_is_refused(
        self, kaggle: Loopback, folder: Path, tmp_path: Path
    ) -> None:
        kaggle.serve(SLUG, folder)
        file = next(list_files(SLUG))
        kaggle.fail("DownloadDataFile", body=b" " * 200_000, status=404)
        with pytest.raises(KaggleError, match="does not end"):
            download_file(SLUG, file, tmp_path / "x")

    def test_deeply_nested_json(self, kaggle: Loopback, folder: Path) -> None:
        kaggle.serve(SLUG, folder)
        for status in (200, 403):
            kaggle.fail("ListDataFiles", body=b"[" * 50_000, status=status, times=9)
            with pytest.raises(KaggleError, match=r"cannot be read|refused to list"):
                list(list_files(SLUG))
            kaggle.mend()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Content-Length", "9" * 5000),
            ("Content-Length", "\u00b2"),
            ("Content-Range", f"bytes 0-9/{'9' * 5000}"),
        ],
    )
    def test_sizes_in_headers_that_are_none(self, name: str, value: str) -> None:
        response = requests.Response()
        response.status_code = 200
        response.headers[name] = value
        version = parts.version_of(response, SLUG)
        assert version.total == 0
        assert parts.continued_size(response, 0, version) == 0

    def test_a_date_that_is_none(self) -> None:
        for text in ("Mon, 01 Jan 99999999999 00:00:00 GMT", "x", "", "1" * 5000):
            assert retry.read_date(text) is None
