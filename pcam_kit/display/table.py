"""A table of what goes on side by side: drawn on a terminal, elsewhere its title now and then."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pcam_kit.display.console import PLAIN_SECONDS, can_draw, drawn_on, messages, print_line
from pcam_kit.progress import LiveTable
from pcam_kit.text import printable


class _PlainTable:
    """The title, every PLAIN_SECONDS."""

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def __call__(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        now = time.monotonic()
        if now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            print_line(title)


def build_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Group:
    """The table below its title; cells too wide for the terminal are cut off."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(printable(column), no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return Group(Text(printable(title), style="bold"), *([table] if rows else []))


@contextmanager
def show_table() -> Generator[LiveTable]:
    """A table that is gone when the block ends; messages appear above it."""
    shown = messages()
    if not can_draw(shown):
        yield _PlainTable()
        return
    with Live(console=shown, transient=True) as live, drawn_on(shown):

        def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
            live.update(build_table(title, columns, rows))

        yield show
