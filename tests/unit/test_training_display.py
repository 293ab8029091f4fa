"""What is said while a network is trained."""

from __future__ import annotations

import pytest

from pcam_kit.display import TrainingDisplay
from pcam_kit.display import training as module


def test_the_time_left_is_that_of_this_process_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with TrainingDisplay() as display:
        display.started(epochs=4, steps=10, done=35)  # resumed in the middle of the last epoch
        now = 120.0
        display.step(4, 6, 0.5)  # it compiles, and says nothing about the others
        now = 140.0
        display.step(4, 7, 0.5)
    assert capsys.readouterr().err == (
        "epoch 4/4  step 6/10  loss 0.5000\nepoch 4/4  step 7/10  loss 0.5000  1m00s left\n"
    )
