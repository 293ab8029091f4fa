"""Submissions scored as Kaggle would."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path


def score(data: bytes, solution: Path | None, metric: str) -> dict[str, str]:
    """Status, scores and error text of a submission, as Kaggle would tell them; both scores are
    those of all rows.
    """

    def failed(why: str) -> dict[str, str]:
        return {"status": "ERROR", "publicScore": "", "privateScore": "", "errorDescription": why}

    if solution is None:
        return failed("This competition does not score submissions")
    header, truth = _table(solution.read_bytes())
    try:
        given_header, given = _table(data)
        values = [float(value) for _, value in given]
    except (ValueError, IndexError) as error:
        return failed(f"Evaluation Exception: {error}")
    if given_header != header:
        return failed(f"Evaluation Exception: Submission must have the columns {','.join(header)}")
    wanted = dict(truth)
    if len(given) != len(wanted) or {name for name, _ in given} != set(wanted):
        return failed("Evaluation Exception: Submission and solution values for id must match")
    labels = [float(wanted[name]) for name, _ in given]
    if any(value != value for value in values):
        return failed("Evaluation Exception: Submission contains null values")
    result = f"{(accuracy if metric == 'accuracy' else auc)(labels, values):.5f}"
    return {
        "status": "COMPLETE",
        "publicScore": result,
        "privateScore": result,
        "errorDescription": "",
    }


def accuracy(labels: list[float], values: list[float]) -> float:
    return sum(label == value for label, value in zip(labels, values, strict=True)) / len(labels)


def auc(labels: list[float], values: list[float]) -> float:
    """The share of (positive, negative) pairs in the right order, ties counting half, by ranks."""
    rank_of, place = {}, 0
    for value, same in itertools.groupby(sorted(values)):
        n = len(list(same))
        rank_of[value] = place + (n + 1) / 2
        place += n
    positive = sum(label == 1 for label in labels)
    ranks = sum(rank_of[value] for label, value in zip(labels, values, strict=True) if label == 1)
    return (ranks - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def _table(data: bytes) -> tuple[list[str], list[tuple[str, str]]]:
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    return rows[0], [(row[0], row[1]) for row in rows[1:] if row]
