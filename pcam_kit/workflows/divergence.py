"""A training that diverged is told wherever its answers are used: in train, evaluate and predict.

Such a network answers every patch alike, or with 0 and 1 at random. Its scores are numbers like any
others, so nobody would notice.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import ArrayLike

from pcam_kit.config.schema import Ensemble, WithoutNetwork
from pcam_kit.errors import TrainingError
from pcam_kit.run_folders import Run

log = logging.getLogger(__name__)

ALIKE = 1e-5  # between the lowest and the highest probability
NO_BETTER = 0.05  # than an AUC of one half, for answers of 0 and 1 alone
HINT = (
    "try a lower learning rate (--set training.learning_rate=...) or --set training.clip_norm=1.0"
)


def check_finite(outputs: ArrayLike) -> None:
    """Raises TrainingError when an output of the network is not a number."""
    outputs = np.asarray(outputs)
    lost = int((~np.isfinite(outputs)).any(axis=-1).sum())
    if lost:
        raise TrainingError(
            f"the training diverged: the network's answer to {lost:,} of {len(outputs):,} "
            "validation patches is not a number",
            hint=HINT,
        )


def find_divergence(probabilities: ArrayLike, auc: float) -> str:
    """What shows that a network learnt nothing, as a clause; "" when nothing does.

    probabilities: [n]. auc: that of the validation patches.
    """
    p = np.asarray(probabilities, np.float64)
    if p.size < 2:
        return ""
    if np.ptp(p) < ALIKE:
        return f"all {p.size:,} probabilities are {p[0]:.4f}"
    if (np.minimum(p, 1 - p) < ALIKE).all() and abs(auc - 0.5) < NO_BETTER:
        return f"all {p.size:,} probabilities are 0 or 1, with an AUC of {auc:.2f}"
    return ""


def warn_of_divergence(run: Run, split: str, probabilities: ArrayLike, auc: float) -> None:
    """Warn when the answers of `run` on `split` show that it does not tell patches apart."""
    found = find_divergence(probabilities, auc)
    if not found:
        return
    text = f"{run.name}, {split} split: {found}, so it does not tell patches apart"
    if not isinstance(run.experiment.model, WithoutNetwork | Ensemble):
        rate = run.experiment.training.learning_rate
        text += f". Its training diverged (learning rate {rate:g}): {HINT}"
    log.warning(text)
