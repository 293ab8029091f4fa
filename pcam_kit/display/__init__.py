"""Progress for a person: bars on a terminal, in a notebook text that is replaced, else lines."""

from __future__ import annotations

from pcam_kit.display.console import (
    ConsoleDisplay,
    PrintableConsole,
    TrainingDisplay,
    messages,
    new_console,
)
from pcam_kit.display.notebook import NotebookDisplay
from pcam_kit.progress import SILENT, Display

__all__ = [
    "ConsoleDisplay",
    "NotebookDisplay",
    "PrintableConsole",
    "TrainingDisplay",
    "default_display",
    "messages",
    "new_console",
]


def default_display() -> Display:
    """What a library call shows: progress to a person at a terminal or notebook, else nothing."""
    shown = messages()
    if shown.is_jupyter:
        return NotebookDisplay()
    return ConsoleDisplay() if shown.is_terminal else SILENT
