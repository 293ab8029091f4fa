"""The threshold between the classes, and calibrated probabilities, from validation data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.metrics import Floats

# Accuracy as a function of the threshold is a jagged step function, and its highest step is mostly
# noise. The middle, by rank, of all thresholds within 1.5 standard errors of that step loses half
# as much. Accuracy lost on fresh data against the best threshold there, in percentage points, mean
# of 300 draws of each size from each of 8 score distributions (two models of real patches, 12,171
# scores each; six synthetic ones: shifted, of unequal width, skewed, with hard positives, with 15%
# positives):
#                                       n = 500   1,000   3,000
#   highest step                          0.386   0.233   0.144
#   middle, 1.0 standard errors           0.207   0.124   0.085
#   middle, 1.5 standard errors           0.188   0.117   0.079   <- this
#   middle, 2.0 standard errors           0.178   0.115   0.079   0.174 with hard positives, n = 500
#   logistic fit, threshold one half      0.401   0.362   0.363   1.876 with hard positives
PLATEAU_ERRORS = 1.5
MAX_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Threshold:
    """A decision threshold: a probability of `value` or more is positive.

    accuracy: on the data that the threshold was chosen on, so a little too high. low, high: the
    outermost thresholds whose accuracy there is within one standard error of the best;
    low <= value <= high.
    """

    value: float
    accuracy: float
    low: float
    high: float


def best_threshold(labels: ArrayLike, probabilities: ArrayLike) -> Threshold:
    """The threshold that makes accuracy high and keeps it high on fresh data; O(n log n).

    It is strictly between 0 and 1, and halfway between neighbouring probabilities, so it never
    equals one. Raises DataError when the input is invalid (see `metrics`) or has only one class.
    """
    y, p = metrics.check_inputs(labels, probabilities, kind="probabilities")
    if y.all() or not y.any():
        raise DataError(
            f"a threshold needs both classes, found {y.size} labels that are all {int(y[0])}"
        )
    thresholds, below = _candidate_thresholds(p)
    positive_below = np.concatenate([[0], np.cumsum(y[np.argsort(p)])])[below]
    accuracies = (y.sum() + below - 2 * positive_below) / y.size
    best = float(accuracies.max())
    error = (best * (1 - best) / y.size) ** 0.5
    plateau = below[accuracies >= best - PLATEAU_ERRORS * error]
    middle = (plateau[0] + plateau[-1]) / 2
    # only among the thresholds within one standard error: the middle may be in a dip of the curve
    near = np.flatnonzero(accuracies >= best - error)
    chosen = near[np.abs(below[near] - middle).argmin()]
    return Threshold(
        value=float(thresholds[chosen]),
        accuracy=float(accuracies[chosen]),
        low=float(thresholds[near[0]]),
        high=float(thresholds[near[-1]]),
    )


@dataclass(frozen=True)
class Temperature:
    """A number that log-odds are divided by; it is above 1 for an overconfident model.

    The scores after it are measured on the data that it was fitted on.
    """

    value: float
    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> Temperature:
    """The temperature within [1/20, 20] with the least log loss.

    Guo, Pleiss, Sun and Weinberger, ICML 2017. Log loss is convex in 1 / temperature, so bisection
    finds the one zero of its slope. The result is at an end of the range for perfectly separated
    classes (1/20), and for probabilities that are no better than chance (20). Raises DataError as
    `best_threshold` does.

    It is 1 / the coefficient of scikit-learn's LogisticRegression on the log-odds, which has no
    bounds: there it is infinite or negative for probabilities that are no better than chance.
    """
    y, p = metrics.check_inputs(labels, probabilities, kind="probabilities")
    if y.all() or not y.any():
        raise DataError(
            f"a temperature needs both classes, found {y.size} labels that are all {int(y[0])}"
        )
    # log-odds of the true class
    margins = np.where(y, 1, -1) * _log_odds(probabilities)
    # bounds of the log of the temperature
    low, high = -np.log(MAX_TEMPERATURE), np.log(MAX_TEMPERATURE)
    for _ in range(40):
        middle = (low + high) / 2
        # The slope of log loss in 1 / temperature is -mean(margin * probability of the wrong
        # class); it is positive where 1 / temperature is too large.
        wrong = np.exp(-np.logaddexp(0, margins * np.exp(-middle)))
        if np.mean(margins * wrong) <= 0:
            low = middle
        else:
            high = middle
    value = float(np.exp((low + high) / 2))
    after = apply_temperature(probabilities, value)
    return Temperature(
        value=value,
        log_loss_before=metrics.log_loss(y, probabilities),
        log_loss_after=metrics.log_loss(y, after),
        ece_before=metrics.expected_calibration_error(y, p),
        ece_after=metrics.expected_calibration_error(y, after),
    )


def apply_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """Probabilities, float64 [n], whose log-odds are divided by `temperature`.

    Their order stays, and so does the AUC. Values within the machine epsilon of 0 or 1, in their
    own dtype, are clipped first, as in `metrics.log_loss`: a float32 of 1 is not certain. Raises
    DataError.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise DataError(f"a temperature is a finite number above 0, found {temperature!r}")
    return np.exp(-np.logaddexp(0, -_log_odds(probabilities) / temperature))


def threshold_for_rate(probabilities: ArrayLike, rate: float) -> float:
    """The threshold, strictly between 0 and 1, whose share of positives is nearest to `rate`.

    It uses no labels. It assumes that `rate` is the share of positives among these very patches,
    and that the model still ranks them as before: a stain that moves all probabilities up or down
    then costs nothing. It hurts when the share is not known (a rate wrong by r costs up to r of
    accuracy), when there are few patches (n balanced draws vary by 0.5 / sqrt(n)), and when some
    slides shift and others do not. Raises DataError.
    """
    no_labels = np.zeros(np.shape(probabilities))
    _, p = metrics.check_inputs(no_labels, probabilities, kind="probabilities")
    if not 0 <= rate <= 1:
        raise DataError(f"a rate lies within [0, 1], found {rate!r}")
    thresholds, below = _candidate_thresholds(p)
    positive_shares = 1 - below / p.size
    return float(thresholds[np.abs(positive_shares - rate).argmin()])


def _log_odds(probabilities: ArrayLike) -> Floats:
    no_labels = np.zeros(np.shape(probabilities))
    _, p = metrics.check_inputs(no_labels, probabilities, kind="probabilities")
    return metrics.log_odds(p, metrics.machine_epsilon(probabilities))


def _candidate_thresholds(p: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Every threshold between 0 and 1 that separates values of `p`, and how many are below it.

    Both [m], in rising order.
    """
    values, counts = np.unique(p, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    lower = np.concatenate([[0.0], values])
    upper = np.concatenate([values, [1.0]])
    thresholds = lower + (upper - lower) / 2
    # there is none below a 0, above a 1, or between two neighbouring float64
    separates = (lower < thresholds) & (thresholds < upper)
    return thresholds[separates], below[separates]
