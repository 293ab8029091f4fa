"""The person at the terminal: messages on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pydantic import BaseModel

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

    messages().print(Text(text, style=style))


def print_json(value: dict[str, Any]) -> None:
    """The one object on stdout of `--json`."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, stderr: bool = False
) -> None:
    """A table, on stdout or stderr; columns of numbers to the right.

    Without a terminal nothing is cut to a width.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    console = Console(stderr=stderr, highlight=False, width=None if terminal else 400)
    if title:
        console.print(Text(title, style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        cells = [row[i] for row in rows]
        numbers = all(cell[:1].isdigit() or cell in {"", "-"} for cell in cells)
        right = numbers and i > 0
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def ask(question: str) -> bool:
    """Ask on a terminal; without one, yes."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
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
