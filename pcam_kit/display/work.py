"""The progress of jobs on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from pcam_kit.display.console import PLAIN_SECONDS, can_draw, drawn_on, messages, print_line
from pcam_kit.formatting import duration
from pcam_kit.progress import Work
from pcam_kit.text import printable


class _PlainWork:
    """A line about a job every PLAIN_SECONDS; quick jobs say nothing."""

    def __init__(self) -> None:
        # of each job: when its last line was printed; when it began, and from what
        self._jobs: dict[str, tuple[float, float, int]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._is_due(what, done, total):
            amount = f"{100 * done / total:.0f}%" if total else f"{done:,}"
            print_line(f"{what}: {amount}")

    def bytes(self, what: str, done: int, total: int) -> None:
        """With the amount, the speed and the time left."""
        if not self._is_due(what, done, total):
            return
        _, began, first = self._jobs[what]
        speed = (done - first) / max(time.monotonic() - began, 1e-3)
        text = f"{100 * done / total:.0f}% of {decimal(total)}" if total else decimal(done)
        text += f", {decimal(round(speed))}/s"
        if total and speed > 0:
            text += f", {duration((total - done) / speed)} left"
        print_line(f"{what}: {text}")

    def _is_due(self, what: str, done: int, total: int) -> bool:
        now = time.monotonic()
        last, began, first = self._jobs.setdefault(what, (now - PLAIN_SECONDS + 2.0, now, done))
        if now - last < PLAIN_SECONDS or done == total:
            return False
        self._jobs[what] = (now, began, first)
        return True


class _Bars:
    """A bar for each job."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        self._update(what, done, total, in_bytes=False, visible=True)

    def bytes(self, what: str, done: int, total: int) -> None:
        """With the amount and the speed; a finished job makes room for the next."""
        self._update(what, done, total, in_bytes=True, visible=done != total)

    def _update(self, what: str, done: int, total: int, *, in_bytes: bool, visible: bool) -> None:
        if what not in self._tasks:
            # what an earlier attempt left counts for the bar, not for the speed
            self._tasks[what] = self._bars.add_task(
                printable(what), total=total or None, completed=done, in_bytes=in_bytes
            )
        self._bars.update(self._tasks[what], completed=done, total=total or None, visible=visible)


class _Bytes(ProgressColumn):
    """`12.3/300.0 MB  4.1 MB/s` for bytes, nothing for other jobs."""

    def render(self, task: Task) -> Text:
        if not task.fields["in_bytes"]:
            return Text("")
        return Text("  ").join([_AMOUNT.render(task), _SPEED.render(task)])


_AMOUNT, _SPEED = DownloadColumn(), TransferSpeedColumn()


@contextmanager
def show_work() -> Generator[Work]:
    """Bars where they can be drawn, otherwise a plain line now and then."""
    shown = messages()
    if not can_draw(shown):
        yield _PlainWork()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        _Bytes(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=shown, transient=True) as bars, drawn_on(shown):
        yield _Bars(bars)
