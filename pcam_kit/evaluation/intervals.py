"""Confidence intervals of scores: by slide where slides are known, by patch where not.

Patches of one slide look alike, so 2,000 patches of 20 slides say little more than the slides do.
Resampling whole slides shows that; DeLong's interval and Wilson's do not. Share of 95% intervals of
the AUC that contain the true value, 500 sets of slides with effects of their own (sd 0.7 of every
patch's score, 0.6 more of the tumour's, noise 1), 60 patches a slide (median), 40% of the slides
without tumour:
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

from pcam_kit import metrics
from pcam_kit.errors import DataError
from pcam_kit.metrics import Floats

DRAWS = 2000
MIN_SLIDES = 5  # fewer say nothing about other slides
# Fewer than this: an interval of the AUC that says 95% held the truth in 82 to 91 of 100 cases.
FEW_SLIDES = 20


@dataclass(frozen=True)
class Intervals:
    """95% intervals of AUC, and of accuracy at one threshold.

    slides: how many were resampled; the intervals are then about other slides like these. None: the
    intervals are about other patches. one_class: how many of the DRAWS resamples have only one
    class; they are left out of the AUC's interval.
    """

    auc: tuple[float, float]
    accuracy: tuple[float, float]
    slides: int | None
    one_class: int = 0


@dataclass(frozen=True, eq=False)
class ResampledScores:
    """Scores of draws of slides, both [draws]; the AUC is NaN where a draw has only one class."""

    auc: Floats
    accuracy: Floats


def intervals(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float,
    groups: NDArray[np.int32] | None = None,
) -> Intervals:
    """95% intervals of AUC and accuracy, by slide where there are at least MIN_SLIDES.

    groups: [n], the slide of each patch, -1 where unknown. By patch they are DeLong's for AUC and
    Wilson's for accuracy: Wilson's needs no draws, stays within [0, 1] and is not a point at an
    accuracy of 1, where a bootstrap of patches would be. Raises DataError.
    """
    slides = slides_to_resample(groups)
    if groups is None or slides is None:
        counts = metrics.confusion(labels, probabilities, threshold)
        correct = counts.tn + counts.tp
        return Intervals(
            auc=metrics.auc_interval(labels, probabilities),
            accuracy=wilson_interval(correct, correct + counts.fp + counts.fn),
            slides=None,
        )
    scores = resample(labels, probabilities, threshold, groups)
    return Intervals(
        auc=percentile_interval(scores.auc, slides),
        accuracy=percentile_interval(scores.accuracy, slides),
        slides=slides,
        one_class=int(np.isnan(scores.auc).sum()),
    )


def score_interval(
    metric: str,
    labels: NDArray[np.generic],
    probabilities: NDArray[np.floating],
    threshold: float,
    groups: NDArray[np.int32] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95% interval of any of `metrics.METRICS`.

    AUC and accuracy: as `intervals`. Others: percentiles of a bootstrap of whole slides, or of
    patches where the slides are not known or too few. Raises DataError.
    """
    if metric in ("roc_auc", "accuracy"):
        both = intervals(labels, probabilities, threshold, groups)
        return both.auc if metric == "roc_auc" else both.accuracy
    score = metrics.METRICS[metric].score
    slides = slides_to_resample(groups)
    clusters = [np.array([row]) for row in range(len(labels))]
    if groups is not None and slides is not None:
        clusters = [np.flatnonzero(groups == slide) for slide in np.unique(groups)]
    rng = np.random.default_rng(seed)
    scores: list[float] = []
    for _ in range(draws):
        chosen = rng.integers(len(clusters), size=len(clusters))
        rows = np.concatenate([clusters[i] for i in chosen])
        scores.append(score(labels[rows], probabilities[rows], threshold))
    return percentile_interval(np.array(scores), len(clusters))


def balanced_accuracy_interval(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float,
    groups: NDArray[np.int32] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95% interval of the balanced accuracy, by slide where `intervals` is.

    By patch it joins Wilson's intervals of sensitivity and specificity (method 10 of Newcombe,
    Statistics in Medicine 17, 1998). Raises DataError.
    """
    y, p = metrics.check_inputs(labels, probabilities, kind="probabilities", both_classes=True)
    correct = (p >= threshold) == y
    slides = slides_to_resample(groups)
    if groups is not None and slides is not None:
        slide_of = np.unique(groups, return_inverse=True)[1]
        times = _draw_slides(slides, draws, np.random.default_rng(seed))
        shares: list[Floats] = []
        for rows in (y, ~y):
            right = times @ np.bincount(slide_of[rows & correct], minlength=slides)
            all_of_class = times @ np.bincount(slide_of[rows], minlength=slides)
            none = np.full(draws, np.nan)  # a draw without this class says nothing
            shares.append(np.divide(right, all_of_class, out=none, where=all_of_class > 0))
        return percentile_interval((shares[0] + shares[1]) / 2, slides)
    value = below = above = 0.0
    for rows in (y, ~y):
        right, n = int((rows & correct).sum()), int(rows.sum())
        low, high = wilson_interval(right, n)
        value += right / n / 2
        below += (right / n - low) ** 2
        above += (high - right / n) ** 2
    return value - below**0.5 / 2, value + above**0.5 / 2


def sampling_unit(slides: int | None) -> str:
    """The units that an interval is about, as `--json` reports them."""
    return "patches" if slides is None else f"slides ({slides})"


def count_slides(groups: NDArray[np.int32] | None) -> int | None:
    """How many slides there are; None where the slide of any patch is unknown (-1)."""
    if groups is None or bool((groups < 0).any()):
        return None
    return int(np.unique(groups).size)


def slides_to_resample(groups: NDArray[np.int32] | None) -> int | None:
    """How many slides there are; None where they are unknown or too few to be resampled."""
    slides = count_slides(groups)
    return slides if slides is not None and slides >= MIN_SLIDES else None


def resample(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float,
    groups: NDArray[np.int32],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> ResampledScores:
    """AUC and accuracy of draws of whole slides, with replacement.

    The slides drawn depend on `seed` and the number of slides alone, so two runs on the same
    patches get the same draws. Raises DataError.
    """
    y, p = metrics.check_inputs(labels, probabilities, kind="probabilities", both_classes=True)
    if groups.shape != y.shape:
        raise DataError(
            f"expected as many groups as labels, both [n]; found {list(groups.shape)} and "
            f"{list(y.shape)}"
        )
    _, slide_of = np.unique(groups, return_inverse=True)
    slides = int(slide_of.max()) + 1
    times = _draw_slides(slides, draws, np.random.default_rng(seed))
    positives = np.bincount(slide_of[y], minlength=slides)
    negatives = np.bincount(slide_of[~y], minlength=slides)
    correct = np.bincount(slide_of[(p >= threshold) == y], minlength=slides)
    pairs = (times @ positives) * (times @ negatives)
    no_auc = np.full(draws, np.nan)
    return ResampledScores(
        auc=np.divide(_count_wins(y, p, slide_of, times), pairs, out=no_auc, where=pairs > 0),
        accuracy=(times @ correct) / (times @ (positives + negatives)),
    )


def _draw_slides(slides: int, draws: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each draw has each slide, [draws, slides]."""
    return np.stack(
        [
            np.bincount(rng.integers(0, slides, slides), minlength=slides).astype(np.int32)
            for _ in range(draws)
        ]
    )


def _count_wins(
    y: NDArray[np.bool_], p: Floats, slide_of: NDArray[np.int64], times: NDArray[np.int32]
) -> Floats:
    """The pairs of each draw in which the positive scores above the negative, a tie half; [draws].

    times: [draws, slides]. The patches are sorted once. The number of wins is linear in the times
    of the positives' slides and in those of the negatives', so a table of slides by slides gives
    all draws, unless there are more slides than draws.
    """
    order = np.argsort(p, kind="stable")
    y, p, slide_of = y[order], p[order], slide_of[order]
    positive_slide, negative_slide = slide_of[y], slide_of[~y]
    below = np.searchsorted(p[~y], p[y], "left")
    below_or_equal = np.searchsorted(p[~y], p[y], "right")
    total = np.zeros(negative_slide.size + 1)

    def weight_below(slide_weights: NDArray[np.generic]) -> Floats:
        """The weight of the negatives that score below each positive."""
        np.cumsum(slide_weights[negative_slide], out=total[1:])
        return (total[below] + total[below_or_equal]) / 2

    draws, slides = times.shape
    if slides > draws:
        return np.array([weights[positive_slide] @ weight_below(weights) for weights in times])
    # [slide of the negative, slide of the positive]
    table = np.stack(
        [
            np.bincount(positive_slide, weights=weight_below(only_slide), minlength=slides)
            for only_slide in np.eye(slides)
        ]
    )
    return ((times @ table) * times).sum(axis=1)


def percentile_interval(values: Floats, slides: int, level: float = 0.95) -> tuple[float, float]:
    """The expanded percentile interval of resampled `values`; NaN is left out.

    Hesterberg, The American Statistician 69, 2015. Plain percentiles of few slides are too narrow,
    just as a normal interval is where Student's is due. These go as much further out as Student's
    does, and further by the square root of slides / (slides - 1).
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    expansion = (slides / (slides - 1)) ** 0.5
    tail = NormalDist().cdf(-expansion * _student_quantile(z, slides - 1))
    low, high = np.quantile(values[~np.isnan(values)], [tail, 1 - tail])
    return float(low), float(high)


def two_sided_p(differences: Floats, slides: int) -> float:
    """The two-sided p of no difference, from resampled `differences`; NaN is left out.

    It is one minus the level whose expanded percentile interval just reaches 0.
    """
    valid = differences[~np.isnan(differences)]
    on_smaller_side = min(int((valid <= 0).sum()), int((valid >= 0).sum()))
    tail = (on_smaller_side + 1) / (valid.size + 1)
    if tail >= 0.5:
        return 1.0
    quantile = -NormalDist().inv_cdf(tail) * ((slides - 1) / slides) ** 0.5
    low, high = 0.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        if _student_quantile(middle, slides - 1) < quantile:
            low = middle
        else:
            high = middle
    return 2 * NormalDist().cdf(-low)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion `successes` / `n` (Wilson, JASA 22, 1927)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, scale = (successes + z * z / 2) / (n + z * z), z / (n + z * z)
    half_width = scale * (successes * (n - successes) / n + z * z / 4) ** 0.5
    return max(0.0, middle - half_width), min(1.0, middle + half_width)


def _student_quantile(z: float, degrees: int) -> float:
    """Student's quantile for the level at which the normal one is `z` >= 0.

    Within 0.3% from 4 degrees of freedom on, for z up to 2. Abramowitz and Stegun, 26.7.5.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees ** (i + 1) for i, term in enumerate(terms))
