"""How far AUC and accuracy may lie from the truth: by slide where slides are known, by patch where
not.

Patches of one slide look alike, so 2,000 patches of 20 slides tell little more than the slides do.
Resampling whole slides shows that, DeLong's interval and Wilson's do not. Share of 95% intervals of
the AUC that held the truth, 500 sets of slides with effects of their own (sd 0.7 of every patch's
score, 0.6 more of the tumour's, noise 1), 60 patches a slide (median), 40% of the slides without
tumour:
                                       slides:  3      5      10     20     54
    by patch (DeLong)                           0.40   0.34   0.23   0.30   0.28
    by slide, plain percentiles                 0.60   0.74   0.84   0.88   0.91
    by slide, expanded percentiles               -     0.82   0.91   0.91   0.92   <- this
    the same for accuracy                        -     0.91   0.92   0.95   0.92   (Wilson: 0.31)
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError
from pcam_kit.evaluation import metrics
from pcam_kit.evaluation.metrics import Floats

DRAWS = 2000
FEWEST = 5  # slides; from fewer nothing can be said about other slides


@dataclass(frozen=True)
class Intervals:
    """95% intervals of AUC and of accuracy at one threshold, for other slides like these, or for
    other patches (`slides` None).

    `one_class` of the DRAWS resamples held one class only; they are left out of the AUC's interval.
    """

    auc: tuple[float, float]
    accuracy: tuple[float, float]
    slides: int | None
    one_class: int = 0


@dataclass(frozen=True, eq=False)
class Resampled:
    """What draws of slides gave: both [draws]. AUC is NaN where a draw held one class only."""

    auc: Floats
    accuracy: Floats


def intervals(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float,
    groups: NDArray[np.int32] | None = None,
) -> Intervals:
    """By slide when `groups` [n] numbers them and there are at least FEWEST; else DeLong's for AUC
    and Wilson's for accuracy.

    Wilson's needs no draws, stays within [0, 1] and is not a point at an accuracy of 1, where a
    bootstrap of patches would be.
    """
    slides = enough_slides(groups)
    if groups is None or slides is None:
        counts = metrics.confusion(labels, probabilities, threshold)
        right = counts.tn + counts.tp
        return Intervals(
            metrics.auc_interval(labels, probabilities),
            wilson(right, right + counts.fp + counts.fn),
            None,
        )
    drawn = resample(labels, probabilities, threshold, groups)
    return Intervals(
        percentiles(drawn.auc, slides),
        percentiles(drawn.accuracy, slides),
        slides,
        int(np.isnan(drawn.auc).sum()),
    )


def name(slides: int | None) -> str:
    """What an interval is about, as `--json` says it."""
    return "patches" if slides is None else f"slides ({slides})"


def count_slides(groups: NDArray[np.int32] | None) -> int | None:
    """How many slides there are; None where the slide of any patch is unknown (-1)."""
    return None if groups is None or bool((groups < 0).any()) else int(np.unique(groups).size)


def enough_slides(groups: NDArray[np.int32] | None) -> int | None:
    """How many slides there are, when they are known and not too few to be resampled; else None."""
    slides = count_slides(groups)
    return slides if slides is not None and slides >= FEWEST else None


def resample(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float,
    groups: NDArray[np.int32],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Resampled:
    """AUC and accuracy of `draws` sets of slides, drawn with replacement, each slide with all its
    patches.

    The slides drawn depend on `seed` and the number of slides alone: two runs on the same patches
    get the same ones.
    """
    y, p = metrics.checked(labels, probabilities, kind="probabilities", both_classes=True)
    if groups.shape != y.shape:
        raise DataError(
            f"expected as many groups as labels, both [n]; found {list(groups.shape)} and "
            f"{list(y.shape)}"
        )
    _, group = np.unique(groups, return_inverse=True)
    slides = int(group.max()) + 1
    rng = np.random.default_rng(seed)
    times = np.stack(
        [
            np.bincount(rng.integers(0, slides, slides), minlength=slides).astype(np.int32)
            for _ in range(draws)
        ]
    )
    positives, negatives = (np.bincount(group[side], minlength=slides) for side in (y, ~y))
    pairs = (times @ positives) * (times @ negatives)
    aucs = np.divide(_wins(y, p, group, times), pairs, out=np.full(draws, np.nan), where=pairs > 0)
    right = np.bincount(group[(p >= threshold) == y], minlength=slides)
    return Resampled(aucs, (times @ right) / (times @ (positives + negatives)))


def _wins(
    y: NDArray[np.bool_], p: Floats, group: NDArray[np.int64], times: NDArray[np.int32]
) -> Floats:
    """The pairs in which the positive scores above the negative, a tie counting half, when slide k
    is there `times[:, k]` times.

    The patches are sorted once. That number is linear in the times of the positives' slides and in
    those of the negatives', so a table of slides against slides has all draws in it, unless there
    are more slides than draws.
    """
    order = np.argsort(p, kind="stable")
    y, p, group = y[order], p[order], group[order]
    positive, negative = group[y], group[~y]
    below, upto = np.searchsorted(p[~y], p[y], "left"), np.searchsorted(p[~y], p[y], "right")
    total = np.zeros(negative.size + 1)

    def beaten(weights: NDArray[np.generic]) -> Floats:
        """The weight of negatives below each positive."""
        np.cumsum(weights[negative], out=total[1:])
        return (total[below] + total[upto]) / 2

    draws, slides = times.shape
    if slides > draws:
        return np.array([time[positive] @ beaten(time) for time in times])
    table = np.stack(
        [np.bincount(positive, weights=beaten(one), minlength=slides) for one in np.eye(slides)]
    )
    return ((times @ table) * times).sum(axis=1)


def percentiles(values: Floats, slides: int, level: float = 0.95) -> tuple[float, float]:
    """Expanded percentile interval of resampled `values`, NaN left out (Hesterberg, The American
    Statistician 69, 2015).

    Plain percentiles of few slides are too narrow, as an interval from the normal distribution is
    where Student's is due: this goes as much further out as Student's does, and further by the
    square root of slides / (slides - 1).
    """
    tail = NormalDist().cdf(
        -((slides / (slides - 1)) ** 0.5)
        * _student(NormalDist().inv_cdf((1 + level) / 2), slides - 1)
    )
    low, high = np.quantile(values[~np.isnan(values)], [tail, 1 - tail])
    return float(low), float(high)


def two_sided(differences: Floats, slides: int) -> float:
    """How sure it is that the truth behind resampled `differences` is not 0: one minus the level
    whose interval just reaches 0.
    """
    given = differences[~np.isnan(differences)]
    share = (min(int((given <= 0).sum()), int((given >= 0).sum())) + 1) / (given.size + 1)
    if share >= 0.5:
        return 1.0
    wanted = -NormalDist().inv_cdf(share) * ((slides - 1) / slides) ** 0.5
    low, high = 0.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _student(middle, slides - 1) < wanted else (low, middle)
    return 2 * NormalDist().cdf(-low)


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share `right` / `n` of independent cases (Wilson, JASA 22, 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, scale = (right + z * z / 2) / (n + z * z), z / (n + z * z)
    half = scale * (right * (n - right) / n + z * z / 4) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _student(z: float, freedom: int) -> float:
    """Student's quantile for the level at which the normal one is `z` >= 0; within 0.3% from 4
    degrees of freedom on, for z up to 2.

    Abramowitz and Stegun, 26.7.5.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (i + 1) for i, term in enumerate(terms))
