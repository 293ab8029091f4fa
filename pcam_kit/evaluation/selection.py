"""How far the best of several flatters itself: it was chosen on the patches it is measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pcam_kit.metrics import roc_auc

DRAWS = 100
MOST = 20  # of the best; more would take long, and are hardly ever chosen


def optimism(
    labels: NDArray[np.int8],
    probabilities: Sequence[NDArray[np.float32]],
    groups: NDArray[np.int32] | None = None,
    *,
    seed: int = 0,
) -> float | None:
    """By how much the AUC of the best of several is too high, by a bootstrap of the patches.

    labels, probabilities: [n], of the same patches; groups: the slide of each, and whole slides are
    drawn. In each draw the best on the drawn patches is chosen; the mean over draws of its AUC
    there, less that on the patches that were not drawn, is the result (Efron, 1983, JASA 78, 316).
    Less than 0 is noise. None for fewer than two, and where too few draws have both classes.
    """
    if len(probabilities) < 2:
        return None
    aucs = [roc_auc(labels, p) for p in probabilities]
    chosen = sorted(range(len(aucs)), key=lambda i: -aucs[i])[:MOST]
    rng = np.random.default_rng(seed)
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(units.max()) + 1
    differences: list[float] = []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(0, count, count), minlength=count)[units]
        inside, outside = np.repeat(np.arange(len(labels)), times), np.flatnonzero(times == 0)
        if any(np.unique(labels[rows]).size < 2 for rows in (inside, outside)):
            continue
        within = [roc_auc(labels[inside], probabilities[i][inside]) for i in chosen]
        best = chosen[int(np.argmax(within))]
        without = roc_auc(labels[outside], probabilities[best][outside])
        differences.append(max(within) - without)
    if len(differences) < DRAWS // 2:
        return None
    return float(np.mean(differences))
