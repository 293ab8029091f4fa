"""The table of what goes on side by side."""

from __future__ import annotations

import io
import re

import pytest

from pcam_kit.display import ConsoleDisplay
from pcam_kit.display import table as module

COLUMNS = ("trial", "rate")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_drawn_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "40", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with ConsoleDisplay().table() as table:
        table("1 of 2 trials", COLUMNS, [["0", "0.1"], ["1", "x" * 90]])
    text = terminal.getvalue()
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()
    assert "1 of 2 trials" in "\n".join(lines)
    assert max(map(len, lines)) <= 40
    assert text.count("\x1b[1A\x1b[2K") >= 4, "every line is taken away"


def test_elsewhere_its_title_is_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with ConsoleDisplay().table() as table:
        for done in range(40):
            table(f"{done} of 40 trials", COLUMNS, [["0", "0.1"]])
            now += 1.0
    assert capsys.readouterr().err == "15 of 40 trials\n30 of 40 trials\n"
