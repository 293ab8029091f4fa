"""Counts at every threshold of the slider, and the rows of the table that works without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.metrics import Confusion, Floats, confusion

LINEAR = 1000  # steps of equal size
LOGISTIC = 280  # steps of equal size in log-odds, for networks that are sure of themselves
FURTHEST = 14.0  # log-odds
RATE = 0.95  # of sensitivity and specificity, in the table


@dataclass(frozen=True)
class ThresholdRow:
    """The counts at one threshold, and what it is called."""

    name: str
    threshold: float
    counts: Confusion


def threshold_row(
    name: str, labels: NDArray[np.int8], probabilities: NDArray[np.float32], threshold: float
) -> ThresholdRow:
    """The row of one threshold: a probability of `threshold` or more is positive."""
    return ThresholdRow(name, threshold, confusion(labels, probabilities, threshold))


def threshold_rows(
    labels: NDArray[np.int8], probabilities: NDArray[np.float32], chosen: float
) -> list[ThresholdRow]:
    """The chosen threshold, one half, and those for high sensitivity and high specificity."""
    p = probabilities.astype(np.float64)
    positive, negative = np.sort(p[labels == 1]), np.sort(p[labels == 0])
    # the highest threshold that keeps RATE of the positives
    sensitive = float(positive[int(np.floor((1 - RATE) * positive.size + 1e-9))])
    # the lowest one that is above RATE of the negatives: just above the last of those
    kept = int(np.ceil(RATE * negative.size - 1e-9))
    specific = float(np.nextafter(negative[kept - 1], 2.0))
    named = [
        ("chosen", chosen),
        ("one half", 0.5),
        (f"sensitivity {RATE:.0%}", sensitive),
        (f"specificity {RATE:.0%}", specific),
    ]
    return [threshold_row(name, labels, probabilities, value) for name, value in named]


def slider(
    labels: NDArray[np.int8], probabilities: NDArray[np.float32], chosen: float
) -> dict[str, Any]:
    """True and false positives at each threshold of the slider, as compact JSON values.

    t: thresholds, rising. tp, fp: how many patches of each class are at or above. chosen: the
    place of the chosen threshold in `t`, which it equals to the last bit.
    """
    thresholds = _thresholds(chosen)
    p = probabilities.astype(np.float64)  # as `metrics.confusion` compares
    positive, negative = np.sort(p[labels == 1]), np.sort(p[labels == 0])
    return {
        "t": thresholds.tolist(),
        "tp": (positive.size - np.searchsorted(positive, thresholds, "left")).tolist(),
        "fp": (negative.size - np.searchsorted(negative, thresholds, "left")).tolist(),
        "positive": positive.size,
        "negative": negative.size,
        "chosen": int(np.flatnonzero(thresholds == chosen)[0]),
    }


def _thresholds(chosen: float) -> Floats:
    """The thresholds of the slider: fine everywhere, and finer near 0 and 1."""
    linear = np.round(np.linspace(0, 1, LINEAR + 1), 3)
    tails = 1 / (1 + np.exp(-np.linspace(-FURTHEST, FURTHEST, LOGISTIC + 1)))
    return np.unique(np.concatenate([linear, np.round(tails, 7), [chosen]]))
