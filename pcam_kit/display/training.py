"""A training on stderr: a live table on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pcam_kit.display.console import PLAIN_SECONDS, can_draw, drawn_on, messages, print_line
from pcam_kit.formatting import duration, sparkline

MOST_EPOCHS = 12  # of the table; of earlier ones only the best stays
WIDE = 76  # columns of a terminal from which training accuracy and validation loss have room
SPARKS = 40  # characters of a curve


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


class TrainingTable:
    """The last epochs, the best one, the curves so far, and the epoch under way.

    Drawn anew several times a second, in as many columns and rows as the terminal has.
    """

    def __init__(self, epochs: int, steps: int, done: int) -> None:
        self.epochs = epochs
        self._total, self._done = epochs * steps, done
        self._lines: list[dict[str, Any]] = []
        self._aucs: list[float] = []
        self._losses: list[float] = []
        self._best: dict[str, Any] | None = None
        self.status = ""  # of the step under way; "" when there is none

    def step(self, done: int, status: str) -> None:
        """So many steps of the whole training are done."""
        self._done, self.status = done, status

    def add(self, metrics: dict[str, Any]) -> None:
        """Another epoch is finished."""
        self._lines = [*self._lines[1 - MOST_EPOCHS :], metrics]
        self._aucs.append(metrics["valid_auc"])
        self._losses.append(metrics["loss"])
        if metrics["best"]:
            self._best = metrics
        self.status = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, the curves and the bar."""
        room = max((options.height or console.height) - 7, 3)
        parts: list[Any] = []
        if self._lines:
            parts.append(self._table(self._lines[-room:], wide=options.max_width >= WIDE))
            parts += [Text(""), *self._curves(min(SPARKS, options.max_width - 30), options)]
        if self.status:
            parts.append(self._bar(options))
        yield Group(*parts)

    def _table(self, lines: Sequence[dict[str, Any]], *, wide: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        names = ["epoch", "loss"]
        if wide:
            names += ["accuracy", "validation loss"]
        for name in [*names, "validation AUC"]:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        best = self._best
        if best is not None and best["epoch"] < lines[0]["epoch"]:
            table.add_row(*self._cells(best, wide=wide), style="green")
        for line in lines:
            style = "green" if line is best else ""
            table.add_row(*self._cells(line, wide=wide), style=style)
        return table

    def _cells(self, line: dict[str, Any], *, wide: bool) -> list[str]:
        cells = [f"{line['epoch']}/{self.epochs}", f"{line['loss']:.4f}"]
        if wide:
            cells += [_number(line.get("accuracy")), _number(line.get("valid_loss"))]
        mark = "best" if line is self._best else ""
        return [*cells, f"{line['valid_auc']:.4f}", mark, duration(line["seconds"])]

    def _curves(self, width: int, options: ConsoleOptions) -> list[Text]:
        """One line a curve; none before there are two points, or without such characters."""
        if len(self._aucs) < 2 or options.ascii_only:
            return []
        return [
            Text(f"{name}  {sparkline(values, width)}  {values[0]:.4f} to {values[-1]:.4f}")
            for name, values in (("AUC ", self._aucs), ("loss", self._losses))
        ]

    def _bar(self, options: ConsoleOptions) -> Table:
        row = Table.grid(padding=(0, 2, 0, 0))
        text = Text(self.status, no_wrap=True, overflow="ellipsis")
        room = options.max_width - len(self.status) - 2
        if room < 10:
            row.add_row(text)
        else:
            bar = ProgressBar(self._total, self._done, width=min(24, room), complete_style="cyan")
            row.add_row(bar, text)
        return row


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


class TrainingDisplay:
    """A live table where one can be drawn, else plain lines. Implements `TrainingMonitor`."""

    def __init__(self) -> None:
        self._console = messages()
        self._table: TrainingTable | None = None
        self._drawn = ExitStack()
        self._steps = 0
        self._printed = time.monotonic()
        self._texts = TrainingTexts(0, 0, 0)

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is not None:
            self._table.status = ""
        self._drawn.close()  # draws it once more; finished epochs stay

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Begin to draw."""
        self._steps = steps
        self._texts = TrainingTexts(epochs, steps, done)
        self._printed = time.monotonic()
        if not can_draw(self._console):
            return
        self._table = TrainingTable(epochs, steps, done)
        if done < epochs * steps:
            epoch = done // steps + 1
            self._table.step(done, f"epoch {epoch}/{epochs}  the first step compiles")
        self._drawn.enter_context(Live(self._table, console=self._console))
        self._drawn.enter_context(drawn_on(self._console))

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Move the bar, or print a line now and then."""
        now = time.monotonic()
        done = (epoch - 1) * self._steps + step
        self._texts.compiled(done)
        if self._table is not None:
            self._table.step(done, self._texts.step(epoch, step, loss))
        elif now - self._printed > PLAIN_SECONDS:
            self._printed = now
            print_line(self._texts.step(epoch, step, loss))

    def epoch(self, metrics: dict[str, Any]) -> None:
        """A row for the finished epoch, or a line."""
        self._printed = time.monotonic()
        if self._table is not None:
            self._table.add(metrics)
        else:
            self._console.print(Text(self._texts.epoch(metrics)))
