"""Where to cut probabilities into classes, and how to make them mean what they say, learnt from
validation data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError
from pcam_kit.evaluation import metrics
from pcam_kit.evaluation.metrics import Floats

# Accuracy as a function of the cut is a jagged step function, and its highest step is mostly noise.
# The middle, by rank, of all cuts within 1.5 standard errors of that step loses half as much.
# Accuracy lost on fresh data against the best cut there, in percentage points, mean of 300 draws of
# each size from each of 8 score distributions (two models of real patches, 12,171 scores each; six
# synthetic ones: shifted, of unequal width, skewed, with hard positives, with 15% positives):
#                                  n = 500   1,000   3,000
#   highest step                     0.386   0.233   0.144
#   middle, 1.0 standard errors      0.207   0.124   0.085
#   middle, 1.5 standard errors      0.188   0.117   0.079   <- this
#   middle, 2.0 standard errors      0.178   0.115   0.079   0.174 with hard positives at n = 500
#   logistic fit, cut at one half    0.401   0.362   0.363   1.876 with hard positives
MIDDLE_OF = 1.5
HOTTEST = 20.0


@dataclass(frozen=True)
class Threshold:
    """A cut: `value` or more is positive.

    `accuracy` is what it reaches on the data it was chosen on, so a little too high.

    `low` and `high` are the outermost cuts whose accuracy there is within one standard error of the
    best; low <= value <= high.
    """

    value: float
    accuracy: float
    low: float
    high: float


def best_threshold(labels: ArrayLike, probabilities: ArrayLike) -> Threshold:
    """The cut that makes accuracy high and keeps it so on fresh data; O(n log n).

    Always strictly between 0 and 1, and halfway between neighbouring probabilities, so never equal
    to one. Raises DataError when the input does not fit (see `metrics`) or holds one class only.
    """
    y, p = metrics.checked(labels, probabilities, kind="probabilities")
    if y.all() or not y.any():
        raise DataError(
            f"a threshold needs both classes, found {y.size} labels that are all {int(y[0])}"
        )
    cuts, below = _cuts(p)
    positive_below = np.concatenate([[0], np.cumsum(y[np.argsort(p)])])[below]
    share = (y.sum() + below - 2 * positive_below) / y.size
    best = float(share.max())
    error = (best * (1 - best) / y.size) ** 0.5
    wide = below[share >= best - MIDDLE_OF * error]
    near = np.flatnonzero(share >= best - error)
    # the middle may lie in a dip between two humps
    chosen = near[np.abs(below[near] - (wide[0] + wide[-1]) / 2).argmin()]
    return Threshold(
        float(cuts[chosen]), float(share[chosen]), float(cuts[near[0]]), float(cuts[near[-1]])
    )


@dataclass(frozen=True)
class Temperature:
    """What log-odds are divided by: above 1 the model says too much.

    `after` is measured on the data it was fitted on.
    """

    value: float
    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> Temperature:
    """The temperature with the least log loss (Guo, Pleiss, Sun and Weinberger, ICML 2017); within
    [1/20, 20].

    Log loss is convex in 1 / temperature, so its slope is halved down to the one zero. At an end of
    the range: 1/20 for classes that are told apart without a fault, 20 for probabilities that are
    no better than chance. Raises DataError as `best_threshold` does.
    """
    y, p = metrics.checked(labels, probabilities, kind="probabilities")
    if y.all() or not y.any():
        raise DataError(
            f"a temperature needs both classes, found {y.size} labels that are all {int(y[0])}"
        )
    right = np.where(y, 1, -1) * _log_odds(probabilities)
    low, high = -np.log(HOTTEST), np.log(HOTTEST)  # of the log of the temperature
    for _ in range(40):
        middle = (low + high) / 2
        # d log loss / d (1 / temperature) = -mean(right * chance of being wrong): positive where 1
        # / temperature is too large
        too_cold = np.mean(right * np.exp(-np.logaddexp(0, right * np.exp(-middle)))) <= 0
        low, high = (middle, high) if too_cold else (low, middle)
    value = float(np.exp((low + high) / 2))
    after = at_temperature(probabilities, value)
    return Temperature(
        value,
        metrics.log_loss(y, probabilities),
        metrics.log_loss(y, after),
        metrics.expected_calibration_error(y, p),
        metrics.expected_calibration_error(y, after),
    )


def at_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """Probabilities float64 [n] whose log-odds are divided by `temperature`; their order, and the
    AUC, stay.

    Those beyond the machine epsilon of their own dtype are clipped to it first, as
    `metrics.log_loss` does: a float32 of 1 is not sure.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise DataError(f"a temperature is a finite number above 0, found {temperature!r}")
    return np.exp(-np.logaddexp(0, -_log_odds(probabilities) / temperature))


def cut_for_rate(probabilities: ArrayLike, rate: float) -> float:
    """The cut that calls as near the share `rate` of these patches positive as a cut can; strictly
    between 0 and 1.

    It uses no labels. It assumes that `rate` is the share of positives among these very patches,
    and that ranks still mean what they meant: a stain that moves all probabilities up or down then
    costs nothing. It hurts when the share is not known (a rate wrong by r costs up to r of
    accuracy), when the patches are few (n balanced draws vary by 0.5 / sqrt(n)), and when some
    slides move and others do not.
    """
    _, p = metrics.checked(np.zeros(np.shape(probabilities)), probabilities, kind="probabilities")
    if not 0 <= rate <= 1:
        raise DataError(f"a rate lies within [0, 1], found {rate!r}")
    cuts, below = _cuts(p)
    return float(cuts[np.abs(1 - below / p.size - rate).argmin()])


def _log_odds(probabilities: ArrayLike) -> Floats:
    _, p = metrics.checked(np.zeros(np.shape(probabilities)), probabilities, kind="probabilities")
    return metrics.log_odds(p, metrics.epsilon(probabilities))


def _cuts(p: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Every cut between 0 and 1 that tells values of `p` apart, rising, and how many values lie
    below each.
    """
    values, counts = np.unique(p, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    lower, upper = np.concatenate([[0.0], values]), np.concatenate([values, [1.0]])
    cuts = lower + (upper - lower) / 2
    # not so below a 0, above a 1, and between two neighbouring float64
    real = (lower < cuts) & (cuts < upper)
    return cuts[real], below[real]
