"""Mirrors of folders in storage: addresses, what goes up and down, and what stands in the way.

The storage is a folder, through fsspec's own client of `file://`; a second cache is a second
machine. `tests/e2e/test_remote_folders.py` has a real server.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pcam_kit import files, mirrors
from pcam_kit.errors import ConflictError, RemoteError, UsageError
from pcam_kit.mirrors import remote
from pcam_kit.mirrors.address import parse
from pcam_kit.submissions import Ledger
from pcam_kit.submissions.events import merge_events
from pcam_kit.workflows.sweep.job import job_of, new_job
from pcam_kit.workspace import Workspace

pytest.importorskip("fsspec", reason="the extra s3")

Machine = Callable[[str], Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """`machine("a")`: from here on this is machine a; the folder of its runs."""
    listeners = files.listeners[:]
    (tmp_path / "storage").mkdir()

    def turn_to(name: str) -> Path:
        monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / name))
        monkeypatch.setattr(mirrors, "_mirrors", {})
        return mirrors.folder_of(url_of(tmp_path), "runs")

    yield turn_to
    files.listeners[:] = listeners


def url_of(tmp_path: Path, kind: str = "runs") -> str:
    return f"{(tmp_path / 'storage').as_uri()}/{kind}"


def make_run(runs: Path, name: str = "first") -> Path:
    """The files of a complete run, in the order in which they are written."""
    run = runs / name
    for one in ("config.yaml", "meta.json", "state.npz", "model.keras", "result.json"):
        files.write_bytes(run / one, f"{one} of {name}".encode())
    files.delete(run / "state.npz")
    return run


def there(tmp_path: Path) -> dict[str, str]:
    """What the storage holds of runs."""
    root = tmp_path / "storage" / "runs"
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}


GOOD = {
    "s3://bucket/some/runs/": "s3://bucket/some/runs",
    "S3://bucket": "s3://bucket",
    "gs://bucket/a b": "gs://bucket/a b",
    "file:///somewhere": "file:///somewhere",
    "sftp://me@host/runs": "sftp://me@host/runs",
}


@pytest.mark.parametrize("text", GOOD)
def test_addresses(text: str) -> None:
    assert mirrors.is_url(text)
    assert parse(text).url == GOOD[text]


@pytest.mark.parametrize("text", ["s3://", "s3:///runs", "memory://runs", "sftp://a:b@host/runs"])
def test_addresses_that_are_none(text: str, machine: Machine) -> None:
    with pytest.raises(UsageError) as caught:
        mirrors.folder_of(text, "runs")
    assert caught.value.hint


@pytest.mark.parametrize("text", ["runs", "/some/runs", "C:/runs", "C:\\runs", "C://runs", "a:b"])
def test_paths_stay_paths(text: str, machine: Machine) -> None:
    assert not mirrors.is_url(text)
    assert mirrors.folder_of(text, "runs") == Path(text)
    assert mirrors._mirrors == {}


def test_a_url_that_became_a_path_is_told(machine: Machine) -> None:
    with pytest.raises(UsageError, match="made a Path"):
        Workspace(runs=Path("s3://bucket/runs"))


def test_another_server_is_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one")
    one = parse("s3://bucket/runs").home("runs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://two")
    assert parse("s3://bucket/runs").home("runs") != one


def test_workspaces_take_urls(machine: Machine, tmp_path: Path) -> None:
    machine("a")
    root = (tmp_path / "storage").as_uri()
    below = Workspace.below(root)
    assert below == Workspace.of(f"{root}/data", f"{root}/runs/", f"{root}/submissions")
    assert below == Workspace(*(f"{root}/{kind}" for kind in ("data", "runs", "submissions")))  # type: ignore[arg-type]
    assert mirrors.address_of(below.runs) == f"{root}/runs"
    assert Workspace.below(tmp_path).runs == tmp_path / "runs"


def test_a_run_goes_up_and_comes_down(machine: Machine, tmp_path: Path) -> None:
    run = make_run(machine("a"))
    (run / ".lock").touch()
    files.write_bytes(run / "exports" / "onnx" / "model.onnx", b"onnx")
    assert set(there(tmp_path)) == {
        *("first/config.yaml", "first/meta.json", "first/model.keras", "first/result.json"),
        "first/exports/onnx/model.onnx",
    }
    runs = machine("b")
    mirrors.refresh(runs)
    assert {path.name for path in (runs / "first").iterdir()} == {
        *("config.yaml", "meta.json", "result.json")
    }
    mirrors.bring(runs / "first" / "model.keras")
    assert (runs / "first" / "model.keras").read_bytes() == b"model.keras of first"
    assert not (runs / "first" / "exports").exists()
    mirrors.bring(runs / "first")
    assert (runs / "first" / "exports" / "onnx" / "model.onnx").read_bytes() == b"onnx"


def test_what_changed_or_went_elsewhere(machine: Machine, tmp_path: Path) -> None:
    run = machine("a") / "first"
    files.write_bytes(run / "meta.json", b"1")
    files.write_bytes(run / "state.npz", b"state")
    copy = machine("b") / "first"
    mirrors.refresh(copy.parent)
    mirrors.bring(copy)
    assert (copy / "state.npz").exists()
    run = machine("a") / "first"
    files.write_bytes(run / "meta.json", b"two")
    files.delete(run / "state.npz")
    copy = machine("b") / "first"
    mirrors.refresh(copy.parent)
    assert (copy / "meta.json").read_bytes() == b"two"
    mirrors.bring(copy)
    assert not (copy / "state.npz").exists()
    # all of it deleted in the storage: kept, out of the way
    shutil.rmtree(tmp_path / "storage" / "runs" / "first")
    mirrors.refresh(copy.parent)
    assert not copy.exists()
    assert (copy.parent.parent / "removed" / "first" / "meta.json").read_bytes() == b"two"


def test_neither_side_of_a_conflict_is_touched(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(machine("a"))
    copy = machine("b") / "first"
    mirrors.refresh(copy.parent)
    files.write_bytes(machine("a") / "first" / "meta.json", b"theirs")
    (copy / "meta.json").write_bytes(b"ours")
    runs = machine("b")
    with caplog.at_level(logging.WARNING):
        mirrors.refresh(runs)
        with pytest.raises(ConflictError, match="neither is overwritten") as caught:
            mirrors.bring(copy)
        files.write_bytes(copy / "meta.json", b"ours again")
        with pytest.raises(ConflictError):
            mirrors.flush()
    assert str(copy) in caught.value.hint
    assert there(tmp_path)["first/meta.json"] == "theirs"
    assert (copy / "meta.json").read_bytes() == b"ours again"
    assert (copy / "result.json").exists(), "the rest came"


@pytest.mark.parametrize("damage", ["lost", "damaged"])
def test_an_index_can_be_lost(machine: Machine, tmp_path: Path, damage: str) -> None:
    runs = machine("a")
    make_run(runs)
    index = runs.parent / "index.sqlite"
    index.unlink() if damage == "lost" else index.write_bytes(b"no database" * 100)
    before = there(tmp_path)
    runs = machine("a")
    mirrors.refresh(runs)
    mirrors.bring(runs / "first")
    files.write_bytes(runs / "first" / "meta.json", b"new")
    mirrors.flush()
    assert there(tmp_path) == before | {"first/meta.json": "new"}


def test_an_upload_that_died_after_it_arrived(machine: Machine, tmp_path: Path) -> None:
    """The storage has what was sent, the index does not know, and the file was written again."""
    runs = machine("a")
    make_run(runs)
    mirror = mirrors._mirrors[runs]
    name = "first/meta.json"
    known = mirror._index.get(name)
    files.write_bytes(runs / name, b"second", announced=False)
    own = mirror._index.put

    def dies(given: str, entry: Any) -> None:
        if entry.tag != (known.tag if known else ""):
            raise KeyboardInterrupt
        own(given, entry)

    mirror._index.put = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        mirror.push("first")
    assert there(tmp_path)[name] == "second"
    runs = machine("a")
    files.write_bytes(runs / name, b"third")
    mirrors.flush()
    assert there(tmp_path)[name] == "third"


def test_a_storage_that_is_away(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = machine("a")
    make_run(runs)
    storage = tmp_path / "storage"
    storage.rename(tmp_path / "away")
    storage.write_text("in its place", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        make_run(runs, "second")
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once"
    with pytest.raises(RemoteError, match="whole in") as caught:
        mirrors.flush()
    assert "pcam runs --runs-dir file://" in caught.value.hint
    storage.unlink()
    (tmp_path / "away").rename(storage)
    runs = machine("a")  # the next command
    mirrors.refresh(runs)
    assert {name for name in there(tmp_path) if name.startswith("second/")} == {
        *("second/config.yaml", "second/meta.json", "second/model.keras", "second/result.json")
    }


@pytest.mark.skipif(os.name == "nt", reason="names that Windows has not")
def test_names_from_elsewhere(machine: Machine, tmp_path: Path) -> None:
    make_run(machine("a"))
    evil = ["a:stream", "back\\slash", "nul", "trailing.", ".hidden"]
    for name in evil:
        (tmp_path / "storage" / "runs" / "first" / name).write_text("evil", encoding="utf-8")
    copy = machine("b") / "first"
    mirrors.refresh(copy.parent)
    mirrors.bring(copy)
    assert not {*evil} & {path.name for path in copy.iterdir()}


def test_raw_files_stay_here(machine: Machine, tmp_path: Path) -> None:
    machine("a")
    data = mirrors.folder_of(url_of(tmp_path, "data"), "data")
    names = ["raw/train.h5", "raw.json", "store/images.npy", "store/manifest.json"]
    for name in [*names, "store.0123abcd/manifest.json", "fetched.json"]:
        files.write_bytes(data / "tiny" / name, b"x")
    root = tmp_path / "storage" / "data" / "tiny"
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"store/images.npy", "store/manifest.json", "fetched.json"}


@pytest.mark.parametrize("kept", ["right", "wrong"])
def test_a_store_that_came_in_two_attempts(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """The second goes on from what there is, and the checksums tell when that was wrong."""
    machine("a")
    url, pixels = url_of(tmp_path, "data"), bytes(range(250)) * 20
    store = mirrors.folder_of(url, "data") / "tiny" / "store"
    files.write_bytes(store / "images.npy", pixels)
    sums = {"images.npy": {"sha256": files.sha256_file(store / "images.npy")}}
    files.write_json(store / "manifest.json", {"files": sums})
    machine("b")
    store = mirrors.folder_of(url, "data") / "tiny" / "store"

    def dies(_: Any, name: str, there: Any, path: Path, progress: Any) -> None:
        path.write_bytes(pixels[:1000] if kept == "right" else bytes(1000))
        raise KeyboardInterrupt

    monkeypatch.setattr(remote, "CHUNK", 700)
    with monkeypatch.context() as patch:
        patch.setattr(remote.Remote, "read", dies)
        with pytest.raises(KeyboardInterrupt):
            mirrors.bring(store)
    assert not store.exists()
    if kept == "wrong":
        with pytest.raises(RemoteError, match=r"images\.npy .* is damaged"):
            mirrors.bring(store)
        assert not store.exists()
    mirrors.bring(store)
    assert (store / "images.npy").read_bytes() == pixels


def event(time: str, name: str, **more: Any) -> dict[str, Any]:
    return {"event": name, "time": f"2026-01-01T00:00:{time}+00:00", **more}


def test_ledgers_of_two_clocks() -> None:
    """The second machine's clock is behind: what it says of an intent still comes after it."""
    one = [event("10.000", "written", n=1), event("20.000", "intent", id="x", n=2)]
    two = [event("15.000", "sent", id="x", n=3), event("16.000", "scored", id="x", n=4)]
    merged = merge_events([two, one, [event("12.000", "of a later version", n=0)]])
    assert [item["n"] for item in merged] == [1, 0, 2, 3, 4]


def test_a_ledger_in_storage_has_a_file_for_each_machine(machine: Machine, tmp_path: Path) -> None:
    url = url_of(tmp_path, "submissions")
    for name in ("a", "b", "a"):
        machine(name)
        ledger = Ledger(mirrors.folder_of(url, "submissions") / "ledger.jsonl")
        ledger.record_missing("unknown")
    paths = sorted((tmp_path / "storage" / "submissions").iterdir())
    assert [path.read_text(encoding="utf-8").count("\n") for path in paths] in ([1, 2], [2, 1])
    assert len(ledger._paths()) == 2


def test_google_storage(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client of gs:// talks to an emulator on loopback."""
    pytest.importorskip("gcsfs", reason="the extra gs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="tissue")
    server.start()
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        monkeypatch.setenv("NO_GCE_CHECK", "true")  # no look-up of the machine it runs on
        machine("a")
        run = make_run(mirrors.folder_of("gs://tissue/runs", "runs"))
        files.write_bytes(run / "meta.json", b"again")
        mirrors.flush()
        machine("b")
        copy = mirrors.folder_of("gs://tissue/runs", "runs") / "first"
        mirrors.refresh(copy.parent)
        mirrors.bring(copy)
        assert {path.name for path in copy.iterdir()} == {
            *("config.yaml", "meta.json", "model.keras", "result.json")
        }
        assert (copy / "meta.json").read_bytes() == b"again"
        with pytest.raises(RemoteError, match="there is no nobody") as caught:
            mirrors.refresh(mirrors.folder_of("gs://nobody/runs", "runs"))
        assert "gcloud storage buckets create gs://nobody" in caught.value.hint
    finally:
        server.stop()


def test_jobs_carry_urls(machine: Machine, tmp_path: Path) -> None:
    machine("a")
    place = Workspace.below((tmp_path / "storage").as_uri())
    job = new_job(tmp_path, "quick", (), place, trial=1, workers=1)
    job = job_of(json.loads(json.dumps(asdict(job))))
    assert job.runs == url_of(tmp_path)
    machine("b")
    elsewhere = Workspace.of(data=job.data, runs=job.runs)
    assert (tmp_path / "b") in elsewhere.runs.parents


def test_without_a_url_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys, pcam_kit.cli.app\n"
        "assert not [name for name in sys.modules if name.startswith('pcam_kit.mirrors')]\n"
        "from pcam_kit.workspace import Workspace\n"
        "from pcam_kit import files\n"
        "Workspace()\n"
        "assert files.listeners == []\n"
        "loaded = {'fsspec', 'sqlite3', 'pcam_kit.mirrors.mirror'} & {*sys.modules}\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
