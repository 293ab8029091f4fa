"""The scores of the validation split after an epoch, from logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.metrics import check_inputs, roc_auc


@dataclass(frozen=True)
class Validation:
    """How a network does on the whole validation split, without averaging over views.

    loss: mean binary cross-entropy of the labels in nats, without label smoothing and penalties of
    weights. accuracy: at probability 0.5.
    """

    auc: float
    loss: float
    accuracy: float


def score_logits(labels: NDArray[Any], logits: NDArray[Any]) -> Validation:
    """The scores of finite logits, [n], against labels 0 or 1, [n]. Raises DataError.

    float64 throughout, so that neither confident logits nor many patches lose digits.
    """
    y, z = check_inputs(labels, logits, kind="scores", both_classes=True)
    signed = np.where(y, z, -z)
    return Validation(
        auc=roc_auc(labels, logits),
        loss=float(np.logaddexp(0.0, -signed).mean()),
        accuracy=float(((z >= 0) == y).mean()),
    )
