"""Data, runs and submissions in storage: two machines, one that dies, a server that goes away.

The real client of S3 talks to a real server on loopback.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, Project, Started, clean_env
from loopback import Loopback
from test_killed import outcome

pytest.importorskip("s3fs", reason="the extra s3")
pytest.importorskip("moto.server", reason="a server that speaks S3")

from storage import BUCKET, Storage

PLACE = f"s3://{BUCKET}/team"
SLOW = """\
# pcam train slow
competition: tiny
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 10, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: none}
"""
SMALL_PIECES = {
    "set": {"pcam_kit.mirrors.remote.CHUNK": 50_000, "pcam_kit.mirrors.mirror.CHUNK": 50_000}
}


@pytest.fixture(scope="module")
def server() -> Iterator[Storage]:
    storage = Storage()
    storage.start()
    yield storage
    storage.stop()


@pytest.fixture
def storage(server: Storage) -> Iterator[Storage]:
    """The server with an empty bucket."""
    server.client().create_bucket(Bucket=BUCKET)
    server.puts.clear()
    yield server
    server.before_put, server.cut = lambda _: None, ""
    if not server.is_up:
        server.start()
    client = server.client()
    for key in server.objects():
        client.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def machine(finished: Project, storage: Storage, tmp_path: Path) -> Callable[..., Project]:
    """`machine("a")`: one with a cache of its own, whose three folders are in the bucket."""

    def make(name: str, **more: str) -> Project:
        folder = tmp_path / name
        shutil.copytree(finished.path / "configs", folder / "configs")
        (folder / "configs" / "slow.yaml").write_text(SLOW, encoding="utf-8")
        env = {
            "PCAM_DATA_DIR": f"{PLACE}/data",
            "PCAM_RUNS_DIR": f"{PLACE}/runs",
            "PCAM_SUBMISSIONS_DIR": f"{PLACE}/submissions",
            "PCAM_CACHE_DIR": str(folder / "cache"),
        }
        env = clean_env(folder / "home") | storage.env | env | more
        return Project(folder, env, finished.warm)

    return make


def runs_of(project: Project) -> list[dict[str, Any]]:
    return project.quick("runs", "--sort", "newest", "--json").json["runs"]


def files_of(project: Project, kind: str) -> Path:
    """The local folder of a mirror."""
    (home,) = (project.path / "cache" / "mirrors").glob(f"*-team-{kind}-*")
    return home / "files"


def until(look: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return found


def test_what_one_machine_makes_the_other_has(
    machine: Callable[..., Project], storage: Storage
) -> None:
    a, b = machine("a"), machine("b")
    store = a.quick("fetch", "tiny", "--json").json
    run = Path(a.quick("train", "quick", "--json").json["run"])
    keys = [key.removeprefix("team/") for key in storage.puts]
    assert keys[:4] == [
        "data/tiny/store/images.npy",
        "data/tiny/store/index.npz",
        "data/tiny/store/manifest.json",
        "data/tiny/fetched.json",
    ]
    assert keys[4:6] == [f"runs/{run.name}/config.yaml", f"runs/{run.name}/meta.json"]
    assert keys[-1] == f"runs/{run.name}/result.json", "it makes the run complete"
    left = {
        key.removeprefix(f"team/runs/{run.name}/") for key in storage.objects() if "runs" in key
    }
    assert left == {
        *("config.yaml", "meta.json", "metrics.jsonl", "model.keras", "result.json"),
        "predictions/valid.npz",
    }
    (seen,) = runs_of(b)
    assert (Path(seen["run"]).name, seen["complete"]) == (run.name, True)
    copy = files_of(b, "runs") / run.name
    assert not (copy / "model.keras").exists(), "what a list does not show is not downloaded"
    there = b.quick("predict", "--json", hook=SMALL_PIECES).json
    assert there["rows"] == 60
    assert outcome(copy) == outcome(run)
    assert b.quick("fetch", "tiny", "--json").json["fingerprint"] == store["fingerprint"]
    before = len(storage.puts)
    assert b.quick("evaluate", run.name, "--json").code == 0
    assert len(runs_of(a)) == 1
    assert len(storage.puts) == before, "what is the same is not uploaded again"
    # the predictions of b, and its CSV
    assert a.quick("submit", "--dry-run", "--json").json["status"] == "dry-run"


def test_a_run_that_dies_at_each_upload_is_resumed_by_the_other_machine(
    machine: Callable[..., Project], storage: Storage, started: Project
) -> None:
    """SIGKILL during the 3rd upload; then another goes on, and dies during a later one of its own.

    What the one that died had written and not uploaded is not lost: it is told, and left alone.
    """
    settings = ("--set", "training.epochs=2", "--set", "competition=tiny")
    started.quick("train", "quick", *settings).ok()
    (alone,) = started.runs()
    machines, onlooker = [machine(name) for name in "abcde"], machine("onlooker")
    machines[0].quick("fetch", "tiny").ok()
    deaths = 0
    for number, place in enumerate(machines):
        command = ["train", "--resume"] if number else ["train", "quick", *settings]
        storage.puts.clear()
        before = set(storage.objects())
        process: list[Started] = []

        def kill(_: str, at: int = (2, 1, 3, 5, 8)[number], process: Any = process) -> None:
            if len(storage.puts) == at:
                process[0].kill(signal.SIGKILL)
                time.sleep(0.1)

        storage.before_put = kill
        assert place.warm is not None
        process.append(place.warm.start(command, place.path, place.env))
        done = process[0].wait(60)
        storage.before_put = lambda _: None
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.err
        deaths += 1
        results = [key for key in storage.objects() if key.endswith("result.json")]
        (run,) = runs_of(onlooker)
        assert run["complete"] == bool(results)
        if results:  # it came with the request that was under way
            break
        assert before <= set(storage.objects())
    assert deaths >= 3
    (run,) = runs_of(onlooker)
    assert run["complete"]
    onlooker.quick("predict", "--json").ok()
    assert outcome(files_of(onlooker, "runs") / Path(run["run"]).name) == outcome(alone)
    assert not any(key.endswith("state.npz") for key in storage.objects())
    # the first has a part of it, and says so where that differs
    assert len(runs_of(machines[0])) == 1


def test_a_store_of_which_a_part_is_there_is_none(
    machine: Callable[..., Project], storage: Storage
) -> None:
    a, b = machine("a"), machine("b")
    process: list[Started] = []

    def kill(key: str) -> None:
        if key.endswith("index.npz"):
            process[0].kill(signal.SIGKILL)
            time.sleep(0.1)

    storage.before_put = kill
    assert a.warm is not None
    process.append(a.warm.start(["fetch", "tiny"], a.path, a.env))
    assert process[0].wait(60).code == -signal.SIGKILL
    storage.before_put = lambda _: None
    assert not any(key.endswith("manifest.json") for key in storage.objects())
    b.quick("train", "quick").refused(2, "no competition's data", "pcam fetch")
    a.quick("fetch", "tiny").ok()  # it has the store, and uploads the rest
    # a download that ends early is no store, and the next one is
    storage.cut = "images.npy"
    b.quick("train", "quick", "--set", "competition=tiny").refused(8, "did not come whole")
    storage.cut = ""
    assert not (files_of(b, "data") / "tiny" / "store").exists()
    b.quick("train", "quick", "--set", "competition=tiny").ok()


def test_a_store_that_was_replaced(machine: Callable[..., Project], storage: Storage) -> None:
    a, b = machine("a"), machine("b")
    a.quick("fetch", "tiny").ok()
    run = Path(b.quick("train", "quick", "--json").json["run"])
    key = "team/data/tiny/store/manifest.json"
    storage.puts.clear()
    profile = a.path / "configs" / "competitions" / "tiny.yaml"
    text = profile.read_text(encoding="utf-8")
    profile.write_text(text.replace("train: 300", "train: 200"), encoding="utf-8")
    seen: list[bool] = []
    storage.before_put = lambda name: seen.append(key in storage.objects())
    a.quick("fetch", "tiny").ok()
    assert not any(seen[:2]), "without its manifest nobody takes the mixture for a store"
    b.quick("evaluate", run.name, "--split", "train").refused(4, "was trained on a store", "--from")


def test_the_server_goes_away_while_a_network_is_trained(
    machine: Callable[..., Project], storage: Storage
) -> None:
    a, b = machine("a"), machine("b")
    a.quick("fetch", "tiny").ok()
    assert a.warm is not None
    training = a.warm.start(["train", "slow"], a.path, a.env)
    until(lambda: [key for key in storage.objects() if key.endswith("metrics.jsonl")], "an epoch")
    storage.stop()
    done = training.wait(120)
    assert done.code == 8, done.err
    assert "Traceback" not in done.err
    assert done.err.count("stays here for now") == 1, "one warning"
    assert "validation AUC" in done.err, "the training goes on to its end"
    assert f"pcam runs --runs-dir {PLACE}/runs" in done.err
    (run,) = files_of(a, "runs").iterdir()
    assert str(run.parent) in done.err
    assert (run / "result.json").is_file()
    b.quick("runs").refused(8, "no answer", "nothing on this machine is lost")
    storage.start()
    assert [run["complete"] for run in runs_of(b)] == [False]
    assert [run["complete"] for run in runs_of(a)] == [True]
    assert [run["complete"] for run in runs_of(b)] == [True]
    b.quick("predict", "--json").ok()
    assert outcome(files_of(b, "runs") / run.name) == outcome(run)
    assert not any(key.endswith("state.npz") for key in storage.objects())


def test_both_went_on_with_a_run(machine: Callable[..., Project], storage: Storage) -> None:
    a, b = machine("a"), machine("b")
    a.quick("fetch", "tiny").ok()
    name = Path(a.quick("train", "quick", "--json").json["run"]).name
    b.quick("predict", "--json").ok()
    key = f"team/runs/{name}/meta.json"
    mine = files_of(b, "runs") / name / "meta.json"
    theirs = storage.objects()[key].replace(b'"started"', b'"theirs": 1, "started"')
    storage.client().put_object(Bucket=BUCKET, Key=key, Body=theirs)
    text = mine.read_text(encoding="utf-8").replace('"started"', '"mine": 1, "started"')
    mine.write_text(text, encoding="utf-8")
    listed = b.quick("runs", "--json")
    assert "neither is overwritten" in listed.err
    assert str(mine.parent) in listed.err
    assert len(listed.json["runs"]) == 1
    assert (storage.objects()[key], mine.read_text(encoding="utf-8")) == (theirs, text)
    shutil.move(mine.parent, b.path / "kept")
    assert "neither is overwritten" not in b.quick("runs", "--json").err
    assert mine.read_bytes() == theirs


@pytest.fixture
def submitting(
    kaggle: Loopback,
    account: dict[str, str],
    machine: Callable[..., Project],
    finished: Project,
    storage: Storage,
    tmp_path: Path,
) -> tuple[Loopback, Project, Project]:
    """A Kaggle, and two machines with an account there."""
    solution = tmp_path / "solution.csv"
    rows = "".join(f"{number},{number % 2}\n" for number in range(60))
    solution.write_text(f"id,class\n{rows}", encoding="utf-8")
    kaggle.serve("tiny", finished.path / "configs", solution, pending_polls=0)
    theirs = {name: value for name, value in account.items() if name.startswith("KAGGLE_")}
    proxies = {name: value for name, value in account.items() if name.endswith("_proxy")}
    theirs |= proxies | {"no_proxy": storage.url.removeprefix("http://")}
    return kaggle, machine("a", **theirs), machine("b", **theirs)


def events(storage: Storage) -> dict[str, list[str]]:
    """The events of each ledger in the bucket."""
    return {
        key: [json.loads(line)["event"] for line in value.decode().splitlines()]
        for key, value in storage.objects().items()
        if "ledger" in key
    }


def test_one_ledger_of_two_machines(
    submitting: tuple[Loopback, Project, Project], storage: Storage
) -> None:
    kaggle, a, b = submitting
    a.quick("fetch", "tiny").ok()
    a.quick("train", "quick").ok()
    a.quick("predict").ok()
    a.quick("submit", "--yes", "--json").ok()
    b.quick("submit", "--yes").refused(6, "were submitted to tiny", "--again")
    b.quick("predict", "--tta", "d4").ok()
    b.quick("submit", "--yes", "--json").ok()
    assert len(kaggle.seen("CreateSubmission")) == 2
    both = [
        [item["status"] for item in place.quick("submissions", "--json").json["submissions"]]
        for place in (a, b)
    ]
    assert both == [["complete"] * 2] * 2
    assert len(events(storage)) == 2, "each machine has a ledger of its own"
    # what cannot be kept is not sent
    a.quick("predict", "--assume-positive", "0.3").ok()
    storage.before_put = lambda key: storage.stop() if "ledger" in key else None
    a.quick("submit", "--yes").refused(8, "no answer")
    assert len(kaggle.seen("CreateSubmission")) == 2
    storage.before_put = lambda _: None
    storage.start()
    a.quick("submit", "--yes", "--json").ok()
    assert len(kaggle.seen("CreateSubmission")) == 3
    listed = b.quick("submissions", "--json").json["submissions"]
    # the one that was not sent counts as failed
    assert sorted(item["status"] for item in listed) == [*["complete"] * 3, "failed"]


@pytest.mark.slow
def test_seeds_side_by_side(machine: Callable[..., Project], storage: Storage) -> None:
    a = machine("a")
    a.quick("fetch", "tiny").ok()
    a.pcam("train", "quick", "--seeds", "2", "--jobs", "2").ok()
    assert [run["complete"] for run in runs_of(machine("b"))] == [True, True]
    assert not any(".side-by-side" in key for key in storage.objects())


BAD: dict[str, tuple[str, dict[str, str], int, tuple[str, ...]]] = {
    "no such bucket": ("s3://nobody/runs", {}, 8, ("no nobody", "aws s3 mb s3://nobody")),
    "no bucket": ("s3://", {}, 2, ("names no bucket", "s3://BUCKET/PREFIX")),
    "unknown protocol": ("s4://b/runs", {}, 2, ("nothing is known about s4://", "gs://BUCKET")),
    "another package": ("abfs://b/runs", {}, 2, ("not installed", "adlfs")),
    "nobody signed in": (
        PLACE,
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        8,
        ("not allowed", "aws configure"),
    ),
    "no network": (PLACE, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 8, ("no answer", "network")),
    "a password": ("sftp://me:secret@host/runs", {}, 2, ("password", "fsspec")),
    "of one process": ("memory://runs", {}, 2, ("gone when the process ends",)),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_addresses(what: str, machine: Callable[..., Project]) -> None:
    url, more, code, words = BAD[what]
    a = machine("a")
    done = a.quick("runs", "--runs-dir", url, **more).refused(code, *words)
    assert "secret" not in done.err


def test_wrong_credentials(machine: Callable[..., Project], storage: Storage) -> None:
    a = machine("a", AWS_ACCESS_KEY_ID="nobody")
    with storage.strict():
        a.quick("runs").refused(8, "not allowed", "AWS_ACCESS_KEY_ID")


def test_without_the_extra(machine: Callable[..., Project], tmp_path: Path) -> None:
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "s3fs.py").write_text("raise ImportError('s3fs')", encoding="utf-8")
    done: Done = machine("a").pcam("runs", PYTHONPATH=str(tmp_path / "shadow"))
    done.refused(2, "not installed", 'pip install "pcam-kit[s3]"')
