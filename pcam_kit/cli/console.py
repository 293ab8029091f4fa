"""The person at the terminal: messages on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pcam_kit.text import printable, printable_lines

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

# the last four are the wide forms of the first
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
UNLIMITED = 100_000  # columns, where there is no terminal
LEAST = 20  # columns of text that is broken over lines
GAP = 2  # between two columns
NOTHING = {"", "-"}  # cells without a value
NUMBER = re.compile(r"[<±+-]? ?\d")
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

    Where it is too wide for the terminal even with headers over several lines, a few lines a row.
    Only texts in the first and last column are broken, at spaces; without a terminal nothing is.
    """
    from rich.table import Table
    from rich.text import Text

    console = _console(stderr=stderr)
    widths = _widths(columns, rows, console.width)
    if title:
        console.print(Text(printable(title), style="bold"))
    if widths is None:
        print_cards(columns, rows, stderr=stderr)
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for i, column in enumerate(columns):
        right = i > 0 and _is_numeric(rows, i)
        table.add_column(
            Text(_in_lines(printable(column), widths[i])),
            justify="right" if right else "left",
            overflow="fold",
            width=widths[i],
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def table_fits(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the table on stdout has room on the terminal."""
    return _widths(columns, rows, _console().width) is not None


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> list[int] | None:
    """The width of each column so that the table takes at most `total`; None: it has no room.

    Headers are broken into words, then texts in the first and the last column.
    """
    from rich.cells import cell_len  # wide characters take two columns

    def taken(text: str) -> int:
        return cell_len(printable(text))

    heads = [taken(column) for column in columns]
    cells = [max((taken(row[i]) for row in rows), default=0) for i in range(len(columns))]
    gaps = GAP * len(columns)  # rich pads the last one, too
    widths = [max(head, cell) for head, cell in zip(heads, cells, strict=True)]
    if sum(widths) + gaps <= total:
        return widths
    words = [max(map(taken, _words(column)), default=0) for column in columns]
    least = [max(word, cell) for word, cell in zip(words, cells, strict=True)]
    for i in (0, len(columns) - 1):  # names of rows, and text
        if columns[i] != "run" and not _is_numeric(rows, i):
            parts = [taken(part) for row in rows for part in row[i].split(" ")]
            least[i] = min(least[i], max([LEAST, words[i], *parts]))
    spare = total - gaps - sum(least)
    if spare < 0:
        return None
    for i in reversed(range(len(least))):  # the last column first: it may be text
        more = min(spare, widths[i] - least[i])
        least[i] += more
        spare -= more
    return least


def _is_numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    return all(row[column] in NOTHING or NUMBER.match(row[column]) for row in rows)


def _words(header: str) -> list[str]:
    """Where a header may be broken: at spaces, and behind hyphens, as in the name of a run."""
    return re.findall(r"[^ -]*-|[^ -]+", header)


def _in_lines(header: str, width: int) -> str:
    """A header in lines of at most `width`."""
    if len(header) <= width:
        return header
    lines = [""]
    for word in _words(header):
        gap = " " if lines[-1] and not lines[-1].endswith("-") else ""
        if len(lines[-1]) + len(gap) + len(word) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] += gap + word
    return "\n".join(lines)


def print_cards(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, stderr: bool = False
) -> None:
    """Rows of a table that is too wide: the first cell, below it the others, named.

    Cells without a value ("-" or nothing) are left out.
    """
    width = _console(stderr=stderr).width
    stream = sys.stderr if stderr else sys.stdout
    for first, *others in rows:
        print(printable(first), file=stream)
        named = zip(columns[1:], others, strict=True)
        texts = [f"{name} {printable(cell)}".strip() for name, cell in named if cell not in NOTHING]
        room = max(width - 1, 20)
        indent = "  "
        # a name stays with its value where both fit into a line
        whole = [text.replace(" ", "\xa0") if len(text) < room - 2 else text for text in texts]
        for line in textwrap.wrap(
            ", ".join(whole),
            room,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        ):
            print(line.replace("\xa0", " "), file=stream)


def print_facts(*blocks: Mapping[str, str]) -> None:
    """Blocks on stdout, each below a blank line: names with their texts, broken at the width."""
    column = max((len(name) for block in blocks for name in block), default=0) + 2
    room = max(terminal_width() - column - 2, 20)
    for block in filter(None, blocks):
        print()
        for name, text in block.items():
            lines = textwrap.wrap(printable(text), room, break_on_hyphens=False) or [""]
            for head, line in zip([printable(name), *[""] * len(lines)], lines, strict=False):
                print(f"  {head:<{column}}{line}")


def can_show(characters: str, stream: TextIO) -> bool:
    """Whether a stream's encoding has these characters."""
    try:
        characters.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def terminal_width() -> int:
    """The columns of the terminal on stdout; without one, so many that nothing is cut."""
    return _console().width


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
    from pcam_kit.config.load import dump_yaml, resolved

    if as_json:
        print_json(resolved(config))
    else:
        print(dump_yaml(config), end="")
