"""Scores of binary predictions, in NumPy alone.

`labels`: 0 or 1, [n]; `scores` and `probabilities`: real, [n].

All raise DataError when the labels are not 0 or 1, a value is not finite, a probability lies
outside [0, 1], or lengths differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold: true and false negatives and positives."""

    tn: int
    fp: int
    fn: int
    tp: int


@dataclass(frozen=True)
class Evaluation:
    """All scores of one set of predictions.

    `accuracy`: at `threshold`; `ece`: 15 bins. How sure they are: evaluation/intervals.py.
    """

    n: int
    positive: int
    auc: float
    accuracy: float
    accuracy_at_half: float
    threshold: float
    log_loss: float
    brier: float
    ece: float
    confusion: Confusion


def evaluate(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> Evaluation:
    """Every score at once.

    Raises DataError also when only one class is there, because AUC is then undefined.
    """
    y, p = checked(labels, probabilities, kind="probabilities", both_classes=True)
    return Evaluation(
        n=y.size,
        positive=int(y.sum()),
        auc=roc_auc(y, p),
        accuracy=accuracy(y, p, threshold),
        accuracy_at_half=accuracy(y, p, 0.5),
        threshold=float(threshold),
        log_loss=log_loss(labels, probabilities),  # as given: its clipping depends on the dtype
        brier=brier(y, p),
        ece=expected_calibration_error(y, p),
        confusion=confusion(y, p, threshold),
    )


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The chance that a random positive scores above a random negative, a tie counting half.

    By ranks, O(n log n).
    """
    y, s = checked(labels, scores, kind="scores", both_classes=True)
    positive = int(y.sum())
    # a multiple of 1/2, so exact
    above = float(midranks(s)[y].sum()) - positive * (positive + 1) / 2
    return above / (positive * (y.size - positive))


def auc_interval(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval of the AUC for fresh patches drawn like these, within [0, 1].

    DeLong's variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988; by ranks as Sun and
    Xu, IEEE SPL 21, 2014), carried to the logit scale (Pepe, The Statistical Evaluation of Medical
    Tests, 2003). It takes patches as independent: where several come from one slide it is too
    narrow. So it is, a little, for few patches and a high AUC: 0.92 instead of 0.95 at AUC 0.98
    with 60 positives.

    Where that variance cannot be had (one patch of a class, or all scores equal) its upper bound
    auc (1 - auc) / k stands in, k being the size of the smaller class (Birnbaum and Klose, Ann.
    Math. Stat. 28, 1957). A perfect AUC gets the one-sided bound a^(1/k) with a = 1 - level,
    because k disjoint pairs are all in order with a chance of at most auc^k. An AUC of 0 gets its
    mirror image.
    """
    if not 0 < level < 1:
        raise DataError(f"a confidence level lies between 0 and 1, found {level!r}")
    y, s = checked(labels, scores, kind="scores", both_classes=True)
    auc = roc_auc(y, s)
    smaller = int(min(y.sum(), y.size - y.sum()))
    if auc in (0.0, 1.0):
        bound = (1 - level) ** (1 / smaller)
        return (bound, 1.0) if auc == 1.0 else (0.0, 1 - bound)
    variance = _delong_variance(y, s) if smaller > 1 else 0.0
    if variance <= 0:
        variance = auc * (1 - auc) / smaller
    # Widths beyond 700 would overflow exp and mean "nothing known" just as well.
    width = min(NormalDist().inv_cdf((1 + level) / 2) * variance**0.5 / (auc * (1 - auc)), 700.0)
    odds = auc / (1 - auc)
    low, high = odds * np.exp(-width), odds * np.exp(width)
    return float(low / (1 + low)), float(high / (1 + high))


def accuracy(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> float:
    """The share that is right when a probability of `threshold` or more means positive."""
    counts = confusion(labels, probabilities, threshold)
    return (counts.tn + counts.tp) / (counts.tn + counts.fp + counts.fn + counts.tp)


def confusion(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> Confusion:
    """The four counts when a probability of `threshold` or more means positive."""
    y, p = checked(labels, probabilities, kind="probabilities")
    if not np.isfinite(threshold):
        raise DataError(f"the threshold must be a finite number, found {threshold!r}")
    # float64 against float64: a float32 array would round the threshold first
    said = p >= threshold
    tn, fp, fn, tp = np.bincount(2 * y + said, minlength=4).tolist()
    return Confusion(tn, fp, fn, tp)


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log likelihood in nats, clipped like scikit-learn at the machine epsilon of the
    probabilities' own dtype.
    """
    y, p = checked(labels, probabilities, kind="probabilities")
    eps = epsilon(probabilities)
    return float(-np.mean(np.log(np.clip(np.where(y, p, 1 - p), eps, 1 - eps))))


def epsilon(probabilities: ArrayLike) -> float:
    """The machine epsilon of their dtype; float64's for whole numbers."""
    dtype = np.asarray(probabilities).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def log_odds(probabilities: Floats, least: float) -> Floats:
    """ln(p / (1 - p)), finite also for 0 and 1: these count as `least` and 1 - `least`."""
    p = np.clip(probabilities, least, 1 - least)
    return np.log(p) - np.log1p(-p)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of the probability from the label: 0 is perfect, 0.25 is always saying
    one half.
    """
    y, p = checked(labels, probabilities, kind="probabilities")
    return float(np.mean((p - y) ** 2))


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 15
) -> float:
    """Mean distance between what was said and what was found, over `bins` equal-width bins [i/bins,
    (i+1)/bins), the last one closed.

    A bin compares its mean probability with its share of positives and weighs as many patches as it
    holds. (Naeini, AAAI 2015; there for the probability of the positive class, as here.)
    """
    y, p = checked(labels, probabilities, kind="probabilities")
    if bins < 1:
        raise DataError(f"calibration error needs at least one bin, found {bins}")
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(index, weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / y.size)


def checked(
    labels: ArrayLike,
    values: ArrayLike,
    *,
    kind: Literal["scores", "probabilities"],
    both_classes: bool = False,
) -> tuple[NDArray[np.bool_], Floats]:
    """Labels as bool [n] and values as float64 [n].

    Raises DataError saying what does not fit, where, and what was found.
    """
    given, raw = np.asarray(labels), np.asarray(values)
    if given.ndim != 1 or raw.ndim != 1 or given.size != raw.size:
        raise DataError(
            f"expected as many {kind} as labels, both [n]; found labels {list(given.shape)} and "
            f"{kind} {list(raw.shape)}"
        )
    if given.size == 0:
        raise DataError(f"nothing to score: there are no labels and no {kind}")
    if given.dtype.kind not in "buif" or raw.dtype.kind not in "buif":
        raise DataError(
            f"expected numbers, found labels of type {given.dtype} and {kind} of type {raw.dtype}"
        )
    positive = given == 1
    _refuse(~positive & (given != 0), given, "labels must be 0 or 1")
    numbers = raw.astype(np.float64)
    _refuse(~np.isfinite(numbers), raw, f"{kind} must be finite")
    if kind == "probabilities":
        _refuse((numbers < 0) | (numbers > 1), raw, "probabilities must lie within [0, 1]")
    if both_classes and (positive.all() or not positive.any()):
        raise DataError(
            f"AUC needs both classes, found {positive.size} labels that are all {int(positive[0])}"
        )
    return positive, numbers


def _refuse(wrong: NDArray[np.bool_], values: NDArray[np.generic], rule: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{rule}: found {values[first]} at position {first} ({int(wrong.sum())} of "
            f"{wrong.size} do not fit)"
        )


def midranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def placements(y: NDArray[np.bool_], s: Floats) -> tuple[Floats, Floats]:
    """Each positive's share of negatives below it, each negative's share of positives above it; a
    tie counts half.
    """
    positive, negative = s[y], s[~y]
    ranks = midranks(s)
    return (ranks[y] - midranks(positive)) / negative.size, 1 - (
        ranks[~y] - midranks(negative)
    ) / positive.size


def _delong_variance(y: NDArray[np.bool_], s: Floats) -> float:
    return sum(float(shares.var(ddof=1) / shares.size) for shares in placements(y, s))
