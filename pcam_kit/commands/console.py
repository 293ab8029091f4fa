"""What a person sees while a command works: bars on a terminal, plain lines elsewhere, all on
stderr.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
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
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 15.0  # between two lines about the same work when stderr is not a terminal


def messages() -> Console:
    """The console for messages: stderr, bound to what sys.stderr is now."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, *, style: str = "") -> None:
    """One message for the person, on stderr."""
    messages().print(Text(text, style=style))


def warn(text: str) -> None:
    """A message that something deserves a look."""
    say(f"warning: {text}", style="yellow")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, stderr: bool = False
) -> None:
    """A table on stdout, columns of numbers to the right.

    Without a terminal nothing is cut to a width.
    """
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    console = Console(stderr=stderr, highlight=False, width=None if terminal else 400)
    if title:
        console.print(Text(title, style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        numbers = all(cell[:1].isdigit() or cell in {"", "-"} for cell in (row[i] for row in rows))
        table.add_column(column, justify="right" if numbers and i > 0 else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


class Work:
    """A progress callback `(what, done, total)` for any number of jobs, in any number of threads;
    total 0 means unknown.
    """

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        # when the last line was said; when the job began, and from what
        self._said: dict[str, tuple[float, float, int]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        self._tell(what, done, total, in_bytes=False)

    def bytes(self, what: str, done: int, total: int) -> None:
        """The same for bytes: tells the amount, the speed and the time left; a finished job makes
        room for the next.
        """
        self._tell(what, done, total, in_bytes=True)

    def _tell(self, what: str, done: int, total: int, *, in_bytes: bool) -> None:
        if self._bars is not None:
            if what not in self._tasks:
                # what is there from an earlier try counts for the bar, not for the speed
                self._tasks[what] = self._bars.add_task(
                    what, total=total or None, completed=done, in_bytes=in_bytes
                )
            visible = not (in_bytes and done == total)
            self._bars.update(
                self._tasks[what], completed=done, total=total or None, visible=visible
            )
            return
        now = time.monotonic()
        # quick work says nothing
        last, began, first = self._said.setdefault(what, (now - PLAIN_SECONDS + 2.0, now, done))
        if now - last >= PLAIN_SECONDS and done != total:
            self._said[what] = (now, began, first)
            text = (
                f"{what}: {100 * done / total:.0f}%"
                if total
                else f"{what}: {decimal(done) if in_bytes else f'{done:,}'}"
            )
            if in_bytes:
                speed = (done - first) / max(now - began, 1e-3)
                text += (f" of {decimal(total)}" if total else "") + f", {decimal(round(speed))}/s"
                text += f", {duration((total - done) / speed)} left" if total and speed > 0 else ""
            print(text, file=sys.stderr, flush=True)


class _Bytes(ProgressColumn):
    """`12.3/300.0 MB  4.1 MB/s` for bytes, nothing for other work."""

    def render(self, task: Task) -> Text:
        if not task.fields["in_bytes"]:
            return Text("")
        return Text("  ").join([_AMOUNT.render(task), _SPEED.render(task)])


_AMOUNT, _SPEED = DownloadColumn(), TransferSpeedColumn()


@contextmanager
def work() -> Generator[Work]:
    """Show progress while the block runs."""
    console = messages()
    if not console.is_terminal:
        yield Work(None)
        return
    percent = TextColumn("{task.percentage:>3.0f}%")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        percent,
        _Bytes(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield Work(bars)


class TrainingDisplay:
    """Tells of a training: a bar on a terminal, a line an epoch everywhere.

    Implements `training.fit.Reporter`.
    """

    def __init__(self) -> None:
        self._console = messages()
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = self._steps = 0
        self._began = self._said = time.monotonic()
        self._first = 0  # steps that were done before this process began

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Show the bar."""
        self._epochs, self._steps, self._first = epochs, steps, done
        self._began = self._said = time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
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

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Move the bar, or say a line now and then."""
        done = (epoch - 1) * self._steps + step
        now = time.monotonic()
        if self._bars is not None and self._task is not None:
            left = f"{self._left(done)} left"
            self._bars.update(
                self._task,
                completed=done,
                description=f"epoch {epoch}/{self._epochs}",
                loss=f"loss {loss:.4f}",
                left=left,
            )
        elif now - self._said > PLAIN_SECONDS:
            self._said = now
            text = (
                f"epoch {epoch}/{self._epochs}  step {step}/{self._steps}  loss {loss:.4f}  "
                f"{self._left(done)} left"
            )
            print(text, file=sys.stderr, flush=True)

    def _left(self, done: int) -> str:
        """How long the steps after `done` will take if they are as fast as those of this process so
        far.
        """
        per_step = (time.monotonic() - self._began) / max(1, done - self._first)
        return duration(per_step * (self._epochs * self._steps - done))

    def epoch(self, metrics: dict[str, Any]) -> None:
        """A line for the finished epoch."""
        self._said = time.monotonic()
        text = (
            f"epoch {metrics['epoch']:>{len(str(self._epochs))}}/{self._epochs}  loss "
            f"{metrics['loss']:.4f}  "
            f"validation AUC {metrics['valid_auc']:.4f}{' (best)' if metrics['best'] else ''}  "
            f"{duration(metrics['seconds'])}"
        )
        if metrics["epoch"] < self._epochs:
            text += f", {self._left(metrics['epoch'] * self._steps)} left"
        (self._bars.console if self._bars is not None else self._console).print(Text(text))


@contextmanager
def quiet_import() -> Generator[None]:
    """Keep what TensorFlow's native code writes to stderr while it is imported; shown only when the
    import fails.
    """
    # from then on; lines before its logging starts come regardless
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation (n - 1), or the only value."""
    mean = f"{statistics.fmean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def duration(seconds: float) -> str:
    """`75` -> `1m15s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
    )
