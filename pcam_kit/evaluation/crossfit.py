"""Threshold and temperature chosen on some slides and measured on others, so that the choice does
not flatter the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.evaluation import metrics
from pcam_kit.evaluation.calibration import at_temperature, best_threshold, fit_temperature
from pcam_kit.evaluation.intervals import count_slides

FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """Accuracy at a threshold, log loss and calibration error at a temperature, both chosen on the
    folds that a patch is not in.

    `by`: whether folds hold whole slides, or patches of one slide may lie on both sides.
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
    """The scores that choosing on these patches leads one to expect on others; None when a class
    has fewer than two patches.

    FOLDS folds, of whole slides where `groups` [n] knows them all and every choice still sees both
    classes.
    """
    y, p = metrics.checked(labels, probabilities, kind="probabilities")
    if min(int(y.sum()), int((~y).sum())) < 2:
        return None
    rng = np.random.default_rng(seed)
    slides = count_slides(groups)
    fold = (
        _slides_into_folds(y, groups, rng)
        if groups is not None and slides is not None and slides > 1
        else None
    )
    by: Literal["slides", "patches"] = "slides"
    if fold is None or not all(_both_classes(y[fold != k]) for k in np.unique(fold)):
        fold, by = _patches_into_folds(y, rng), "patches"
    said, tempered = np.empty(y.size, np.bool_), np.empty(y.size)
    given = np.asarray(probabilities)  # in its own dtype, which says how sure it can be
    for k in np.unique(fold):
        here, elsewhere = fold == k, fold != k
        said[here] = p[here] >= best_threshold(y[elsewhere], given[elsewhere]).value
        tempered[here] = at_temperature(
            given[here], fit_temperature(y[elsewhere], given[elsewhere]).value
        )
    return CrossFit(
        by,
        float((said == y).mean()),
        metrics.log_loss(y, tempered),
        metrics.expected_calibration_error(y, tempered),
    )


def _both_classes(y: NDArray[np.bool_]) -> bool:
    return bool(y.any() and not y.all())


def _patches_into_folds(y: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """The number of a fold for each patch; the classes evenly."""
    fold = np.empty(y.size, np.int64)
    for side in (y, ~y):
        fold[side] = rng.permutation(np.arange(int(side.sum())) % FOLDS)
    return fold


def _slides_into_folds(
    y: NDArray[np.bool_], groups: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The number of a fold for each patch, that of its slide: the largest slides first, each where
    its classes are rarest so far.
    """
    _, group = np.unique(groups, return_inverse=True)
    weights = np.stack(
        [np.bincount(group[side], minlength=int(group.max()) + 1) / side.sum() for side in (y, ~y)],
        axis=1,
    )
    drawn = rng.permutation(len(weights))
    load = np.zeros((min(FOLDS, len(weights)), 2))
    fold = np.empty(len(weights), np.int64)
    for slide in drawn[np.argsort(-weights[drawn].sum(axis=1), kind="stable")]:
        fold[slide] = np.argmin(load @ weights[slide])
        load[fold[slide]] += weights[slide]
    return fold[group]
