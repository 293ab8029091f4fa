"""A training that diverged is told by train, evaluate and predict, once by each."""

from __future__ import annotations

from command_line import Project

CHANGES = (
    "model={name: report_cnn, filters: [4], units: 4}",
    "training.learning_rate=1e6",
    "training.precision=float32",
    "data.limit=64",
)
TOLD = "so it does not tell patches apart. Its training diverged (learning rate 1e+06)"


def test_one_warning_each(started: Project) -> None:
    options = [word for change in CHANGES for word in ("--set", change)]
    trained = started.quick("train", "quick", *options).ok()
    for done in (trained, started.quick("evaluate").ok(), started.quick("predict").ok()):
        assert done.err.count(TOLD) == 1
        assert "warning: " in done.err


def test_none_for_what_learnt(project: Project) -> None:
    for done in (project.quick("evaluate").ok(), project.quick("predict").ok()):
        assert "diverged" not in done.err
