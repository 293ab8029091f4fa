"""Tables on terminals of 60 columns and more: no line is longer, no number or name is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import Project
from typer import Exit

from pcam_kit.cli import console
from pcam_kit.cli.app import app
from pcam_kit.display import new_console

WIDTHS = [60, 80, 120]
COMMANDS: dict[str, list[str]] = {
    "runs": ["runs"],
    "show": ["show"],
    "submissions": ["submissions"],
    "config": ["config"],
    "evaluate": ["evaluate", "tiny0"],
    "evaluate two": ["evaluate", "tiny0", "tiny1"],
    "leaks": ["leaks", "--list", "2"],
    "shift": ["shift"],
}


@pytest.fixture(scope="module")
def place(finished: Project) -> Path:
    return finished.path


@pytest.fixture
def shown(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str], int], str]:
    """What a command prints on stdout of a terminal so wide."""

    def run(arguments: list[str], width: int) -> str:
        monkeypatch.chdir(place)
        monkeypatch.setattr(
            console,
            "_console",
            lambda *, stderr=False: new_console(stderr=stderr, width=width, force_terminal=True),
        )
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        with suppress(Exit):
            app(args=arguments, prog_name="pcam", standalone_mode=False)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    return run


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_wider_than_the_terminal(
    name: str, width: int, shown: Callable[[list[str], int], str]
) -> None:
    text = shown(COMMANDS[name], width)
    lines = text.splitlines()
    assert lines
    too_long = [line for line in lines if len(line) > width and not line.startswith("pcam ")]
    assert too_long == []
    # a number that is broken leaves digits at the start of a line
    assert not [line for line in lines if re.match(r"\s*\d{1,3}\)?$", line)]
