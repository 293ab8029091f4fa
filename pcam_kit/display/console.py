"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment
from rich.text import Text

from pcam_kit.formatting import duration
from pcam_kit.progress import TrainingMonitor, Work
from pcam_kit.text import printable, printable_lines

PLAIN_SECONDS = 15.0  # between two lines about the same work where there are no bars


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


class ConsoleDisplay:
    """Bars where they can be drawn, otherwise a plain line now and then. Implements `Display`."""

    def work(self) -> AbstractContextManager[Work]:
        """Show the progress of jobs while the block runs."""
        return _work()

    def training(self) -> AbstractContextManager[TrainingMonitor]:
        """Show the progress of one training while the block runs."""
        return TrainingDisplay()


def _print_line(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


class _PlainWork:
    """A line about a job every PLAIN_SECONDS; quick jobs say nothing."""

    def __init__(self) -> None:
        # of each job: when its last line was printed; when it began, and from what
        self._jobs: dict[str, tuple[float, float, int]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._is_due(what, done, total):
            amount = f"{100 * done / total:.0f}%" if total else f"{done:,}"
            _print_line(f"{what}: {amount}")

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
        _print_line(f"{what}: {text}")

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
def _work() -> Generator[Work]:
    shown = messages()
    if not shown.is_terminal:
        yield _PlainWork()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        _Bytes(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=shown, transient=True) as bars:
        _consoles_with_bars.append(shown)
        try:
            yield _Bars(bars)
        finally:
            _consoles_with_bars.remove(shown)


class TrainingTexts:
    """What is said about a training of `epochs` times `steps` steps, of which `done` are done."""

    def __init__(self, epochs: int, steps: int, done: int) -> None:
        self._epochs, self._steps, self._first = epochs, steps, done
        self._began = time.monotonic()
        self._has_compiled = False

    def compiled(self, done: int) -> None:
        """Start the clock after the first step, which compiles; call it after every step."""
        if not self._has_compiled:
            self._has_compiled = True
            self._began, self._first = time.monotonic(), done

    def step(self, epoch: int, step: int, loss: float) -> str:
        """A line about a step."""
        text = f"epoch {epoch}/{self._epochs}  step {step}/{self._steps}  loss {loss:.4f}"
        return f"{text}  {self.left((epoch - 1) * self._steps + step)}".rstrip()

    def epoch(self, metrics: dict[str, Any]) -> str:
        """A line about a finished epoch."""
        number = f"{metrics['epoch']:>{len(str(self._epochs))}}"
        best = " (best)" if metrics["best"] else ""
        text = (
            f"epoch {number}/{self._epochs}  loss {metrics['loss']:.4f}  "
            f"validation AUC {metrics['valid_auc']:.4f}{best}  {duration(metrics['seconds'])}"
        )
        if metrics["epoch"] < self._epochs:
            text += f", {self.left(metrics['epoch'] * self._steps)}"
        return text

    def left(self, done: int) -> str:
        """`1m20s left` if the steps after `done` are as fast as this process's so far.

        "" after the first step, as it compiles.
        """
        if done <= self._first:
            return ""
        per_step = (time.monotonic() - self._began) / (done - self._first)
        return f"{duration(per_step * (self._epochs * self._steps - done))} left"


class TrainingDisplay:
    """A bar where one can be drawn, a line an epoch everywhere. Implements `TrainingMonitor`."""

    def __init__(self) -> None:
        self._console = messages()
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = self._steps = 0
        self._printed = time.monotonic()
        self._texts = TrainingTexts(0, 0, 0)

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
            _consoles_with_bars.remove(self._console)

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Show the bar."""
        self._epochs, self._steps = epochs, steps
        self._texts = TrainingTexts(epochs, steps, done)
        self._printed = time.monotonic()
        if not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[left]}"),
        )
        self._bars = Progress(*columns, console=self._console, transient=True)
        epoch = min(epochs, done // steps + 1)
        self._task = self._bars.add_task(
            f"epoch {epoch}/{epochs}", total=epochs * steps, completed=done, loss="", left=""
        )
        self._bars.start()
        _consoles_with_bars.append(self._console)

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Move the bar, or print a line now and then."""
        now = time.monotonic()
        done = (epoch - 1) * self._steps + step
        self._texts.compiled(done)
        if self._bars is not None and self._task is not None:
            self._bars.update(
                self._task,
                completed=done,
                description=f"epoch {epoch}/{self._epochs}",
                loss=f"loss {loss:.4f}",
                left=self._texts.left(done),
            )
        elif now - self._printed > PLAIN_SECONDS:
            self._printed = now
            _print_line(self._texts.step(epoch, step, loss))

    def epoch(self, metrics: dict[str, Any]) -> None:
        """A line for the finished epoch."""
        self._printed = time.monotonic()
        shown = self._bars.console if self._bars is not None else self._console
        shown.print(Text(self._texts.epoch(metrics)))
