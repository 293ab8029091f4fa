"""Whatever text comes from elsewhere: what is shown steers neither terminal nor spreadsheet."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pcam_kit
from pcam_kit import display
from pcam_kit.__main__ import _fail
from pcam_kit.cli import console, submissions
from pcam_kit.display.notebook import _Jobs
from pcam_kit.errors import PcamError
from pcam_kit.formatting import Listing, Summary
from pcam_kit.submissions import Entry

HOSTILE = [
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "a\rb\tc\x00",
    "\u202egnp.exe\u2066",
    "\ud800 \udcff",
    "[red]x[/red] [link=https://example.org]y[/link] :smile:",
    "=1+1",
    "a\nerror: b",
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=20)


class Terminal(io.StringIO):
    """A stream that rich takes for a terminal without colours, or for a file."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@contextmanager
def streams(*, is_terminal: bool) -> Iterator[tuple[Terminal, Terminal]]:
    """Standard output and error; Hypothesis cannot have pytest's own capture renewed."""
    out, err = Terminal(is_terminal=is_terminal), Terminal(is_terminal=is_terminal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "dumb")
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", "120")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield out, err


def unsafe(shown: str) -> list[str]:
    """Characters that a terminal would obey, that turn text around, or that cannot be encoded."""
    return [
        f"U+{ord(character):04X}"
        for character in shown
        if character != "\n" and unicodedata.category(character) in {"Cc", "Cf", "Cs"}
    ]


class Result(Summary):
    def __init__(self, text: str) -> None:
        self.text = text

    def summary(self) -> dict[str, str]:
        return {"name": self.text}


def entry(text: str) -> Entry:
    return Entry(
        runs=[text],
        configs=[text],
        commit=text,
        leaks=[text],
        csv=text,
        competition=text,
        created="2026-01-01T00:00:00+00:00",
        status="error",
        message=text,
        file_name=text,
        error=text,
        ref=1,
    )


def show_everything(text: str) -> None:
    logging.getLogger("pcam_kit.test").warning("%s", text)
    console.say(text)
    console.print_table(text, ["a", "b"], [[text, "1"], ["c", text]])
    console.print_lines(text)
    console.print_json({text: text})
    submissions.show([entry(text)])
    submissions.write_csv([entry(text)])
    with display.ConsoleDisplay().work() as work:
        for number in (1, 2, 3):
            work(text, number, 3)
            work.bytes(text, number, 3)
    with pytest.raises(SystemExit):
        _fail(PcamError(text, hint=text))


@given(texts, st.booleans())
@example(HOSTILE[0], True)
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_shown_steers_a_terminal(text: str, is_terminal: bool) -> None:
    with streams(is_terminal=is_terminal) as (out, err):
        console.show_messages()
        show_everything(text)
    for shown in (out.getvalue(), err.getvalue()):
        assert unsafe(shown) == []
        shown.encode()


@given(texts)
@settings(max_examples=60, deadline=None)
def test_errors_and_results_are_printable_before_anybody_prints_them(text: str) -> None:
    """A notebook shows them without the command line's help."""
    error = PcamError(text, hint=text)
    for shown in (
        str(error),
        error.message,
        error.hint,
        *getattr(error, "__notes__", ()),
        repr(Result(text)),
        Result(text)._repr_html_(),
        Listing([Result(text)])._repr_html_(),
    ):
        assert unsafe(shown) == []


def test_a_list_of_results_is_one_table_in_a_notebook() -> None:
    class Other(Result):
        def summary(self) -> dict[str, str]:
            return {"score": self.text}

    html = Listing([Result("<b>"), Other("0.5")])._repr_html_()
    cells = [re.findall(r">([^<]*)</t[dh]>", row) for row in html.split("<tr>")[1:]]
    assert cells == [["name", "score"], ["&lt;b&gt;", ""], ["", "0.5"]]
    assert "Result, Other: 2" in html
    shown = Listing([Result("<b>"), Result("<b>")])._repr_html_()
    assert "Result: 2; name: &lt;b&gt;</caption><tr></tr>" in shown, "what is the same, once"
    assert "nothing: 0" in Listing([])._repr_html_()
    assert Listing([1, 2]) == [1, 2]


@given(texts.filter(str.strip))
@settings(max_examples=60, deadline=None)
def test_markup_in_a_name_is_only_text(text: str) -> None:
    name = f"[bold]{text.strip()[:8]}[/bold]".replace("\n", " ")
    with streams(is_terminal=True) as (out, _):
        console.print_table("", ["run"], [[name]])
    assert "[bold]" in out.getvalue()
    assert "[/bold]" in out.getvalue()


def written(values: dict[str, Any]) -> dict[str, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        submissions.write_csv([Entry(**values)])
    return next(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


@given(
    st.sampled_from(["=", "+", "-", "@", "\t", "\r", " =", "\uff1d"]),
    st.text("a1(!|\"'", max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_no_cell_begins_like_a_formula(start: str, rest: str) -> None:
    text = start + rest
    row = written(
        {
            "message": text,
            "runs": [text, text],
            "error": text,
            "public_score": -0.25,
            "valid_score": 0.5,
        }
    )
    for cell in (row["message"], row["error"], *row["runs"].split(";")):
        assert cell.lstrip()[:1] not in {"=", "+", "-", "@", "\uff1d"}
        assert not cell.startswith(("\t", "\r"))
        assert rest in cell
    assert (row["public_score"], row["gap"]) == ("-0.25", "-0.75"), "numbers stay numbers"


def test_there_is_no_other_way_to_print() -> None:
    """A `print` or a rich console elsewhere would not escape what it shows."""
    root = Path(pcam_kit.__file__).parent
    allowed = {"__main__.py", "cli/console.py", "display/console.py"}
    allowed |= {"cli/app.py", "workflows/doctor/account.py"}  # the version; JSON for its parent
    allowed |= {"display/training.py", "display/table.py"}  # types, groups of what is escaped
    allowed |= {"workflows/kaggle_run/script.py"}  # it runs at Kaggle
    found: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_sink = node.func.id in {"print", "Console"}
            else:
                is_sink = isinstance(node, ast.ImportFrom) and node.module == "rich.console"
            if is_sink:
                found.add(path.relative_to(root).as_posix())
    assert found == allowed


def test_a_plain_text_stays_as_it_is() -> None:
    row = written({"message": "first, best\nsecond line", "runs": ["a", "b"], "ref": 7})
    assert (row["message"], row["runs"], row["ref"]) == ("first, best\nsecond line", "a;b", "7")


def test_a_job_in_a_notebook() -> None:
    class Output:
        due = True
        shown = ""

        def show(self, text: str) -> None:
            self.shown = text

    output = Output()
    jobs: Any = _Jobs(output)  # type: ignore[arg-type]
    for text in HOSTILE:
        jobs(text, 1, 2)
    assert unsafe(output.shown) == []
