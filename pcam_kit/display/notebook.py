"""Progress in a notebook: text below the cell that is replaced, at most once a second.

Not rich's bars: they need ipywidgets, send ten messages a second, and leave an empty output behind
for each of them in the saved notebook.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from rich.filesize import decimal

from pcam_kit.display.console import new_console
from pcam_kit.display.table import build_table
from pcam_kit.display.training import TrainingTexts
from pcam_kit.formatting import duration
from pcam_kit.progress import LiveTable, TrainingMonitor, Work
from pcam_kit.text import printable

REFRESH_SECONDS = 1.0  # what is over earlier is never shown
WIDTH = 100  # characters of a table


class NotebookDisplay:
    """Text that is replaced while the work goes on. Implements `Display`."""

    def work(self) -> AbstractContextManager[Work]:
        """Show a line for each job while the block runs, and what they took when it is over."""
        return _work()

    def training(self) -> AbstractContextManager[TrainingMonitor]:
        """Show a line for each epoch, and one for the steps of the epoch under way."""
        return _training()

    def table(self) -> AbstractContextManager[LiveTable]:
        """Show a table of what goes on while the block runs; its title stays."""
        return _table()


class _Output:
    """One output of a cell; `show` replaces its text."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the text has stood there long enough."""
        return time.monotonic() - self._shown >= REFRESH_SECONDS

    @property
    def visible(self) -> bool:
        """Whether anything was shown."""
        return self._handle is not None

    def show(self, text: str) -> None:
        """Show `text` instead of what stands there."""
        from IPython.display import display

        self._shown = time.monotonic()
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


@dataclass
class _Job:
    """A job's progress; `first` is what was done when it began, `last` when it moved last."""

    began: float
    first: int
    last: float = 0.0
    done: int = 0
    total: int = 0
    in_bytes: bool = False

    def text(self) -> str:
        seconds = self.last - self.began
        amount = decimal(self.done) if self.in_bytes else f"{self.done:,}"
        if self.total == 0:
            return amount
        if self.done >= self.total:
            return f"done in {duration(seconds)}"
        text = f"{100 * self.done / self.total:.0f}%"
        if self.in_bytes:
            text += f" of {decimal(self.total)}"
        speed = (self.done - self.first) / max(seconds, 1e-3)
        if speed > 0:
            text += f", {duration((self.total - self.done) / speed)} left"
        return text


class _Jobs:
    """A line for each job. Implements `Work`: called from any thread."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def __call__(self, what: str, done: int, total: int) -> None:
        self._update(what, done, total, in_bytes=False)

    def bytes(self, what: str, done: int, total: int) -> None:
        """The same for a job counted in bytes."""
        self._update(what, done, total, in_bytes=True)

    def _update(self, what: str, done: int, total: int, *, in_bytes: bool) -> None:
        with self._lock:
            now = time.monotonic()
            job = self._jobs.setdefault(what, _Job(began=now, first=done))
            job.last, job.done, job.total, job.in_bytes = now, done, total, in_bytes
            if self._output.due:
                self.show()

    def show(self) -> None:
        """Show all lines as they are now."""
        self._output.show(
            "\n".join(f"{printable(what)}: {job.text()}" for what, job in self._jobs.items())
        )


@contextmanager
def _work() -> Generator[Work]:
    output = _Output()
    jobs = _Jobs(output)
    try:
        yield jobs
    finally:
        if output.visible:
            jobs.show()


class _Training:
    """A line an epoch, and one for the step. Implements `TrainingMonitor`."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self._steps = 0
        self._texts = TrainingTexts(0, 0, 0)
        self.epochs: list[str] = []

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Time runs from here."""
        self._steps = steps
        self._texts = TrainingTexts(epochs, steps, done)

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Replace the last line."""
        self._texts.compiled((epoch - 1) * self._steps + step)
        if self._output.due:
            self._output.show("\n".join([*self.epochs, self._texts.step(epoch, step, loss)]))

    def epoch(self, metrics: dict[str, Any]) -> None:
        """A line for the finished epoch."""
        self.epochs.append(self._texts.epoch(metrics))
        self._output.show("\n".join(self.epochs))


@contextmanager
def _training() -> Generator[TrainingMonitor]:
    output = _Output()
    training = _Training(output)
    try:
        yield training
    finally:
        if output.visible:
            output.show("\n".join(training.epochs))


@contextmanager
def _table() -> Generator[LiveTable]:
    output = _Output()
    last = ""

    def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        nonlocal last
        last = title
        if output.due:
            console = new_console(file=io.StringIO(), width=WIDTH)
            with console.capture() as text:
                console.print(build_table(title, columns, rows))
            output.show(text.get().rstrip())

    try:
        yield show
    finally:
        if output.visible:
            output.show(printable(last))
