"""Scores as a table for a report or a paper: a row a config, mean ± sd over its seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pcam_kit.formatting import as_latex, as_markdown, interval, mean_sd
from pcam_kit.workflows.evaluate import RunEvaluation

TableFormat = Literal["markdown", "latex", "csv"]


@dataclass(frozen=True)
class Table:
    """Titles and rows of numbers or texts, and the rows as people read them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    texts: Sequence[Sequence[str]]
    headings: Sequence[str]

    def render(self, kind: TableFormat) -> str:
        """The table as text. CSV has plain numbers, the others what people read."""
        if kind == "markdown":
            return as_markdown(self.headings, self.texts)
        if kind == "latex":
            return as_latex(self.headings, self.texts)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


# key, heading, value
_SCORES: tuple[tuple[str, str, Callable[[RunEvaluation], float | None]], ...] = (
    ("auc", "AUC", lambda x: x.scores.auc),
    ("accuracy", "accuracy", lambda x: x.scores.accuracy),
    ("sensitivity", "sensitivity", lambda x: x.scores.confusion.sensitivity),
    ("specificity", "specificity", lambda x: x.scores.confusion.specificity),
    ("f1", "F1", lambda x: x.scores.confusion.f1),
    ("log_loss", "log loss", lambda x: x.scores.log_loss),
)


def by_config(evaluations: Sequence[RunEvaluation]) -> Table:
    """A row a config, in the order of its first run; of several seeds mean ± sd (n - 1).

    Of one run AUC and accuracy have their 95% intervals instead.
    """
    groups: dict[str, list[RunEvaluation]] = {}
    for evaluation in evaluations:
        recipe = evaluation.run.experiment.recipe().model_dump_json()
        groups.setdefault(recipe, []).append(evaluation)
    rows: list[list[Any]] = []
    texts: list[list[str]] = []
    for group in groups.values():
        name = group[0].run.experiment.name
        row: list[Any] = [name, group[0].split, group[0].scores.n, len(group)]
        shown = [name, f"{group[0].scores.n:,}", str(len(group))]
        for key, _, value in _SCORES:
            values = [number for x in group if (number := value(x)) is not None]
            row += [statistics.fmean(values) if values else ""]
            row += [statistics.stdev(values) if len(values) > 1 else ""]
            shown.append(_text(key, values, group[0]))
        rows.append(row)
        texts.append(shown)
    columns = ["config", "split", "patches", "runs"]
    columns += [name for key, _, _ in _SCORES for name in (key, f"{key}_sd")]
    headings = ["config", "patches", "runs", *(heading for _, heading, _ in _SCORES)]
    return Table(columns, rows, texts, headings)


def by_slide(evaluations: Sequence[RunEvaluation]) -> Table:
    """A row for each slide of each run. Raises UsageError where the slides are not known."""
    rows: list[list[Any]] = []
    texts: list[list[str]] = []
    for evaluation in evaluations:
        for score in evaluation.by_slide():
            counts = score.confusion
            values = (score.auc, score.accuracy, counts.sensitivity, counts.specificity, counts.f1)
            head = [evaluation.run.name, score.slide, score.n, score.positive]
            rows.append([*head, *("" if value is None else value for value in values)])
            head = [str(score.slide), f"{score.n:,}", f"{score.positive:,}"]
            if len(evaluations) > 1:
                head.insert(0, evaluation.run.name)
            texts.append([*head, *("-" if value is None else f"{value:.4f}" for value in values)])
    columns = ["run", "slide", "patches", "positive", "auc", "accuracy"]
    columns += ["sensitivity", "specificity", "f1"]
    headings = ["slide", "patches", "positive", "AUC", "accuracy", "sensitivity"]
    headings += ["specificity", "F1"]
    if len(evaluations) > 1:
        headings.insert(0, "run")
    return Table(columns, rows, texts, headings)


def _text(key: str, values: Sequence[float], first: RunEvaluation) -> str:
    if not values:
        return "-"
    intervals = {"auc": first.intervals.auc, "accuracy": first.intervals.accuracy}
    if len(values) == 1 and key in intervals:
        return interval(values[0], *intervals[key])
    return mean_sd(values)
