"""Scores of binary predictions, in NumPy alone.

`labels`: 0 or 1, [n]. `scores` and `probabilities`: real numbers, [n]. All functions raise
DataError when the labels are not 0 or 1, a value is not finite, a probability is outside [0, 1], or
lengths differ.

Those that scikit-learn has are equal to its own. Its own are not used because its import would take
`pcam evaluate` from 0.5 to 1.4 s, and its calls take 6 to 60 times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts of true and false negatives and positives at one threshold.

    The shares below are None where nothing could be counted, e.g. the sensitivity without positive
    patches.
    """

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def sensitivity(self) -> float | None:
        """The share of positive patches that are called positive; also called recall."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float | None:
        """The share of negative patches that are called negative."""
        return _share(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float | None:
        """The share of patches called positive that are positive."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and sensitivity."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean of sensitivity and specificity."""
        if self.sensitivity is None or self.specificity is None:
            return None
        return (self.sensitivity + self.specificity) / 2

    @property
    def accuracy(self) -> float | None:
        """The share of patches whose class is right."""
        return _share(self.tn + self.tp, self.tn + self.fp + self.fn + self.tp)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class Evaluation:
    """All scores of one set of predictions.

    n: patches. positive: how many are. accuracy, confusion: at `threshold`. ece: expected
    calibration error, 15 bins. Confidence intervals: see evaluation/intervals.py.
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

    Raises DataError also when there is only one class, because AUC is then undefined.
    """
    y, p = check_inputs(labels, probabilities, kind="probabilities", both_classes=True)
    return Evaluation(
        n=y.size,
        positive=int(y.sum()),
        auc=roc_auc(y, p),
        accuracy=accuracy(y, p, threshold),
        accuracy_at_half=accuracy(y, p, 0.5),
        threshold=float(threshold),
        # the probabilities before conversion, as clipping depends on their dtype
        log_loss=log_loss(labels, probabilities),
        brier=brier(y, p),
        ece=expected_calibration_error(y, p),
        confusion=confusion(y, p, threshold),
    )


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The probability that a random positive scores above a random negative, a tie counting half.

    By ranks, O(n log n).
    """
    y, s = check_inputs(labels, scores, kind="scores", both_classes=True)
    positive = int(y.sum())
    # a multiple of 1/2, so exact
    above = float(midranks(s)[y].sum()) - positive * (positive + 1) / 2
    return above / (positive * (y.size - positive))


def auc_interval(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval of the AUC for fresh patches drawn like these, within [0, 1].

    DeLong's variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988; by ranks as Sun and
    Xu, IEEE SPL 21, 2014), carried to the logit scale (Pepe, The Statistical Evaluation of Medical
    Tests, 2003). It takes patches as independent: where several come from one slide it is too
    narrow. It is slightly too narrow also for few patches and a high AUC: its coverage is 0.92
    instead of 0.95 at AUC 0.98 with 60 positives.

    Where that variance is undefined (one patch of a class, or all scores equal), its upper bound
    auc (1 - auc) / k is used instead, k being the size of the smaller class (Birnbaum and Klose,
    Ann. Math. Stat. 28, 1957). A perfect AUC gets the one-sided bound a^(1/k) with a = 1 - level,
    because k disjoint pairs are all in order with a probability of at most auc^k. An AUC of 0 gets
    its mirror image.
    """
    if not 0 < level < 1:
        raise DataError(f"a confidence level lies between 0 and 1, found {level!r}")
    y, s = check_inputs(labels, scores, kind="scores", both_classes=True)
    auc = roc_auc(y, s)
    smaller = int(min(y.sum(), y.size - y.sum()))
    if auc in (0.0, 1.0):
        bound = (1 - level) ** (1 / smaller)
        return (bound, 1.0) if auc == 1.0 else (0.0, 1 - bound)
    variance = _delong_variance(y, s) if smaller > 1 else 0.0
    if variance <= 0:
        variance = auc * (1 - auc) / smaller
    z = NormalDist().inv_cdf((1 + level) / 2)
    # on the logit scale; beyond 700 exp would overflow, and the interval is [0, 1] anyway
    width = min(z * variance**0.5 / (auc * (1 - auc)), 700.0)
    odds = auc / (1 - auc)
    low, high = odds * np.exp(-width), odds * np.exp(width)
    return float(low / (1 + low)), float(high / (1 + high))


def accuracy(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> float:
    """The share of correct classes when a probability of `threshold` or more means positive."""
    counts = confusion(labels, probabilities, threshold)
    return (counts.tn + counts.tp) / (counts.tn + counts.fp + counts.fn + counts.tp)


def confusion(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> Confusion:
    """The four counts when a probability of `threshold` or more means positive."""
    y, p = check_inputs(labels, probabilities, kind="probabilities")
    if not np.isfinite(threshold):
        raise DataError(f"the threshold must be a finite number, found {threshold!r}")
    # p is float64: a float32 array would round the threshold first
    predicted = p >= threshold
    tn, fp, fn, tp = np.bincount(2 * y + predicted, minlength=4).tolist()
    return Confusion(tn, fp, fn, tp)


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log likelihood, in nats.

    As in scikit-learn, probabilities are clipped at the machine epsilon of their own dtype.
    """
    y, p = check_inputs(labels, probabilities, kind="probabilities")
    eps = machine_epsilon(probabilities)
    return float(-np.mean(np.log(np.clip(np.where(y, p, 1 - p), eps, 1 - eps))))


def machine_epsilon(probabilities: ArrayLike) -> float:
    """The machine epsilon of their dtype; that of float64 for integers."""
    dtype = np.asarray(probabilities).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def log_odds(probabilities: Floats, minimum: float) -> Floats:
    """ln(p / (1 - p)), with p clipped to [`minimum`, 1 - `minimum`] so that it is finite."""
    p = np.clip(probabilities, minimum, 1 - minimum)
    return np.log(p) - np.log1p(-p)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of the probability from the label.

    0 is perfect; a constant probability of one half gives 0.25.
    """
    y, p = check_inputs(labels, probabilities, kind="probabilities")
    return float(np.mean((p - y) ** 2))


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 15
) -> float:
    """Mean distance between predicted probability and share of positives, over equal-width bins.

    The bins are [i/bins, (i+1)/bins), the last one closed, and each weighs as many patches as it
    has. Naeini, AAAI 2015; there too for the probability of the positive class.
    """
    y, p = check_inputs(labels, probabilities, kind="probabilities")
    if bins < 1:
        raise DataError(f"calibration error needs at least one bin, found {bins}")
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(index, weights=p - y, minlength=bins)
    return float(np.abs(gaps).sum() / y.size)


def check_inputs(
    labels: ArrayLike,
    values: ArrayLike,
    *,
    kind: Literal["scores", "probabilities"],
    both_classes: bool = False,
) -> tuple[NDArray[np.bool_], Floats]:
    """Labels as bool [n] and values as float64 [n].

    Raises DataError, which says what is wrong, where, and what was found.
    """
    raw_labels, raw = np.asarray(labels), np.asarray(values)
    if raw_labels.ndim != 1 or raw.ndim != 1 or raw_labels.size != raw.size:
        raise DataError(
            f"expected as many {kind} as labels, both [n]; found labels {list(raw_labels.shape)} "
            f"and {kind} {list(raw.shape)}"
        )
    if raw_labels.size == 0:
        raise DataError(f"nothing to score: there are no labels and no {kind}")
    if raw_labels.dtype.kind not in "buif" or raw.dtype.kind not in "buif":
        raise DataError(
            f"expected numbers, found labels of type {raw_labels.dtype} and {kind} of type "
            f"{raw.dtype}"
        )
    positive = raw_labels == 1
    _refuse_invalid(~positive & (raw_labels != 0), raw_labels, "labels must be 0 or 1")
    numbers = raw.astype(np.float64)
    _refuse_invalid(~np.isfinite(numbers), raw, f"{kind} must be finite")
    if kind == "probabilities":
        outside = (numbers < 0) | (numbers > 1)
        _refuse_invalid(outside, raw, "probabilities must lie within [0, 1]")
    if both_classes and (positive.all() or not positive.any()):
        raise DataError(
            f"AUC needs both classes, found {positive.size} labels that are all {int(positive[0])}"
        )
    return positive, numbers


def _refuse_invalid(invalid: NDArray[np.bool_], values: NDArray[np.generic], rule: str) -> None:
    if invalid.any():
        first = int(invalid.argmax())
        raise DataError(
            f"{rule}: found {values[first]} at position {first} ({int(invalid.sum())} of "
            f"{invalid.size} do not fit)"
        )


def midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def placements(y: NDArray[np.bool_], s: Floats) -> tuple[Floats, Floats]:
    """The share of negatives below each positive, and the share of positives above each negative.

    A tie counts half. Each share has the AUC as its mean.
    """
    positive, negative = s[y], s[~y]
    ranks = midranks(s)
    negatives_below = (ranks[y] - midranks(positive)) / negative.size
    positives_below = (ranks[~y] - midranks(negative)) / positive.size
    return negatives_below, 1 - positives_below


def _delong_variance(y: NDArray[np.bool_], s: Floats) -> float:
    return sum(float(shares.var(ddof=1) / shares.size) for shares in placements(y, s))


@dataclass(frozen=True)
class Metric:
    """A score that a competition may be judged by (`metric` in its profile).

    score: (labels [n], probabilities [n], threshold) -> the score. Metrics that need no threshold
    ignore it.
    """

    label: str
    score: Callable[[ArrayLike, ArrayLike, float], float]
    higher_is_better: bool = True


METRICS: dict[str, Metric] = {
    "roc_auc": Metric("AUC", lambda y, p, _: roc_auc(y, p)),
    "accuracy": Metric("accuracy", accuracy),
    "log_loss": Metric("log loss", lambda y, p, _: log_loss(y, p), higher_is_better=False),
    "brier": Metric("Brier score", lambda y, p, _: brier(y, p), higher_is_better=False),
}
