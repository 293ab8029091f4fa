"""Progress for a person: drawn on a terminal, in a notebook text that is replaced, else lines."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pcam_kit.display.console import PrintableConsole, messages, new_console
from pcam_kit.display.notebook import NotebookDisplay
from pcam_kit.display.table import show_table
from pcam_kit.display.training import TrainingDisplay
from pcam_kit.display.work import show_work
from pcam_kit.progress import SILENT, Display, LiveTable, TrainingMonitor, Work

__all__ = [
    "ConsoleDisplay",
    "NotebookDisplay",
    "PrintableConsole",
    "TrainingDisplay",
    "default_display",
    "messages",
    "new_console",
]


class ConsoleDisplay:
    """Drawn where that is possible, otherwise a plain line now and then. Implements `Display`."""

    def work(self) -> AbstractContextManager[Work]:
        """Show the progress of jobs while the block runs."""
        return show_work()

    def training(self) -> AbstractContextManager[TrainingMonitor]:
        """Show the progress of one training while the block runs."""
        return TrainingDisplay()

    def table(self) -> AbstractContextManager[LiveTable]:
        """Show a table of what goes on while the block runs."""
        return show_table()


def default_display() -> Display:
    """What a library call shows: progress to a person at a terminal or notebook, else nothing."""
    shown = messages()
    if shown.is_jupyter:
        return NotebookDisplay()
    return ConsoleDisplay() if shown.is_terminal else SILENT
