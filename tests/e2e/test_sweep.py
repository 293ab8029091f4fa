"""`pcam sweep` with real trainings: processes of this machine, and a real Ray cluster on it.
Workers and sweeps are killed on the way.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import Project, command

pytest.importorskip("optuna", reason="the extra sweep")

CONFIG = """\
# pcam train slow
competition: tiny
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 24, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: none}
"""
SWEEP = """\
config: slow
search: {training.learning_rate: [1e-3, 1e-2]}
method: grid
early_stop: null
"""
SECONDS = 120.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them"),
]


@pytest.fixture
def place(project: Project) -> Project:
    (project.path / "configs" / "slow.yaml").write_text(CONFIG, encoding="utf-8")
    (project.path / "rates.yaml").write_text(SWEEP, encoding="utf-8")
    return project


def start(project: Project, *options: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("sweep", "rates.yaml", "--json", *options),
        cwd=project.path,
        env=project.env | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen in {SECONDS:.0f} s")


def epochs(project: Project, trial: int) -> int:
    path = project.path / "sweeps" / "rates" / "trials" / f"{trial:05d}-0.epochs.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def worker(project: Project, name: str) -> psutil.Process | None:
    """The process of a job of this project."""
    for process in psutil.process_iter():
        try:
            if name in " ".join(process.cmdline()) and process.cwd() == str(project.path):
                return process
        except psutil.Error:
            continue
    return None


def check(project: Project, output: str) -> None:
    """Both trials are complete, each in one run, trained in as many epochs as it should be."""
    result = json.loads(output)
    assert [trial["state"] for trial in result["trials"]] == ["complete", "complete"]
    rates = [trial["values"]["training.learning_rate"] for trial in result["trials"]]
    assert rates == [1e-3, 1e-2]
    runs = [path for path in project.runs() if "-slow-" in path.name]
    assert sorted(run for trial in result["trials"] for run in trial["runs"]) == sorted(
        run.name for run in runs
    )
    for run in runs:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 25))


def finish(project: Project, *options: str, **more: str) -> None:
    sweep = start(project, *options, **more)
    output, said = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, said
    check(project, output)


def test_what_is_killed_here_is_resumed(place: Project) -> None:
    first = start(place, "--jobs", "1")
    until(lambda: epochs(place, 0) >= 2, "two epochs")
    second = start(place)
    _, said = second.communicate(timeout=SECONDS)
    assert second.returncode == 8, said
    assert "another process is running the sweep" in said

    until(lambda: worker(place, "sweep.job"), "a worker").kill()
    before = epochs(place, 0)
    until(lambda: epochs(place, 0) > before, "another epoch")
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=SECONDS)
    assert first.returncode == 130, said
    assert "killed by signal 9; its log: " in said
    assert "again, from its checkpoint" in said
    assert "the same command resumes it" in said
    assert worker(place, "sweep.job") is None, "no job is left behind"

    third = start(place, "--jobs", "1")
    before = epochs(place, 0)
    until(lambda: epochs(place, 0) > before or epochs(place, 1) > 0, "another epoch")
    third.kill()
    third.communicate()
    finish(place, "--jobs", "2")


def test_trials_share_their_teacher(place: Project) -> None:
    student = CONFIG.replace("epochs: 24,", "epochs: 3, teachers: {configs: [slow]},")
    (place.path / "configs" / "learns.yaml").write_text(student, encoding="utf-8")
    text = SWEEP.replace("config: slow", "config: learns")
    (place.path / "rates.yaml").write_text(text, encoding="utf-8")
    sweep = start(place, "--jobs", "2")
    output, said = sweep.communicate(timeout=SECONDS)
    assert sweep.returncode == 0, said
    assert [trial["epochs"] for trial in json.loads(output)["trials"]] == [3, 3]
    (teacher,) = (path.name for path in place.runs() if "-slow-" in path.name)
    pupils = [path for path in place.runs() if "-learns-" in path.name]
    metas = [json.loads((path / "meta.json").read_text(encoding="utf-8")) for path in pupils]
    assert [[one["run"] for one in meta["teachers"]] for meta in metas] == [[teacher], [teacher]]


def test_what_is_killed_on_a_cluster_is_resumed(place: Project, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray")
    # short, as the paths of sockets have a limit
    folder, port = f"/tmp/r{os.getpid() % 100_000}", str(20_000 + os.getpid() % 10_000)
    more = {
        "HOME": str(tmp_path),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "2",  # how long a sweep waits for its head
    }
    address = f"127.0.0.1:{port}"

    def head() -> None:
        ray = Path(sys.executable).with_name("ray")
        options = ["--head", "--port", port, "--num-cpus", "2", "--temp-dir", folder]
        subprocess.run(
            [ray, "start", *options, "--include-dashboard", "false", "--disable-usage-stats"],
            env=place.env | more,
            check=True,
            capture_output=True,
        )

    def end_head() -> None:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if folder in " ".join(process.cmdline()):
                    process.kill()

    try:
        head()
        first = start(place, "--ray", address, "--cpus", "2", **more)  # one trial at a time
        until(lambda: epochs(place, 0) >= 2, "two epochs")
        until(lambda: worker(place, "ray::_run_here"), "a worker").kill()
        before = epochs(place, 0)
        until(lambda: epochs(place, 0) > before, "another epoch")
        end_head()
        assert first.wait(timeout=SECONDS) != 0
        _, said = first.communicate()
        assert "again, from its checkpoint" in said

        head()
        finish(place, "--ray", address, **more)
        run = next(path.name for path in place.runs() if "-slow-" in path.name)
        predict = command("predict", run, "--tta", "d4", "--ray", address)
        done = subprocess.run(
            predict, cwd=place.path, env=place.env | more, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        assert "2 parts, 2 at once" in done.stderr  # those of valid, too
    finally:
        end_head()
        shutil.rmtree(folder, ignore_errors=True)
