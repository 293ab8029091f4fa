"""Where to cut probabilities into classes, learnt from validation data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pcam_kit.errors import DataError
from pcam_kit.evaluation import metrics

# Accuracy as a function of the cut is a jagged step function, and its highest step is mostly noise. The middle, by rank, of all cuts within
# 1.5 standard errors of that step loses half as much. Accuracy lost on fresh data against the best cut there, in percentage points, mean of
# 300 draws of each size from each of 8 score distributions (two models of real patches, 12,171 scores each; six synthetic ones: shifted, of
# unequal width, skewed, with hard positives, with 15% positives):
#                                  n = 500   1,000   3,000
#   highest step                     0.386   0.233   0.144
#   middle, 1.0 standard errors      0.207   0.124   0.085
#   middle, 1.5 standard errors      0.188   0.117   0.079   <- this
#   middle, 2.0 standard errors      0.178   0.115   0.079   worse with hard positives: 0.174 at n = 500, not 0.150
#   logistic fit, cut at one half    0.401   0.362   0.363   the best where its assumption holds; 1.876 with hard positives
MIDDLE_OF = 1.5


@dataclass(frozen=True)
class Threshold:
    """A cut: `value` or more is positive. `accuracy` is what it reaches on the data it was chosen on, so a little too high.

    `low` and `high` are the outermost cuts whose accuracy there is within one standard error of the best; low <= value <= high.
    """

    value: float
    accuracy: float
    low: float
    high: float


def best_threshold(labels: ArrayLike, probabilities: ArrayLike) -> Threshold:
    """The cut that makes accuracy high and keeps it so on fresh data; O(n log n).

    Always strictly between 0 and 1, and halfway between neighbouring probabilities, so never equal to one. Raises DataError when the
    input does not fit (see `metrics`) or holds one class only.
    """
    y, p = metrics.checked(labels, probabilities, kind="probabilities")
    if y.all() or not y.any():
        raise DataError(f"a threshold needs both classes, found {y.size} labels that are all {int(y[0])}")
    values, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    positive = np.bincount(inverse, weights=y)
    # Cut number i has the i lowest distinct values below it; from 0 (all called positive) to len(values) (none).
    below = np.concatenate([[0], np.cumsum(counts)])
    right = np.concatenate([[0], np.cumsum(counts - 2 * positive)]) + y.sum()
    lower, upper = np.concatenate([[0.0], values]), np.concatenate([values, [1.0]])
    cuts = lower + (upper - lower) / 2
    real = (lower < cuts) & (cuts < upper)  # not so below a 0, above a 1, and between two neighbouring float64
    cuts, below, share = cuts[real], below[real], right[real] / y.size
    best = float(share.max())
    error = (best * (1 - best) / y.size) ** 0.5
    wide = below[share >= best - MIDDLE_OF * error]
    near = np.flatnonzero(share >= best - error)
    chosen = near[np.abs(below[near] - (wide[0] + wide[-1]) / 2).argmin()]  # the middle may lie in a dip between two humps
    return Threshold(float(cuts[chosen]), float(share[chosen]), float(cuts[near[0]]), float(cuts[near[-1]]))
