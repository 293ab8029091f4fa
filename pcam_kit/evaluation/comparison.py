"""Is one run better than another on the same patches?

Differences with intervals and p, by slide where slides are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError
from pcam_kit.evaluation import metrics
from pcam_kit.evaluation.intervals import enough_slides, percentiles, resample, two_sided
from pcam_kit.evaluation.metrics import Floats


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run says of the patches: probabilities [n], `threshold` or more is positive."""

    probabilities: ArrayLike
    threshold: float


@dataclass(frozen=True)
class Difference:
    """The second minus the first, its 95% interval, and the two-sided p of no difference (None
    where no test can tell).
    """

    value: float
    low: float
    high: float
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """Differences in AUC and in accuracy at each one's threshold, for other slides like these, or
    other patches (`slides` None).
    """

    auc: Difference
    accuracy: Difference
    slides: int | None


def compare(
    labels: ArrayLike, first: Answers, second: Answers, groups: NDArray[np.int32] | None = None
) -> Comparison:
    """How `second` does against `first` on the same patches. Raises DataError as `metrics` does.

    By slide: percentiles of the differences over the same draws of slides. By patch: DeLong's test
    for AUC; for accuracy McNemar's.
    """
    slides = enough_slides(groups)
    if groups is None or slides is None:
        return Comparison(
            delong(labels, first.probabilities, second.probabilities),
            mcnemar(labels, first, second),
            None,
        )
    one, two = (
        resample(labels, run.probabilities, run.threshold, groups) for run in (first, second)
    )
    auc = metrics.roc_auc(labels, second.probabilities) - metrics.roc_auc(
        labels, first.probabilities
    )
    accuracy = metrics.accuracy(labels, second.probabilities, second.threshold)
    accuracy -= metrics.accuracy(labels, first.probabilities, first.threshold)
    return Comparison(
        _by_slide(auc, two.auc - one.auc, slides),
        _by_slide(accuracy, two.accuracy - one.accuracy, slides),
        slides,
    )


def _by_slide(value: float, drawn: Floats, slides: int) -> Difference:
    return Difference(value, *percentiles(drawn, slides), two_sided(drawn, slides))


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference of two correlated AUCs, `second` minus `first`, patches taken as independent;
    O(n log n).

    DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988. Two rankings without a difference in any
    patch differ by 0 with p 1. Where they do differ and the test has no variance (one patch of a
    class, or the same difference in every patch), the interval is as wide as the two single
    intervals allow, and p is None.
    """
    y, one = metrics.checked(labels, first, kind="scores", both_classes=True)
    _, two = metrics.checked(labels, second, kind="scores", both_classes=True)
    changes = [
        after - before
        for before, after in zip(
            metrics.placements(y, one), metrics.placements(y, two), strict=True
        )
    ]
    value = float(changes[0].mean())
    if not any(change.any() for change in changes):
        return Difference(0.0, 0.0, 0.0, 1.0)
    smaller = min(change.size for change in changes)
    variance = (
        sum(float(change.var(ddof=1)) / change.size for change in changes) if smaller > 1 else 0.0
    )
    if variance < 1e-24:  # rounding of equal differences
        (low, high), (least, most) = metrics.auc_interval(y, one), metrics.auc_interval(y, two)
        return Difference(value, least - high, most - low, None)
    error = variance**0.5
    half = NormalDist().inv_cdf(0.975) * error
    return Difference(
        value,
        max(-1.0, value - half),
        min(1.0, value + half),
        math.erfc(abs(value) / error / 2**0.5),
    )


def mcnemar(labels: ArrayLike, first: Answers, second: Answers) -> Difference:
    """The difference in accuracy on the same patches, `second` minus `first`, patches taken as
    independent.

    p is McNemar's mid-p, the interval Bonett and Price's: what Fagerland, Lydersen and Laake (BMC
    Med. Res. Methodol. 13, 2013, and Stat. Med. 33, 2014) recommend for paired shares. Both look
    only at the patches that one run gets right and the other wrong.
    """
    y, one = metrics.checked(labels, first.probabilities, kind="probabilities")
    _, two = metrics.checked(labels, second.probabilities, kind="probabilities")
    if not (math.isfinite(first.threshold) and math.isfinite(second.threshold)):
        raise DataError(
            f"thresholds must be finite numbers, found {first.threshold!r} and {second.threshold!r}"
        )
    before, after = (one >= first.threshold) == y, (two >= second.threshold) == y
    worse, better = int((before & ~after).sum()), int((~before & after).sum())
    loss, gain = (worse + 1) / (y.size + 2), (better + 1) / (y.size + 2)
    half = NormalDist().inv_cdf(0.975) * ((loss + gain - (gain - loss) ** 2) / (y.size + 2)) ** 0.5
    return Difference(
        (better - worse) / y.size,
        max(-1.0, gain - loss - half),
        min(1.0, gain - loss + half),
        _mid_p(worse, better),
    )


def _mid_p(worse: int, better: int) -> float:
    """Two-sided mid-p of a fair coin: twice the chance of fewer than the smaller count, and the
    chance of just that many.
    """
    below, here = 0, 1  # exact: integers, of 2**n
    n, smaller = worse + better, min(worse, better)
    for k in range(smaller):
        below += here
        here = here * (n - k) // (k + 1)
    return min(1.0, (2 * below + here) / 2**n)
