"""Files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pcam_kit import files
from pcam_kit.errors import StorageError


def test_writing_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.bin"
    files.write_bytes(path, b"old")
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.EIO, "broken")]
)
def test_an_error_inside_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with files.writing(path) as temporary:
            assert temporary.parent == path.parent, "a rename must not cross disks"
            temporary.write_bytes(b"half of the n")
            raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_while_writing_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(b"old")
    with files.writing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.suffix == ".keras"
    assert path.read_bytes() == b"new"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with files.writing(path) as one, files.writing(path) as two:
        assert one != two
        one.write_bytes(b"1")
        two.write_bytes(b"2")
    assert path.read_bytes() == b"1", "the one that ended last"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "broken"),
    ],
)
def test_storage_errors_name_the_file(tmp_path: Path, number: int, words: str) -> None:
    error = files.storage_error(OSError(number, "broken"), tmp_path / "a.bin")
    assert words in error.message
    assert str(tmp_path / "a.bin") in error.message
    assert error.exit_code == 8


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (32, "another program has it open"),
        (5, "another program has it open, or you may not use that folder"),
        (3, "the path is longer than 259 characters"),
    ],
)
def test_storage_errors_of_windows(code: int, words: str, tmp_path: Path) -> None:
    raised = PermissionError(errno.EACCES, "broken")
    raised.winerror = code  # type: ignore[attr-defined]
    path = tmp_path / ("long" * 60)
    assert words in files.storage_error(raised, path).message
    assert files.storage_error(raised, path).hint


@pytest.mark.parametrize("times", [1, 1000])
def test_a_rename_waits_for_a_virus_scanner(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RENAME_SECONDS", 0.2)
    replace, left = Path.replace, times

    def refusing(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left >= 0:
            raised = PermissionError(errno.EACCES, "broken")
            raised.winerror = 32  # type: ignore[attr-defined]
            raise raised
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refusing)
    path = tmp_path / "a.bin"
    if times == 1:
        files.write_bytes(path, b"new")
        assert path.read_bytes() == b"new"
    else:
        with pytest.raises(StorageError, match=r"write .*a\.bin: another program has it open"):
            files.write_bytes(path, b"new")
        assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"auc": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"auc": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"auc": 0.5}


def test_a_half_line_stays_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    files.append_json_line(path, {"a": 1})
    with open(path, "ab") as handle:
        handle.write(b'{"a": 2, "b"')  # a writer was killed here
    files.append_json_line(path, {"a": 3})
    assert files.read_json_lines(path) == ([{"a": 1}, {"a": 3}], 1)
    assert path.read_bytes().endswith(b'\n{"a": 3}\n')


def test_lines_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert files.read_json_lines(tmp_path / "none.jsonl") == ([], 0)


def append_many(path: Path, writer: int) -> None:
    for i in range(50):
        files.append_json_line(path, {"writer": writer, "i": i, "padding": "x" * 5000})


def test_writers_side_by_side_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append_many, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    values, bad = files.read_json_lines(path)
    assert bad == 0
    assert sorted((value["writer"], value["i"]) for value in values) == [
        (writer, i) for writer in range(3) for i in range(50)
    ]


def test_sha256_with_progress(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "a.bin").write_bytes(data)
    told: list[int] = []
    assert files.sha256_file(tmp_path / "a.bin", told.append) == hashlib.sha256(data).hexdigest()
    assert sum(told) == len(data)
    assert len(told) > 1


def test_clear_partial_takes_only_what_killed_writers_left(tmp_path: Path) -> None:
    left = tmp_path / "predictions" / f"{files.PARTIAL}0123abcd.valid.npz"
    files.write_bytes(tmp_path / "predictions" / "valid.npz", b"whole")
    left.write_bytes(b"half")
    files.clear_partial(tmp_path)
    assert not left.exists()
    assert (tmp_path / "predictions" / "valid.npz").read_bytes() == b"whole"
    files.clear_partial(tmp_path / "none")


HOLD = """
import sys, time
from pathlib import Path
from pcam_kit.files import locked
with locked(Path(sys.argv[1]), "holding it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    lock = tmp_path / "new" / ".lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert not files.is_locked(lock)
    assert not lock.exists(), "asking makes no file"
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert files.is_locked(lock)
        with (
            pytest.raises(StorageError, match="another process is training it") as caught,
            files.locked(lock, "training it"),
        ):
            pytest.fail("locked twice")
        assert str(lock) in caught.value.message
    finally:
        other.kill()
        other.communicate()
    with files.locked(lock, "training it"):
        pass
    with files.locked(lock, "training it"):  # and freed when left
        assert files.is_locked(lock), "in this process, too"
    assert not files.is_locked(lock)
    assert lock.read_bytes() == b"", "it is never deleted: others may wait for it"


@pytest.fixture
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_warned", set())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.usefixtures("fresh_warnings")
def test_a_file_system_without_locks(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with files.locked(tmp_path / ".lock", "training it"):
            files.append_json_line(tmp_path / "a.jsonl", {"a": 1})
    assert not files.is_locked(tmp_path / ".lock"), "nobody can hold it"
    assert files.read_json_lines(tmp_path / "a.jsonl") == ([{"a": 1}, {"a": 1}], 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "this file system has no locks" in caplog.text


def test_another_error_of_a_lock_is_no_lack_of_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match="broken"), files.locked(tmp_path / ".lock", "x"):
        pytest.fail("not locked at all")


@pytest.mark.skipif(files.os.name == "nt", reason="Windows opens no folders")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
@pytest.mark.usefixtures("fresh_warnings")
def test_a_file_system_that_syncs_no_folders(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for text in (b"1", b"2"):
        files.write_bytes(tmp_path / "a.bin", text)
    assert (tmp_path / "a.bin").read_bytes() == b"2"
    assert caplog.text.count("fsync of a folder") == 1
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(StorageError, match="broken"):
        files.write_bytes(tmp_path / "a.bin", b"3")
