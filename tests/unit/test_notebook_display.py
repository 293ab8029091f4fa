"""What a notebook shows while something takes time: one output, replaced and not repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from pcam_kit.display import notebook as module
from pcam_kit.display.notebook import NotebookDisplay

EPOCH = {"epoch": 1, "loss": 0.5, "valid_auc": 0.75, "best": True, "seconds": 9.0}


class Clock:
    """The time, until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


@pytest.fixture
def published(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[dict[str, Any]]]:
    """What IPython sends to the front end."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
    publisher = CapturingDisplayPublisher()
    shell = InteractiveShell.instance()
    shell.display_pub = publisher
    yield publisher.outputs
    InteractiveShell.clear_instance()


def texts(published: list[dict[str, Any]]) -> list[str]:
    """The texts one after the other, of which each but the first replaces the one before."""
    assert [output["update"] for output in published] == [False, *[True] * (len(published) - 1)]
    assert len({output["transient"]["display_id"] for output in published}) == 1
    return [output["data"]["text/plain"] for output in published]


def test_jobs_have_a_line_each_that_is_replaced_once_a_second(
    clock: Clock, published: list[dict[str, Any]]
) -> None:
    with NotebookDisplay().work() as work:
        work("storing", 0, 200)
        work.bytes("downloading", 10_000_000, 40_000_000)  # of which an attempt before left 10 MB
        clock.now += 0.9
        work("storing", 40, 200)
        clock.now += 9.1
        work.bytes("downloading", 20_000_000, 40_000_000)
        work("storing", 200, 200)
    assert texts(published) == [
        "storing: 20%, 4s left\ndownloading: 50% of 40.0 MB, 20s left",
        "storing: done in 10s\ndownloading: 50% of 40.0 MB, 20s left",
    ]


def test_what_is_over_within_a_second_shows_nothing(
    clock: Clock, published: list[dict[str, Any]]
) -> None:
    with NotebookDisplay().work() as work:
        work("storing", 0, 200)
        clock.now += 0.9
        work("storing", 200, 200)
    assert published == []


def test_a_training_leaves_a_line_an_epoch(clock: Clock, published: list[dict[str, Any]]) -> None:
    with NotebookDisplay().training() as training:
        training.started(epochs=2, steps=10, done=0)
        clock.now += 0.5
        training.step(1, 1, 0.9)
        clock.now += 9.5
        training.epoch(EPOCH)
        clock.now += 5
        training.step(2, 5, 0.4)
    epoch = "epoch 1/2  loss 0.5000  validation AUC 0.7500 (best)  9s, 11s left"
    assert texts(published) == [
        epoch,
        f"{epoch}\nepoch 2/2  step 5/10  loss 0.4000  5s left",
        epoch,
    ]


def test_a_table_leaves_its_title(clock: Clock, published: list[dict[str, Any]]) -> None:
    with NotebookDisplay().table() as table:
        table("0 of 2 trials", ("trial", "rate"), [["0", "0.1"]])
        clock.now += 2
        table("1 of 2 trials", ("trial", "rate"), [["1", "\x1b[31m"]])
        table("2 of 2 trials", ("trial", "rate"), [])
    shown = texts(published)
    assert [line.split() for line in shown[0].splitlines()] == [
        ["1", "of", "2", "trials"],
        ["trial", "rate"],
        ["1", "\\x1b[31m"],
    ]
    assert shown[1:] == ["2 of 2 trials"]
