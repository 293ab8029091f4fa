"""What is said while a network is trained."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from pcam_kit.display import ConsoleDisplay, TrainingDisplay, new_console
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


def metrics(epoch: int, auc: float, *, best: bool) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "loss": 1 / (1 + epoch),
        "accuracy": 0.7,
        "valid_loss": 0.6,
        "valid_auc": auc,
        "valid_accuracy": 0.65,
        "best": best,
        "learning_rate": 1e-3,
        "seconds": 60.0 * epoch,
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train_on(monkeypatch: pytest.MonkeyPatch, term: str) -> str:
    """What a terminal gets of a training of three epochs."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"TERM": term, "NO_COLOR": "1", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with ConsoleDisplay().training() as shown:
        shown.started(3, 2, 0)
        for epoch, auc in ((1, 0.7), (2, 0.9), (3, 0.8)):
            for step in (1, 2):
                shown.step(epoch, step, 0.5)
            shown.epoch(metrics(epoch, auc, best=epoch < 3))
    return terminal.getvalue()


def test_a_terminal_keeps_the_table_and_the_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    text = train_on(monkeypatch, "xterm")
    assert "\x1b[2K" in text, "it draws over what it drew"
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).rpartition("epoch ")[2].splitlines()
    assert [line.split()[0] for line in last[1:4]] == ["1/3", "2/3", "3/3"]
    assert "best" in last[2]
    assert last[5:] == ["AUC   ▁█▅  0.7000 to 0.8000", "loss  █▃▁  0.5000 to 0.2500"]


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = train_on(monkeypatch, "dumb").splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("height", [12, 24, 60])
def test_a_long_training_stays_on_the_screen(width: int, height: int) -> None:
    table = module.TrainingTable(500, 40, 0)
    for epoch in range(1, 301):
        table.add(metrics(epoch, min(0.5 + epoch / 100, 0.9), best=epoch <= 40))
    table.step(300 * 40 + 7, "epoch 301/500  step 7/40  loss 0.0033  1h20m left")
    console = new_console(file=Terminal(), width=width, height=height, force_terminal=True)
    with console.capture() as captured:
        console.print(table)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).rstrip("\n").splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    shown = re.findall(r"^ *(\d+/500)", "\n".join(lines), re.MULTILINE)
    assert shown[0] == "40/500", "the best epoch stays"
    assert shown[-1] == "300/500"
    assert "1h20m left" in lines[-1]
