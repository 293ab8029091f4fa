"""Scores of each slide alone: a model that is good on average may fail on one slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit import metrics
from pcam_kit.evaluation.intervals import wilson_interval
from pcam_kit.metrics import Confusion


@dataclass(frozen=True)
class SlideScore:
    """Scores on the patches of one slide; within it they are taken as independent.

    slide: its number in the store. auc and auc_interval: None where the slide has one class only.
    accuracy, confusion: at the run's threshold.
    """

    slide: int
    n: int
    positive: int
    auc: float | None
    auc_interval: tuple[float, float] | None
    accuracy: float
    accuracy_interval: tuple[float, float]
    confusion: Confusion


def score_slides(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float, groups: NDArray[np.int32]
) -> list[SlideScore]:
    """The scores of each slide, by its number; patches of unknown slides (-1) are left out.

    labels, probabilities, groups: [n]. Intervals are 95%: DeLong's of the AUC, Wilson's of the
    accuracy. Raises DataError.
    """
    y, p = metrics.check_inputs(labels, probabilities, kind="probabilities")
    return [
        _score(int(slide), y[groups == slide], p[groups == slide], threshold)
        for slide in np.unique(groups[groups >= 0])
    ]


def _score(
    slide: int, y: NDArray[np.bool_], p: NDArray[np.float64], threshold: float
) -> SlideScore:
    counts = metrics.confusion(y, p, threshold)
    both = bool(y.any()) and not y.all()
    correct = counts.tn + counts.tp
    return SlideScore(
        slide=slide,
        n=y.size,
        positive=int(y.sum()),
        auc=metrics.roc_auc(y, p) if both else None,
        auc_interval=metrics.auc_interval(y, p) if both else None,
        accuracy=correct / y.size,
        accuracy_interval=wilson_interval(correct, y.size),
        confusion=counts,
    )
