"""Tables of the command line: names stay whole, and nothing acts on the terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from pcam_kit.cli import console

NAMES = ["20261126T013520-lab-notebook-3543", "20261126T013521-quick-ab12"]
COLUMNS = ["run", "state", "a column with a long name", "changed"]
ROWS = [
    [NAMES[0], "complete", "0.5455 (0.4307-0.6556)", "training.epochs=1 model.filters=[4]"],
    [NAMES[1], "stopped", "-", "-"],
]


@pytest.fixture(params=[30, 40, 80, 100, 200, None])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """A terminal of that width; None: a pipe."""
    if request.param is not None:
        make = Console
        monkeypatch.setattr(
            console, "_console", lambda stderr=False: make(stderr=stderr, width=request.param)
        )
    return request.param


def test_names_are_never_broken(width: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("", COLUMNS, ROWS)
    console.print_cards(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    for name in NAMES:
        assert sum(line.split()[0] == name for line in lines if line.split()) == 2
    if width is None:
        assert "0.5455 (0.4307-0.6556)  training.epochs=1 model.filters=[4]" in lines[1]


def test_cards_leave_out_what_has_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_cards(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines()[-1] == "  state stopped"


def test_a_table_fits_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.table_fits(COLUMNS, ROWS), "a pipe has no width"
    for width, fits in ((80, False), (120, True)):
        monkeypatch.setattr(console, "_console", lambda width=width: Console(width=width))
        assert console.table_fits(COLUMNS, ROWS) == fits


def test_text_from_elsewhere_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;title\x07b\u202e"
    console.say(f"first\n{hostile}")
    console.print_table(hostile, ["run"], [[hostile]])
    console.print_cards(["run", "x"], [[hostile, hostile]])
    captured = capsys.readouterr()
    for text in (captured.err, captured.out):
        assert "\\x1b]0;title\\x07b\\u202e" in text
        assert all(line.isprintable() for line in text.splitlines())
    assert captured.err.startswith("first\n")
