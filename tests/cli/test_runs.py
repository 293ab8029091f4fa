"""`pcam runs`, and runs named by a part: what is shown, filtered, and left out."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from command_line import Project

LONG = ("train", "quick", "--set", "training.epochs=2000", "--set", "model.units=9", "--seed", "7")


@pytest.fixture
def live(project: Project) -> Path:
    """A training under way in another process, ended after the test."""
    assert project.warm is not None
    before = set(project.runs())
    started = project.warm.start(LONG, project.path, project.env)
    try:
        deadline = time.monotonic() + 60
        while not (
            new := [
                run for run in project.runs() if run not in before and (run / "state.npz").exists()
            ]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield new[0]
    finally:
        started.kill(signal.SIGKILL)
        started.wait()


def test_a_live_training_is_running_and_cannot_be_resumed(project: Project, live: Path) -> None:
    runs = {Path(run["run"]).name: run for run in project.pcam("runs", "--json").json["runs"]}
    mine = runs[live.name]
    assert (mine["state"], mine["complete"], mine["seed"], mine["fold"]) == (
        "running",
        False,
        7,
        None,
    )
    assert mine["changed"] == ["training.epochs=2000", "model.units=9", "seed=7"]
    line = next(x for x in project.pcam("runs").ok().out.splitlines() if live.name in x)
    assert "running" in line
    assert "training.epochs=2000 model.units=9" in line
    (live / ".untouched").touch()
    for name in ((), (live.name,)):
        began = time.monotonic()
        # a process of its own, where TensorFlow would take seconds
        project.pcam("train", "--resume", *name).refused(8, f"training {live.name}")
        assert time.monotonic() - began < 10
    listed = project.pcam("runs", "--state", "running", "--json").json["runs"]
    assert [Path(run["run"]).name for run in listed] == [live.name]


def test_evaluate_all_leaves_out_what_is_no_finished_run(project: Project) -> None:
    first, second = (run for run in project.runs() if "-tiny" in run.name)
    stopped = project.path / "runs" / f"{first.name[:-4]}ffff"
    shutil.copytree(first, stopped)
    (stopped / "result.json").unlink()
    (project.path / "runs" / "half").mkdir()
    (project.path / "runs" / "notes.txt").write_text("x", encoding="utf-8")
    names = [f"runs/{run.name}/" for run in (first, second, stopped)]
    done = project.quick("evaluate", *names, "runs/half", "runs/notes.txt", "--json")
    evaluated = [Path(run["run"]).name for run in done.json["runs"]]
    assert evaluated == [first.name, second.name]
    assert done.err.count("left out") == 3
    assert stopped.name in done.err
    project.quick("evaluate", names[0], "no-such").refused(4, "no run called 'no-such'")
    project.quick("evaluate", names[2]).refused(4, "not complete")
    project.quick("evaluate", "runs/half", names[2]).refused(2, "no finished run is given")
    # predictions that are combined are never fewer than were named
    project.quick("predict", *names).refused(4, "not complete")


def test_a_part_of_a_name_anywhere(project: Project) -> None:
    (run,) = (run for run in project.runs() if "-tiny0-" in run.name)
    for command in ("evaluate", "predict"):
        assert run.name in project.quick(command, "tiny0", "--json").ok().out
    assert "complete already" in project.quick("train", "--resume", "tiny0").ok().err
    done = project.quick("evaluate", "tiny").refused(4, "2 runs called 'tiny' in runs:")
    assert [line.strip() for line in done.err.splitlines()[1:3]] == [
        run.name for run in sorted(project.runs()) if "tiny" in run.name
    ]


def test_filters_and_order(project: Project) -> None:
    def listed(*options: str) -> list[str]:
        runs = project.pcam("runs", *options, "--json").json["runs"]
        return [run["config"] for run in runs]

    assert listed("--competition", "faint") == ["faint0"]
    assert listed("--sort", "newest") == ["tiny0", "tiny1", "faint0"]
    assert listed("--sort", "newest", "--most", "1") == ["tiny0"]
    assert listed("--name", "tiny1") == ["tiny1"]
    assert listed("--state", "stopped") == []
    assert "no such runs" in project.pcam("runs", "--state", "stopped").ok().err


def test_one_infinite_score_does_not_break_the_list(project: Project) -> None:
    run = project.runs()[0]
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    text = json.dumps(result | {"valid_auc": 1e999})  # Infinity
    (run / "result.json").write_text(text, encoding="utf-8")
    done = project.pcam("runs", "--json")
    assert len(done.json["runs"]) == 2
    assert done.err.count("warning: ") == 1
    assert run.name in done.err
