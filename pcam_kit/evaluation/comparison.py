"""Is one run better than another on the same patches? Differences with intervals and p values.

By slide where the slides are known, by patch elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.evaluation.intervals import (
    percentile_interval,
    resample,
    slides_to_resample,
    two_sided_p,
)
from pcam_kit.metrics import Floats

# a variance below this is the rounding error of equal differences
ZERO_VARIANCE = 1e-24


@dataclass(frozen=True, eq=False)
class Answers:
    """A run's predictions: probabilities [n], of which `threshold` or more is positive."""

    probabilities: ArrayLike
    threshold: float


@dataclass(frozen=True)
class Difference:
    """The second run's score minus the first's, and its 95% interval.

    p: two-sided, of the hypothesis of no difference; None where no test is possible.
    """

    value: float
    low: float
    high: float
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """Differences in AUC, and in accuracy at each run's own threshold.

    slides: how many were resampled; the intervals are then about other slides like these. None: the
    intervals are about other patches.
    """

    auc: Difference
    accuracy: Difference
    slides: int | None


def compare(
    labels: ArrayLike, first: Answers, second: Answers, groups: NDArray[np.int32] | None = None
) -> Comparison:
    """How much better `second` is than `first` on the same patches.

    groups: [n], the slide of each patch, -1 where unknown. By slide: percentiles of the differences
    over the same draws of slides. By patch: DeLong's test for AUC, McNemar's for accuracy. Raises
    DataError as `metrics` does.
    """
    slides = slides_to_resample(groups)
    if groups is None or slides is None:
        return Comparison(
            auc=delong(labels, first.probabilities, second.probabilities),
            accuracy=mcnemar(labels, first, second),
            slides=None,
        )
    # the same seed, so the same slides in each draw
    first_draws, second_draws = (
        resample(labels, run.probabilities, run.threshold, groups) for run in (first, second)
    )
    auc = metrics.roc_auc(labels, second.probabilities)
    auc -= metrics.roc_auc(labels, first.probabilities)
    accuracy = metrics.accuracy(labels, second.probabilities, second.threshold)
    accuracy -= metrics.accuracy(labels, first.probabilities, first.threshold)
    return Comparison(
        auc=_difference_by_slide(auc, second_draws.auc - first_draws.auc, slides),
        accuracy=_difference_by_slide(
            accuracy, second_draws.accuracy - first_draws.accuracy, slides
        ),
        slides=slides,
    )


def _difference_by_slide(value: float, draws: Floats, slides: int) -> Difference:
    low, high = percentile_interval(draws, slides)
    return Difference(value, low, high, two_sided_p(draws, slides))


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference of two correlated AUCs, patches taken as independent; O(n log n).

    DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988. Two rankings without a difference in any
    patch differ by 0 with p 1. Where they do differ and the test has no variance (one patch of a
    class, or the same difference in every patch), the interval is as wide as the two single
    intervals allow, and p is None.
    """
    y, first_scores = metrics.check_inputs(labels, first, kind="scores", both_classes=True)
    _, second_scores = metrics.check_inputs(labels, second, kind="scores", both_classes=True)
    # of the positives, and of the negatives
    changes = [
        after - before
        for before, after in zip(
            metrics.placements(y, first_scores), metrics.placements(y, second_scores), strict=True
        )
    ]
    value = float(changes[0].mean())
    if not any(change.any() for change in changes):
        return Difference(0.0, 0.0, 0.0, 1.0)
    variance = 0.0
    if min(change.size for change in changes) > 1:
        variance = sum(float(change.var(ddof=1)) / change.size for change in changes)
    if variance < ZERO_VARIANCE:
        first_low, first_high = metrics.auc_interval(y, first_scores)
        second_low, second_high = metrics.auc_interval(y, second_scores)
        return Difference(value, second_low - first_high, second_high - first_low, None)
    error = variance**0.5
    half_width = NormalDist().inv_cdf(0.975) * error
    return Difference(
        value=value,
        low=max(-1.0, value - half_width),
        high=min(1.0, value + half_width),
        p=math.erfc(abs(value) / error / 2**0.5),
    )


def mcnemar(labels: ArrayLike, first: Answers, second: Answers) -> Difference:
    """The difference in accuracy on the same patches, patches taken as independent.

    p is McNemar's mid-p, the interval Bonett and Price's: what Fagerland, Lydersen and Laake (BMC
    Med. Res. Methodol. 13, 2013, and Stat. Med. 33, 2014) recommend for paired proportions. Both
    use only the patches that one run gets right and the other wrong.
    """
    y, p_first = metrics.check_inputs(labels, first.probabilities, kind="probabilities")
    _, p_second = metrics.check_inputs(labels, second.probabilities, kind="probabilities")
    if not (math.isfinite(first.threshold) and math.isfinite(second.threshold)):
        raise DataError(
            f"thresholds must be finite numbers, found {first.threshold!r} and {second.threshold!r}"
        )
    first_right = (p_first >= first.threshold) == y
    second_right = (p_second >= second.threshold) == y
    worse = int((first_right & ~second_right).sum())
    better = int((~first_right & second_right).sum())
    # Bonett and Price: one imaginary patch is added to each kind of disagreement
    n = y.size + 2
    loss, gain = (worse + 1) / n, (better + 1) / n
    error = ((loss + gain - (gain - loss) ** 2) / n) ** 0.5
    half_width = NormalDist().inv_cdf(0.975) * error
    return Difference(
        value=(better - worse) / y.size,
        low=max(-1.0, gain - loss - half_width),
        high=min(1.0, gain - loss + half_width),
        p=_mid_p(worse, better),
    )


def _mid_p(worse: int, better: int) -> float:
    """Two-sided mid-p of a fair coin.

    Twice the probability of fewer than the smaller count, plus the probability of just that count.
    """
    n, smaller = worse + better, min(worse, better)
    # of 2**n sequences: how many have fewer, and how many have exactly k; exact integers
    below, exactly = 0, 1
    for k in range(smaller):
        below += exactly
        exactly = exactly * (n - k) // (k + 1)
    return min(1.0, (2 * below + exactly) / 2**n)
