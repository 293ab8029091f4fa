"""A validation part cut from the train part, or folds of all: seeded, whole groups only, labels
balanced as far as the groups allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import Labels
from pcam_kit.errors import DataError


def choose_valid(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], *, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Which rows go to validation: bool [n]. Rows of one group stay together.

    About `fraction` of each label, as near as whole groups come. The same (id, label, group) rows
    give the same choice in any order, on any machine; how groups are numbered does not matter.
    Neither side is left empty when there are two groups.
    """
    n = len(ids)
    if n == 0:
        return np.zeros(0, np.bool_)
    group, sizes, weights, key = _grouped(ids, labels, groups, seed)
    count = len(sizes)
    target = _targets(weights.sum(axis=0), fraction)
    chosen = np.zeros(count, np.bool_)
    order = np.argsort(key, kind="stable")
    many = order[sizes[order] > 1]
    have = _fill_with_groups(many, weights, target, chosen)
    for label in (0, 1):
        single = order[(sizes[order] == 1) & (weights[order, label] == 1)]
        chosen[single[: max(0, int(target[label] - have[label]))]] = True
    if count > 1 and chosen.all():
        chosen[order[np.argmin(sizes[order])]] = False
    if count > 1 and not chosen.any():
        chosen[order[np.argmin(sizes[order])]] = True
    return chosen[group]


def folds(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], k: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each row, int64 [n] from 0 to k - 1.

    Rows of one group stay together; every fold gets some.

    Groups go, large ones first, to the fold where they leave both labels most evenly spread (least
    sum of squared shares). Groups of about one size (equal up to a factor of two) come in an order
    drawn with `seed`. Rows that are all groups of their own are dealt out so that the folds' counts
    of each label differ by at most one. As with `choose_valid` neither the order of rows nor the
    numbers of groups matter. Raises DataError where there are fewer groups than folds, or fewer
    than two folds.
    """
    group, sizes, weights, key = _grouped(ids, labels, groups, seed)
    if k < 2 or len(sizes) < k:
        raise DataError(
            f"expected at least 2 folds and no more than groups of patches, found {k} folds and "
            f"{len(sizes):,} groups"
        )
    scale = [1 / max(1, int(total)) ** 2 for total in weights.sum(axis=0)]
    have, rows = [[0, 0] for _ in range(k)], [0] * k
    fold = np.empty(len(sizes), np.int64)
    for i in np.lexsort((key, -np.frexp(sizes)[1])).tolist():
        a, b = weights[i].tolist()
        costs = [
            (scale[0] * a * (2 * h[0] + a) + scale[1] * b * (2 * h[1] + b), rows[f], f)
            for f, h in enumerate(have)
        ]
        best = min(costs)[2]
        have[best][0] += a
        have[best][1] += b
        rows[best] += int(sizes[i])
        fold[i] = best
    return fold[group]


def draw(rows: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """`n` of `rows`, drawn with `seed`, in their order; all of them where there are no more."""
    return (
        rows
        if len(rows) <= n
        else np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))
    )


def _grouped(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """The group of each row, from 0 without gaps; and of each group its size, its rows of label 0
    and 1, and a number drawn with `seed`.
    """
    keys = (
        np.array(
            [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in ids],
            dtype="S8",
        )
        .view(">u8")
        .astype(np.uint64)
    )
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    count = len(sizes)
    weights = np.stack(
        [np.bincount(group[labels == label], minlength=count) for label in (0, 1)], axis=1
    )
    key = np.full(count, np.iinfo(np.uint64).max)
    np.minimum.at(key, group, keys)
    return group, sizes, weights, key


def _targets(totals: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Rows wanted of each label: rounded, and at least one where two or more exist."""
    wanted = np.rint(totals * fraction).astype(np.int64)
    return np.where(totals >= 2, np.clip(wanted, 1, totals - 1), 0)


def _fill_with_groups(
    many: NDArray[np.int64],
    weights: NDArray[np.int64],
    target: NDArray[np.int64],
    chosen: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Take groups in their drawn order while that brings the labels nearer to `target`, then put in
    and out single groups.
    """
    have = np.zeros(2, np.int64)
    # each round only ever comes nearer, so it ends; two or three rounds are usual
    for _ in range(20):
        moved = False
        for i in many.tolist():
            change = -weights[i] if chosen[i] else weights[i]
            if np.abs(have + change - target).sum() < np.abs(have - target).sum():
                have += change
                chosen[i] = not chosen[i]
                moved = True
        if not moved:
            break
    return have


def hash_split(splits: Sequence[str], ids: Sequence[str]) -> str:
    """Hex SHA-256 over the sorted (split, id) pairs: equal for equal splits whatever the order of
    rows.
    """
    lines = sorted(f"{split}\t{name}\n" for split, name in zip(splits, ids, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
