"""Ensembles: how members' probabilities are combined, their weights, and their correlations.

`probabilities`: [k, n], k members on the same n patches, within [0, 1]. All functions raise
DataError when the input is invalid.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import DataError
from pcam_kit.metrics import Floats, check_inputs, log_odds, midranks

Averaging = Literal["probabilities", "logits", "ranks"]
# One minus this is the largest float32 below 1, so the logits of a saturated network are at most
# 16.6 from 0, and neither side counts for more.
MIN_PROBABILITY = 2.0**-24
# Log loss on the patches that were not fitted on, mean of 40 draws of n of the lab's 2,407
# validation patches (10 runs of three recipes):
#   shrinkage        0       1       3      10      30   equal weights
#   n = 50      0.4241  0.4232  0.4228  0.4230  0.4246  0.4270
#   n = 200     0.4163  0.4164  0.4171  0.4186  0.4211  0.4275
#   n = 1,000   0.4124  0.4124  0.4126  0.4135  0.4155  0.4263
SHRINKAGE = 3.0
MAX_STEPS = 5_000


def combine(
    probabilities: ArrayLike, averaging: Averaging, weights: ArrayLike | None = None
) -> Floats:
    """The weighted mean of the members, float64 [n] within [0, 1].

    averaging "probabilities": their mean. "logits": the mean of ln(p / (1 - p)) as a probability,
    that is the normalised geometric mean (Bordley, Management Science 28, 1982). "ranks": the mean
    of each member's (rank - 1/2) / n, equal values sharing the mean of their ranks. The result is
    then no probability, and depends on the other patches: a threshold chosen on one set fits
    another only if as large a share of it is positive. weights: [k], None for equal ones.
    """
    p = check_members(probabilities)
    w = _check_weights(weights, len(p))
    match averaging:
        case "probabilities":
            return np.clip(w @ p, 0, 1)  # by rounding, the sum of the weights may be above 1
        case "logits":
            return _sigmoid(w @ logits(p))
        case "ranks":
            return w @ np.stack([(midranks(member) - 0.5) / p.shape[1] for member in p])


def fit_weights(
    labels: ArrayLike, probabilities: ArrayLike, *, shrinkage: float = SHRINKAGE
) -> Floats:
    """Weights [k], none negative, sum 1, with the least shrunken log loss of the mean of logits.

    They minimise the log loss plus `shrinkage` / n * |w - 1/k|^2. So `shrinkage` nats, summed over
    all patches, are about what one member must be better by to be trusted alone: for few patches
    the weights stay near 1/k. The problem is convex. It is solved by accelerated projected gradient
    descent with restarts (Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009; O'Donoghue and Candes,
    Found. Comput. Math. 15, 2015), the same on every call.
    """
    p = check_members(probabilities)
    k, n = p.shape
    y, _ = check_inputs(labels, p[0], kind="probabilities", both_classes=True)
    if not (np.isfinite(shrinkage) and shrinkage >= 0):
        raise DataError(f"the shrinkage must be a finite number from 0 on, found {shrinkage!r}")
    x = logits(p)
    # The mean of all members does not depend on weights that sum to 1, and would only slow the
    # steps.
    centred = x - x.mean(axis=0)
    # upper bound of the curvature
    lipschitz = float(np.linalg.eigvalsh(centred @ centred.T)[-1]) / (4 * n) + 2 * shrinkage / n
    equal = np.full(k, 1 / k)
    weights = ahead = equal
    momentum = 1.0
    for _ in range(MAX_STEPS if lipschitz > 0 else 0):
        gradient = centred @ (_sigmoid(ahead @ x) - y) / n + 2 * shrinkage / n * (ahead - equal)
        next_weights = _project_on_simplex(ahead - gradient / lipschitz)
        step = next_weights - weights
        if gradient @ step > 0:
            momentum = 1.0
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = next_weights + (momentum - 1) / next_momentum * step
        weights, momentum = next_weights, next_momentum
        if np.abs(step).max() < 1e-10:
            break
    return weights / weights.sum()


def cross_fitted(
    labels: ArrayLike, probabilities: ArrayLike, averaging: Averaging, folds: NDArray[np.int64]
) -> Floats:
    """As `combine` with fitted weights, but each patch with weights fitted on the other folds.

    It shows what fitted weights do on fresh patches. folds: [n], the number of each patch's fold.
    Ranks are those among all patches.
    """
    p, y = check_members(probabilities), np.asarray(labels)
    combined = np.empty(p.shape[1])
    for fold in np.unique(folds):
        inside = folds == fold
        weights = fit_weights(y[~inside], p[:, ~inside])
        combined[inside] = combine(p, averaging, weights)[inside]
    return combined


def correlations(probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Correlations [k, k] of the members' logits: (Pearson, Spearman).

    NaN for a member that gives every patch the same probability.
    """
    x = logits(check_members(probabilities))
    return _pearson(x), _pearson(np.stack([midranks(member) for member in x]))


def check_members(probabilities: ArrayLike) -> Floats:
    """The probabilities as float64 [k, n], after checking their shape and range."""
    p = np.asarray(probabilities)
    if p.ndim != 2 or 0 in p.shape:
        raise DataError(f"expected probabilities [members, patches], found {list(p.shape)}")
    no_labels = np.zeros(p.shape[1], np.int8)
    return np.stack([check_inputs(no_labels, member, kind="probabilities")[1] for member in p])


def logits(probabilities: Floats) -> Floats:
    """ln(p / (1 - p)), finite also for 0 and 1: at most 16.6 from 0."""
    return log_odds(probabilities, MIN_PROBABILITY)


def _sigmoid(x: Floats) -> Floats:
    return (1 + np.tanh(x / 2)) / 2  # this form cannot overflow


def _check_weights(weights: ArrayLike | None, k: int) -> Floats:
    if weights is None:
        return np.full(k, 1 / k)
    w = np.asarray(weights, np.float64)
    if w.shape != (k,) or not np.isfinite(w).all() or (w < 0).any() or abs(w.sum() - 1) > 1e-6:
        raise DataError(f"expected {k} weights from 0 on with sum 1, found {w.tolist()}")
    return w


def _project_on_simplex(v: Floats) -> Floats:
    """The nearest point with no negative coordinate and sum 1.

    Held, Wolfe and Crowder, Math. Programming 6, 1974.
    """
    descending = np.sort(v)[::-1]
    excess = (np.cumsum(descending) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - excess[np.flatnonzero(descending > excess)[-1]], 0)


def _pearson(x: Floats) -> Floats:
    centred = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1))
    length = np.where(np.ptp(x, axis=1) > 0, length, np.nan)
    return np.clip(centred @ centred.T / np.outer(length, length), -1, 1)
