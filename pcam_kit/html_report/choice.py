"""Which patches a report shows: the surest errors, the least certain, the typical ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcam_kit.evaluation.ensemble import logits
from pcam_kit.metrics import Floats

MOST = 6  # patches of a gallery


@dataclass(frozen=True, eq=False)
class Choice:
    """Patches of one kind: `rows` int64 [at most MOST] among all `total` of that kind."""

    key: str
    title: str
    text: str
    total: int
    rows: NDArray[np.int64]


def choose_patches(
    labels: NDArray[np.int8],
    probabilities: NDArray[np.float32],
    threshold: float,
    *,
    most: int = MOST,
) -> list[Choice]:
    """The galleries of one run. Equal ones come in the order of the patches."""
    odds = logits(probabilities.astype(np.float64))
    said, is_tumour = probabilities.astype(np.float64) >= threshold, labels == 1
    distance = np.abs(odds - logits(np.array(threshold)))
    kinds = [
        (
            "false-positives",
            "False positives",
            "Called tumour, and labelled normal. The surest first.",
            said & ~is_tumour,
            -odds,
        ),
        (
            "false-negatives",
            "False negatives",
            "Called normal, and labelled tumour. The surest first.",
            ~said & is_tumour,
            odds,
        ),
        (
            "uncertain",
            "Least certain",
            "Nearest to the threshold, right or wrong.",
            np.ones(labels.size, np.bool_),
            distance,
        ),
        _typical("typical-tumour", "Typical tumour", "tumour", said & is_tumour, odds),
        _typical("typical-normal", "Typical normal tissue", "normal", ~said & ~is_tumour, odds),
    ]
    return [_choose(*kind, most) for kind in kinds]


def choose_disagreements(
    labels: NDArray[np.int8],
    members: Sequence[NDArray[np.float32]],
    thresholds: Sequence[float],
    *,
    most: int = MOST,
) -> list[Choice]:
    """The galleries of several runs: what all get wrong, and what they disagree on most."""
    odds = logits(np.stack(members).astype(np.float64))
    said = np.stack(
        [
            p.astype(np.float64) >= threshold
            for p, threshold in zip(members, thresholds, strict=True)
        ]
    )
    wrong: NDArray[np.bool_] = np.all(said != (labels == 1), axis=0)
    # how far the mean of the runs is on the wrong side
    sureness = np.where(labels == 1, -1, 1) * odds.mean(axis=0)
    split: NDArray[np.bool_] = np.any(said, axis=0) & ~np.all(said, axis=0)
    return [
        _choose(
            "all-wrong",
            "Wrong in every run",
            "Each run errs, at its own threshold. The surest first. Probabilities are in the order "
            "of the runs.",
            wrong,
            -sureness,
            most,
        ),
        _choose(
            "disagreement",
            "The runs disagree",
            "Tumour for one run, normal for another. The largest differences first.",
            split,
            -np.ptp(odds, axis=0),
            most,
        ),
    ]


def _typical(
    key: str, title: str, name: str, kind: NDArray[np.bool_], odds: Floats
) -> tuple[str, str, str, NDArray[np.bool_], Floats]:
    middle = np.median(odds[kind]) if kind.any() else 0.0
    text = f"Rightly called {name}, with the median certainty of those."
    return key, title, text, kind, np.abs(odds - middle)


def _choose(
    key: str, title: str, text: str, kind: NDArray[np.bool_], order: Floats, most: int
) -> Choice:
    """The first `most` of one kind by `order`, lowest first."""
    rows = np.flatnonzero(kind)
    rows = rows[np.argsort(order[rows], kind="stable")]
    return Choice(key, title, text, rows.size, rows[:most])
