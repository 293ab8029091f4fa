"""SIGKILL and Ctrl-C at any moment: the next command finishes, and a resumed training ends as one
left alone, bit for bit.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import Done, Project, Started, command, tree
from loopback import Loopback

SEED = 20240229
KILLS = 6
# Between them all that carries state from step to step: dropout, batch norm, optimiser, schedule,
# weight average, augmentation.
STATEFUL = """\
# pcam train stateful
competition: tiny
model: {name: report_cnn, filters: [4, 8], units: 8}
augment: {transforms: [{name: ColorJitter, p: 0.8}]}
training: {epochs: 3, batch_size: 32, learning_rate: 1e-2, schedule: one_cycle,
           weight_decay: 0.01, ema: 0.9, label_smoothing: 0.05}
"""
NORMALISED = """\
# pcam train normalised
competition: tiny
model: {name: resnet, widths: [4, 8]}
training: {epochs: 3, batch_size: 32, optimizer: sgd, learning_rate: 1e-2, clip_norm: 1.0}
evaluation: {tta: none}
"""
CONFIGS = {"stateful": STATEFUL, "normalised": NORMALISED}


def outcome(run: Path) -> dict[str, Any]:
    """All that a training leaves but its times and its id: equal means equal bit for bit."""
    left: dict[str, Any] = {}
    with zipfile.ZipFile(run / "model.keras") as archive:
        path = Path(archive.extract("model.weights.h5", run.parent.parent / f"weights-{run.name}"))
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: left.update(
                {name: item[...].tobytes()} if isinstance(item, h5py.Dataset) else {}
            )
        )
    assert left, "no weights were found"
    with np.load(run / "predictions" / "valid.npz") as arrays:
        left |= {name: arrays[name].tobytes() for name in arrays.files if name != "seal"}
    lines = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    left["metrics"] = [
        {name: value for name, value in line.items() if name != "seconds"} for line in lines
    ]
    left["result"] = {
        name: value
        for name, value in json.loads((run / "result.json").read_text(encoding="utf-8")).items()
        if name != "seconds"
    }
    return left


@pytest.fixture(scope="session")
def left_alone(
    finished: Project, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """The outcome of a config's training that nobody disturbs, in a process of its own."""
    made: dict[str, dict[str, Any]] = {}

    def train(config: str) -> dict[str, Any]:
        if config not in made:
            folder = tmp_path_factory.mktemp("left-alone")
            (folder / f"{config}.yaml").write_text(CONFIGS[config], encoding="utf-8")
            args = ("train", folder / f"{config}.yaml", "--runs-dir", folder / "runs")
            finished.pcam(*args).ok()
            (run,) = (folder / "runs").iterdir()
            assert not (run / "state.npz").exists(), "a complete run needs no checkpoint"
            made[config] = outcome(run)
        return made[config]

    return train


@pytest.fixture(params=CONFIGS)
def trained(
    request: pytest.FixtureRequest, started: Project, left_alone: Callable[[str], dict[str, Any]]
) -> tuple[Project, str, dict[str, Any]]:
    """A project, a config's name, and the outcome that its training shall have."""
    (started.path / "configs" / f"{request.param}.yaml").write_text(
        CONFIGS[request.param], encoding="utf-8"
    )
    return started, request.param, left_alone(request.param)


@pytest.mark.slow
def test_killed_before_every_kind_of_write_and_resumed_each_time(
    trained: tuple[Project, str, dict[str, Any]],
) -> None:
    """A run dies again and again, each time one write later: before the model, the metrics, the
    state, the predictions, the result.
    """
    project, config, expected = trained
    assert (
        project.quick(
            "train", config, hook={"on": "rename", "at": 2, "signal": signal.SIGKILL}
        ).code
        == -signal.SIGKILL
    )
    (run,) = project.runs()
    deaths = 1
    for at in itertools.count(3):
        assert not (run / "result.json").exists()
        project.quick("predict", run.name).refused(4, run.name, "not complete", "--resume")
        done = project.quick(
            "train", "--resume", hook={"on": "rename", "at": at, "signal": signal.SIGKILL}
        )
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.err
        deaths += 1
    assert deaths >= 5
    assert outcome(run) == expected
    assert project.runs() == [run]
    assert [path.name for path in run.rglob(".partial-*")] == [], (
        "what killed writers left is cleared away"
    )


@pytest.mark.slow
def test_stopped_inside_an_epoch_and_resumed(trained: tuple[Project, str, dict[str, Any]]) -> None:
    """Ctrl-C, SIGTERM and SIGHUP save the step in hand; a later SIGKILL in that epoch goes back to
    it.
    """
    project, config, expected = trained
    done = project.quick(
        "train", config, hook={"on": "step", "at": 4, "signal": signal.SIGINT}
    ).refused(130, "epoch 1", "step 4 of 9")
    (run,) = project.runs()
    assert f"pcam train --resume {run.name}" in done.err
    assert (run / "state.npz").is_file()
    project.quick("train", "--resume", hook={"on": "step", "at": 3, "signal": signal.SIGKILL})
    stopped = project.quick(
        "train", "--resume", run.name, hook={"on": "step", "at": 2, "signal": signal.SIGTERM}
    )
    # the three steps before the SIGKILL were not saved
    stopped.refused(130, "epoch 1", "step 6 of 9")
    project.quick(
        "train", "--resume", run.name[-4:], hook={"on": "step", "at": 12, "signal": signal.SIGHUP}
    ).refused(130, "epoch 2")
    resumed = project.quick("train", "--resume", "--json")
    assert resumed.json["run"] == f"runs/{run.name}"
    assert outcome(run) == expected
    assert len(json.loads((run / "meta.json").read_text(encoding="utf-8"))["resumed"]) == 4
    project.quick("train", "--resume").refused(4, "no unfinished run")
    before = tree(run)
    assert "complete already" in project.quick("train", "--resume", run.name).ok().err
    assert tree(run) == before


@pytest.mark.slow
def test_stopped_after_the_last_step_of_an_epoch(
    trained: tuple[Project, str, dict[str, Any]],
) -> None:
    project, config, expected = trained
    project.quick("train", config, hook={"on": "step", "at": 9, "signal": signal.SIGINT}).refused(
        130, "step 9 of 9"
    )
    project.quick(
        "train", "--resume", hook={"on": "step", "at": 18, "signal": signal.SIGINT}
    ).refused(130, "epoch 3", "step 9 of 9")
    project.quick("train", "--resume").ok()
    assert outcome(project.runs()[0]) == expected


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own(started: Project) -> None:
    """As on a terminal, in the middle of whatever goes on some time after the run began."""
    (started.path / "configs" / "long.yaml").write_text(
        STATEFUL.replace("epochs: 3", "epochs: 500"), encoding="utf-8"
    )
    process = subprocess.Popen(
        command("train", "long"),
        cwd=started.path,
        env=started.env,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 120
    while not list(started.path.glob("runs/*/state.npz")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    Done(process.returncode, "", err).refused(130, "nothing is lost", "pcam train --resume")
    (run,) = started.runs()
    state = np.load(run / "state.npz")
    progress = json.loads(str(state["progress"]))
    assert 1 <= progress["epoch"] < 500
    done = started.quick("train", "--resume", hook={"on": "step", "at": 2, "signal": signal.SIGINT})
    done.refused(
        130, f"epoch {progress['epoch'] + 1 if progress['step'] < 8 else progress['epoch'] + 2}"
    )


def moments(work: Callable[[], Started]) -> list[float]:
    """Seeded moments, spread over the time the command takes when it is left alone: the shorter of
    two runs.
    """
    whole = float("inf")
    for _ in range(2):
        began = time.monotonic()
        assert work().wait().code == 0
        whole = min(whole, time.monotonic() - began)
    dice = random.Random(SEED)
    return [whole * (i + dice.random()) / KILLS for i in range(KILLS)]


def kill_at(started: Started, moment: float) -> bool:
    """Whether the command was still there to be killed after `moment` seconds."""
    time.sleep(moment)
    started.kill(signal.SIGKILL)
    done = started.wait()
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


def lab_files(folder: Path, n: int) -> Path:
    """Raw files in the lab's layout with noise for patches: `n` to train on, half positive."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    for name, count in (("train", n), ("valid", 40), ("test_x", 40)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["x"] = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
            if name != "test_x":
                file["y"] = np.arange(count, dtype=np.uint8) % 2
    return folder


def test_fetch_killed_before_every_rename(
    started: Project, kaggle: Loopback, account: dict[str, str], tmp_path: Path
) -> None:
    """Every moment at which a file or folder comes to be, one after the other."""
    assert started.warm is not None
    kaggle.serve("tnm-112-lab-2-2024", lab_files(tmp_path / "raw", 40))
    args = ("fetch", "tnm112", "--json")
    (tmp_path / "whole").mkdir()
    whole = started.warm.run(args, tmp_path / "whole", account).json
    for at in itertools.count(1):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        done = started.warm.run(
            args, folder, account, {"on": "rename", "at": at, "signal": signal.SIGKILL}
        )
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.err
        assert started.warm.run(args, folder, account).json == whole, f"killed before rename {at}"
        home = folder / "data" / "tnm-112-lab-2-2024"
        assert sorted(path.name for path in home.iterdir()) == [
            ".lock",
            "fetched.json",
            "raw",
            "raw.json",
            "store",
        ]
        assert [path.name for path in home.rglob("*") if ".part" in path.name] == []
    assert at > 5, "three files, a list of them, the store and the record"


def test_a_part_left_beside_a_whole_file_is_cleared(
    started: Project, kaggle: Loopback, account: dict[str, str], tmp_path: Path
) -> None:
    """A kill between the rename of a finished download and the deletion of its notes: a window that
    random kills rarely hit.
    """
    assert started.warm is not None
    kaggle.serve("tnm-112-lab-2-2024", lab_files(tmp_path / "raw", 40))
    args = ("fetch", "tnm112", "--json")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    whole = started.warm.run(args, folder, account).json
    home = folder / "data" / "tnm-112-lab-2-2024"
    shutil.rmtree(home / "store")
    (home / "raw.json").unlink()
    (home / "raw" / "valid.h5.part.json").write_text("{}", encoding="utf-8")
    (home / "raw" / "valid.h5.part").write_bytes(b"old")
    assert started.warm.run(args, folder, account).json == whole
    assert [path.name for path in home.rglob("*") if ".part" in path.name] == []


@pytest.mark.slow
def test_train_killed_at_random_moments(started: Project) -> None:
    warm = started.warm
    assert warm is not None
    args = (
        "train",
        "quick",
        "--set",
        "competition=tiny",
        "--set",
        "training.epochs=2",
        "--set",
        "augment.d4=false",
    )
    at = moments(lambda: warm.start(args, started.path, started.env))
    first, second = started.runs()
    expected = outcome(first)
    assert outcome(second) == expected
    killed = 0
    for number, moment in enumerate(at):
        before = set(started.runs())
        killed += kill_at(warm.start(args, started.path, started.env), moment)
        # the next command: alternately the same again, a run of its own, and --resume of what was
        # left, if a run had begun
        begun = [
            run
            for run in started.runs()
            if run not in before
            and (run / "meta.json").is_file()
            and not (run / "result.json").exists()
        ]
        resume = number % 2 == 0 and begun
        done = warm.run(
            ("train", "--resume", "--json") if resume else (*args, "--json"),
            started.path,
            started.env,
        )
        run = started.path / done.json["run"]
        assert not resume or run in begun
        assert outcome(run) == expected, f"killed after {moment:.3f} s"
    assert killed >= 3, "the kills came too late to mean anything"
    listed = started.quick("runs", "--json").json["runs"]
    assert all(
        run["complete"] == (started.path / run["run"] / "result.json").is_file() for run in listed
    )


@pytest.mark.slow
def test_predict_killed_at_random_moments(project: Project) -> None:
    warm = project.warm
    assert warm is not None
    run = next(path for path in project.runs() if "-tiny0-" in path.name)
    args = ("predict", run.name, "--tta", "d4", "--out", "submissions/d4.csv", "--json")
    csv = project.path / "submissions" / "d4.csv"

    def prepare() -> None:
        csv.unlink(missing_ok=True)
        for path in (run / "predictions").iterdir():
            path.unlink()

    def work() -> Started:
        prepare()
        return warm.start(args, project.path, project.env)

    at = moments(work)
    whole, said = csv.read_bytes(), warm.run(args, project.path, project.env).json
    killed = 0
    for moment in at:
        killed += kill_at(work(), moment)
        assert not csv.exists() or csv.read_bytes() == whole
        assert warm.run(args, project.path, project.env).json == said, (
            f"killed after {moment:.3f} s"
        )
        assert csv.read_bytes() == whole
        assert project.quick("submit", "--dry-run", "--json").json["status"] == "dry-run"
    assert killed >= 3, "the kills came too late to mean anything"


def test_ctrl_c_in_fetch(
    empty: Project, kaggle: Loopback, account: dict[str, str], tmp_path: Path
) -> None:
    kaggle.serve("tnm-112-lab-2-2024", lab_files(tmp_path / "raw", 40))
    kaggle.fail("storage", name="train.h5", wait=30.0)
    process = subprocess.Popen(
        command("fetch", "tnm112", "--json"),
        cwd=empty.path,
        env=account,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job, as CI may be, ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        encoding="utf-8",
    )
    deadline = time.monotonic() + 60
    whole = [
        empty.path / "data" / "tnm-112-lab-2-2024" / "raw" / name
        for name in ("valid.h5", "test_x.h5")
    ]
    while not all(path.is_file() for path in whole):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    Done(process.returncode, out, err).refused(130, "stopped", "run the same command again")
    assert empty.pcam("fetch", "tnm112", "--json", **account).json["splits"]["train"] == {
        "n": 40,
        "positive": 20,
    }
    names = [request.json["fileName"] for request in kaggle.seen("DownloadDataFile")]
    assert sorted(names) == ["test_x.h5", "train.h5", "train.h5", "valid.h5"], (
        "what was whole is not downloaded again"
    )
