"""Threshold and temperature chosen on some slides and measured on others: unbiased scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit import metrics
from pcam_kit.evaluation.calibration import apply_temperature, best_threshold, fit_temperature
from pcam_kit.evaluation.intervals import count_slides

FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """Accuracy at a threshold, and log loss and calibration error at a temperature.

    Both are chosen on the folds that a patch is not in. by: whether a fold has whole slides, or
    patches, so that a slide may be on both sides.
    """

    by: Literal["slides", "patches"]
    accuracy: float
    log_loss: float
    ece: float


def cross_fit(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: NDArray[np.int32] | None = None,
    *,
    seed: int = 0,
) -> CrossFit | None:
    """The scores to expect on other patches when threshold and temperature are chosen on these.

    groups: [n], the slide of each patch, -1 where unknown. There are FOLDS folds, of whole slides
    where all are known and each choice still has both classes. The result is None when a class has
    fewer than two patches. Raises DataError.
    """
    y, p = metrics.check_inputs(labels, probabilities, kind="probabilities")
    if min(int(y.sum()), int((~y).sum())) < 2:
        return None
    folds, by = _assign_folds(y, groups, np.random.default_rng(seed))
    # in their own dtype, whose machine epsilon decides how they are clipped
    raw = np.asarray(probabilities)
    predicted, calibrated = np.empty(y.size, np.bool_), np.empty(y.size)
    for fold in np.unique(folds):
        inside, outside = folds == fold, folds != fold
        threshold = best_threshold(y[outside], raw[outside]).value
        temperature = fit_temperature(y[outside], raw[outside]).value
        predicted[inside] = p[inside] >= threshold
        calibrated[inside] = apply_temperature(raw[inside], temperature)
    return CrossFit(
        by=by,
        accuracy=float((predicted == y).mean()),
        log_loss=metrics.log_loss(y, calibrated),
        ece=metrics.expected_calibration_error(y, calibrated),
    )


def _assign_folds(
    y: NDArray[np.bool_], groups: NDArray[np.int32] | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Literal["slides", "patches"]]:
    """The fold of each patch, [n], and whether folds have whole slides.

    scikit-learn's folds are others, so scores of existing runs would change.
    """
    slides = count_slides(groups)
    if groups is not None and slides is not None and slides > 1:
        folds = _slides_into_folds(y, groups, rng)
        if all(_has_both_classes(y[folds != fold]) for fold in np.unique(folds)):
            return folds, "slides"
    return _patches_into_folds(y, rng), "patches"


def _has_both_classes(y: NDArray[np.bool_]) -> bool:
    return bool(y.any() and not y.all())


def _patches_into_folds(y: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each patch, [n]; every fold gets the same share of each class."""
    folds = np.empty(y.size, np.int64)
    for in_class in (y, ~y):
        folds[in_class] = rng.permutation(np.arange(int(in_class.sum())) % FOLDS)
    return folds


def _slides_into_folds(
    y: NDArray[np.bool_], groups: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The fold of each patch, [n], which is that of its slide.

    The largest slides come first, each into the fold where its classes are rarest so far.
    """
    _, slide_of = np.unique(groups, return_inverse=True)
    slides = int(slide_of.max()) + 1
    # [slides, 2]: which share of each class a slide has
    shares = np.stack(
        [np.bincount(slide_of[side], minlength=slides) / side.sum() for side in (y, ~y)], axis=1
    )
    shuffled = rng.permutation(slides)  # slides of equal size come in random order
    largest_first = shuffled[np.argsort(-shares[shuffled].sum(axis=1), kind="stable")]
    fold_shares = np.zeros((min(FOLDS, slides), 2))
    folds = np.empty(slides, np.int64)
    for slide in largest_first:
        folds[slide] = np.argmin(fold_shares @ shares[slide])
        fold_shares[folds[slide]] += shares[slide]
    return folds[slide_of]
