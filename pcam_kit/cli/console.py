"""The person at the terminal: messages on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pcam_kit.text import printable, printable_lines

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

# the last four are the wide forms of the first
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
UNLIMITED = 100_000  # columns, where there is no terminal
LEAST = 8  # columns of a cell that is broken over lines
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


class MessageHandler(logging.Handler):
    """Shows what the library logs: a line on what sys.stderr is now, headings in bold."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        style = "bold" if getattr(record, "heading", False) else STYLES.get(record.levelno, "")
        prefix = "warning: " if record.levelno == logging.WARNING else ""
        say(prefix + record.getMessage(), style=style)


def show_messages() -> None:
    """From here on show what the library logs at level INFO and above; once is enough."""
    logger = logging.getLogger("pcam_kit")
    if not any(isinstance(handler, MessageHandler) for handler in logger.handlers):
        logger.addHandler(MessageHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a handler of the root logger would print it a second time


def say(text: str, *, style: str = "") -> None:
    """One message for the person, on stderr."""
    from rich.text import Text

    from pcam_kit.display import messages

    messages().print(Text(printable_lines(text), style=style))


def print_json(value: dict[str, Any]) -> None:
    """The one object on stdout of `--json`."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_lines(*lines: object) -> None:
    """Data on stdout, a line each: paths, names, scores."""
    for line in lines:
        print(printable(str(line)))


def print_text(text: str) -> None:
    """Data of several lines on stdout, as it is but for control characters."""
    print(printable_lines(text), end="")


def csv_cell(value: Any) -> Any:
    """A value for a CSV that people open in a spreadsheet. Texts of a list are joined by `;`.

    Numbers and None stay. A text that begins like a formula gets an apostrophe in front, so that
    it is shown and not executed; control characters are escaped, line breaks stay.
    """
    if isinstance(value, list):
        return ";".join(str(csv_cell(item)) for item in value)
    if not isinstance(value, str):
        return value
    text = printable_lines(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) else text


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, stderr: bool = False
) -> None:
    """A table, on stdout or stderr; columns of numbers to the right.

    Without a terminal nothing is cut to a width. A name in a column "run" is never broken: it could
    not be copied.
    """
    from rich.table import Table
    from rich.text import Text

    console = _console(stderr=stderr)
    names = [len(row[i]) for i, column in enumerate(columns) if column == "run" for row in rows]
    console.width = max(console.width, max(names, default=0) + LEAST * len(columns))
    if title:
        console.print(Text(printable(title), style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        cells = [row[i] for row in rows]
        numbers = all(cell[:1].isdigit() or cell in {"", "-"} for cell in cells)
        right = numbers and i > 0
        table.add_column(
            printable(column),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=column == "run",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def table_fits(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the table on stdout needs no more than the terminal's width."""
    widths = [max(map(len, column)) + 2 for column in zip(columns, *rows, strict=True)]
    return sum(widths) <= _console().width


def print_cards(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows of a table on stdout that is too wide: the first cell, below it the others, named.

    Cells without a value ("-") are left out.
    """
    width = _console().width
    for first, *others in rows:
        print(printable(first))
        named = zip(columns[1:], others, strict=True)
        text = ", ".join(f"{name} {printable(cell)}" for name, cell in named if cell != "-")
        indent = "  "
        for line in textwrap.wrap(
            text,
            max(width - 1, 20),
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        ):
            print(line)


def _console(*, stderr: bool = False) -> Console:
    from pcam_kit.display import new_console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return new_console(stderr=stderr, width=None if terminal else UNLIMITED)


def ask(question: str) -> bool:
    """Ask on a terminal; without one, yes."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        return True
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _is_terminal(stream: TextIO | None) -> bool:
    """None, or closed: a shell's `<&-`."""
    return stream is not None and not stream.closed and stream.isatty()


def print_config(config: BaseModel, *, as_json: bool) -> None:
    """What `--print-config` shows: YAML that can be loaded back, or JSON."""
    from pcam_kit.config.load import dump_yaml

    if as_json:
        print_json(config.model_dump(mode="json"))
    else:
        print(dump_yaml(config), end="")
