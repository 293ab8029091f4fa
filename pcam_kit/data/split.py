"""A validation part split off train, or folds of both: seeded, whole groups, balanced labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import Labels
from pcam_kit.errors import DataError

MAX_ROUNDS = 20  # of moving groups in and out; two or three are usual


@dataclass(frozen=True, eq=False)
class _Groups:
    """Rows that stay together: the number of each row's group, and what is known of each group."""

    numbers: NDArray[np.int64]  # [rows], from 0 without gaps
    sizes: NDArray[np.int64]  # [groups]
    label_counts: NDArray[np.int64]  # [groups, 2]: rows of label 0 and of label 1
    keys: NDArray[np.uint64]  # [groups], drawn with the seed


def choose_valid(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], *, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Which rows go to validation: bool [n]. Rows of one group stay together.

    About `fraction` of each label, as near as whole groups come. The same (id, label, group) rows
    give the same choice in any order, on any machine; how groups are numbered does not matter.
    Neither side is left empty when there are two groups.
    """
    if len(ids) == 0:
        return np.zeros(0, np.bool_)
    grouped = _grouped(ids, labels, groups, seed)
    sizes, label_counts = grouped.sizes, grouped.label_counts
    targets = _targets(label_counts.sum(axis=0), fraction)
    order = np.argsort(grouped.keys, kind="stable")
    chosen = np.zeros(len(sizes), np.bool_)
    counts = _fill_with_groups(order[sizes[order] > 1], label_counts, targets, chosen)
    for label in (0, 1):
        singles = order[(sizes[order] == 1) & (label_counts[order, label] == 1)]
        chosen[singles[: max(0, int(targets[label] - counts[label]))]] = True
    if len(sizes) > 1:
        smallest = order[np.argmin(sizes[order])]
        if chosen.all():
            chosen[smallest] = False
        if not chosen.any():
            chosen[smallest] = True
    return chosen[grouped.numbers]


def assign_folds(
    ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], k: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each row, int64 [n] from 0 to k - 1: groups stay together, no fold is empty.

    Groups go, large ones first, to the fold where they leave both labels most evenly spread (least
    sum of squared shares). Groups of about one size (equal up to a factor of two) come in an order
    drawn with `seed`. Rows that are all groups of their own are dealt out so that the folds' counts
    of each label differ by at most one. As with `choose_valid` neither the order of rows nor the
    numbers of groups matter. Raises DataError where there are fewer groups than folds, or fewer
    than two folds.

    The folds of scikit-learn's StratifiedGroupKFold depend on the numbers of groups, and are others
    than those of existing runs.
    """
    grouped = _grouped(ids, labels, groups, seed)
    sizes, label_counts = grouped.sizes, grouped.label_counts
    if k < 2 or len(sizes) < k:
        raise DataError(
            f"expected at least 2 folds and no more than groups of patches, found {k} folds and "
            f"{len(sizes):,} groups"
        )
    scale = [1 / max(1, int(total)) ** 2 for total in label_counts.sum(axis=0)]
    fold_counts = [[0, 0] for _ in range(k)]
    fold_rows = [0] * k
    folds = np.empty(len(sizes), np.int64)
    for i in np.lexsort((grouped.keys, -np.frexp(sizes)[1])).tolist():
        negative, positive = label_counts[i].tolist()
        costs: list[tuple[float, int, int]] = []
        for fold, (negatives, positives) in enumerate(fold_counts):
            # what the sum of squared shares grows by
            cost = scale[0] * negative * (2 * negatives + negative) + scale[1] * positive * (
                2 * positives + positive
            )
            costs.append((cost, fold_rows[fold], fold))
        best = min(costs)[2]
        fold_counts[best][0] += negative
        fold_counts[best][1] += positive
        fold_rows[best] += int(sizes[i])
        folds[i] = best
    return folds[grouped.numbers]


def draw_rows(rows: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """`n` of `rows`, drawn with `seed`, in their order; all of them where there are no more."""
    if len(rows) <= n:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


def hash_split(splits: Sequence[str], ids: Sequence[str]) -> str:
    """Hex SHA-256 over the sorted (split, id) pairs: the order of rows does not matter."""
    lines = sorted(f"{split}\t{name}\n" for split, name in zip(splits, ids, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _grouped(ids: Sequence[str], labels: Labels, groups: NDArray[np.int64], seed: int) -> _Groups:
    """Number the groups; the key of a group is the least of its rows' keys, hashes of their ids."""
    digests = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in ids]
    row_keys = np.array(digests, dtype="S8").view(">u8").astype(np.uint64)
    numbers = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    n = len(sizes)
    label_counts = np.stack(
        [np.bincount(numbers[labels == label], minlength=n) for label in (0, 1)], axis=1
    )
    keys = np.full(n, np.iinfo(np.uint64).max)
    np.minimum.at(keys, numbers, row_keys)
    return _Groups(numbers, sizes, label_counts, keys)


def _targets(totals: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Rows to choose of each label: rounded, and at least one where two or more exist."""
    rounded = np.rint(totals * fraction).astype(np.int64)
    return np.where(totals >= 2, np.clip(rounded, 1, totals - 1), 0)


def _fill_with_groups(
    order: NDArray[np.int64],
    label_counts: NDArray[np.int64],
    targets: NDArray[np.int64],
    chosen: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Set in `chosen` the groups that bring the label counts nearest to `targets`, greedily.

    Groups move in and out one by one in their drawn `order` while that reduces the distance.
    Returns the label counts of those chosen, [2].
    """
    counts = np.zeros(2, np.int64)
    for _ in range(MAX_ROUNDS):
        moved = False
        for group in order.tolist():
            change = -label_counts[group] if chosen[group] else label_counts[group]
            if np.abs(counts + change - targets).sum() < np.abs(counts - targets).sum():
                counts += change
                chosen[group] = not chosen[group]
                moved = True
        if not moved:
            break
    return counts
