"""How long work reports its progress: protocols that a caller passes in, silent by default.

Messages go through `logging`, one logger a module below `pcam_kit`; the library adds no handler.
A record logged with `extra=HEADING` begins a new part of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

HEADING = {"heading": True}

# (what is being done, done, total); total 0: unknown. Called often, so it must be cheap.
Progress = Callable[[str, int, int], None]


def silent(_what: str, _done: int, _total: int) -> None:
    """A Progress that shows nothing."""


class Work(Protocol):
    """The progress of any number of jobs, from any thread; total 0 means unknown."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` items of the job called `what`."""
        ...

    def bytes(self, what: str, done: int, total: int) -> None:
        """The same for a job counted in bytes."""
        ...


class TrainingMonitor(Protocol):
    """Hears how a training goes. Epochs and steps count from 1."""

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Training begins, or resumes after `done` of its `epochs` times `steps` steps."""
        ...

    def step(self, epoch: int, step: int, loss: float) -> None:
        """A step is done; `loss` is the mean of the epoch so far."""
        ...

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch is done and validated; `metrics` is its line in metrics.jsonl."""
        ...


class LiveTable(Protocol):
    """A table of what goes on side by side, shown anew whenever it changes."""

    def __call__(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], /
    ) -> None:
        """title: one line, which is all that is shown where nothing can be drawn."""
        ...


class Display(Protocol):
    """Shows progress to a person; see `pcam_kit.display`."""

    def work(self) -> AbstractContextManager[Work]:
        """Show the progress of jobs while the block runs."""
        ...

    def training(self) -> AbstractContextManager[TrainingMonitor]:
        """Show the progress of one training while the block runs."""
        ...

    def table(self) -> AbstractContextManager[LiveTable]:
        """Show a table of what goes on while the block runs."""
        ...


class _SilentWork:
    def __call__(self, what: str, done: int, total: int) -> None: ...

    def bytes(self, what: str, done: int, total: int) -> None: ...


class _SilentMonitor:
    def started(self, epochs: int, steps: int, done: int) -> None: ...

    def step(self, epoch: int, step: int, loss: float) -> None: ...

    def epoch(self, metrics: dict[str, Any]) -> None: ...


def _silent_table(_title: str, _columns: Sequence[str], _rows: Sequence[Sequence[str]]) -> None: ...


class Silent:
    """A Display that shows nothing."""

    def work(self) -> AbstractContextManager[Work]:
        """Nothing is shown."""
        return nullcontext(_SilentWork())

    def training(self) -> AbstractContextManager[TrainingMonitor]:
        """Nothing is shown."""
        return nullcontext(_SilentMonitor())

    def table(self) -> AbstractContextManager[LiveTable]:
        """Nothing is shown."""
        return nullcontext(_silent_table)


SILENT = Silent()
