"""Consoles whose text cannot steer a terminal, and the one that messages go to."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pcam_kit.text import printable, printable_lines

PLAIN_SECONDS = 15.0  # between two lines about the same work where nothing can be drawn


class PrintableConsole(Console):
    """A rich console whose text cannot steer the terminal, wherever it comes from.

    Control characters are shown as escapes, and `[red]` or `[link=...]` in a name is only text.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does, and escape what is not printable in the result."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable_lines(segment.text), segment.style)


def new_console(*, stderr: bool = False, **options: Any) -> PrintableConsole:
    """A console that shows text as it is: no markup, no emoji, no colours of its own."""
    return PrintableConsole(stderr=stderr, highlight=False, markup=False, emoji=False, **options)


# Of the bars on the screen: what else is printed must go through their console, above them.
_consoles_with_bars: list[Console] = []


def messages() -> Console:
    """The console for messages: stderr, bound to what sys.stderr is now."""
    if _consoles_with_bars:
        return _consoles_with_bars[-1]
    return new_console(stderr=True, soft_wrap=True)


@contextmanager
def drawn_on(shown: Console) -> Generator[None]:
    """While something is drawn on this console, messages appear above it."""
    _consoles_with_bars.append(shown)
    try:
        yield
    finally:
        _consoles_with_bars.remove(shown)


def can_draw(shown: Console) -> bool:
    """Whether lines can be drawn over: a terminal, and not one that only prints (TERM=dumb)."""
    return shown.is_terminal and not shown.is_dumb_terminal


def print_line(text: str) -> None:
    """One line on stderr, where nothing can be drawn."""
    print(printable(text), file=sys.stderr, flush=True)
