"""What holds for every validation split, whatever the groups and labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcam_kit.data.split import assign_folds, choose_valid, hash_split
from pcam_kit.errors import DataError

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=120)
FRACTION = st.floats(0.02, 0.6)
SEED = st.integers(0, 2**32)


def unpack(rows: list[tuple[int, int]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    return (
        [f"id{i}" for i in range(len(rows))],
        np.array([label for _, label in rows], np.int8),
        np.array([group for group, _ in rows]),
    )


@settings(deadline=None)
@given(ROWS, FRACTION, SEED)
def test_groups_stay_whole_and_no_side_is_empty(
    rows: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    ids, labels, groups = unpack(rows)
    valid = choose_valid(ids, labels, groups, fraction=fraction, seed=seed)
    assert not set(groups[valid]) & set(groups[~valid])
    assert (valid.any() and not valid.all()) or len(set(groups)) == 1


@settings(deadline=None)
@given(ROWS, FRACTION, SEED, st.randoms(use_true_random=False))
def test_neither_row_order_nor_group_numbers_matter(
    rows: list[tuple[int, int]], fraction: float, seed: int, random
) -> None:
    ids, labels, groups = unpack(rows)
    order = list(range(len(ids)))
    random.shuffle(order)
    names = list(range(13))
    random.shuffle(names)
    valid = choose_valid(ids, labels, groups, fraction=fraction, seed=seed)
    moved = choose_valid(
        [ids[i] for i in order],
        labels[order],
        np.array(names)[groups[order]],
        fraction=fraction,
        seed=seed,
    )
    np.testing.assert_array_equal(valid[order], moved)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=2, max_size=200), FRACTION, SEED)
def test_single_patches_are_shared_out_by_label(
    labels: list[int], fraction: float, seed: int
) -> None:
    label = np.array(labels, np.int8)
    valid = choose_valid(
        [str(i) for i in range(len(labels))],
        label,
        np.arange(len(labels)),
        fraction=fraction,
        seed=seed,
    )
    for value in (0, 1):
        total = int((label == value).sum())
        if total >= 2:
            assert valid[label == value].sum() == np.clip(np.rint(total * fraction), 1, total - 1)


@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "valid", "test"]), st.text("abc", min_size=1)),
        unique=True,
        min_size=1,
    ),
    st.randoms(),
)
def test_split_hash_ignores_order_and_sees_every_pair(pairs: list[tuple[str, str]], random) -> None:
    base = hash_split(*zip(*pairs, strict=True))
    shuffled = pairs[:]
    random.shuffle(shuffled)
    assert hash_split(*zip(*shuffled, strict=True)) == base
    assert hash_split([split for split, _ in pairs[1:]], [name for _, name in pairs[1:]]) != base


K = st.integers(2, 6)


@settings(deadline=None)
@given(ROWS, K, SEED)
def test_folds_hold_whole_groups_and_none_is_empty(
    rows: list[tuple[int, int]], k: int, seed: int
) -> None:
    ids, labels, groups = unpack(rows)
    if len(set(groups.tolist())) < k:
        with pytest.raises(
            DataError, match=f"found {k} folds and {len(set(groups.tolist()))} groups"
        ):
            assign_folds(ids, labels, groups, k, seed)
        return
    fold = assign_folds(ids, labels, groups, k, seed)
    assert fold.shape == (len(rows),)
    assert set(fold.tolist()) == set(range(k))
    assert all(len(set(fold[groups == group].tolist())) == 1 for group in set(groups.tolist()))


@settings(deadline=None)
@given(ROWS, K, SEED, st.randoms(use_true_random=False))
def test_folds_depend_on_neither_row_order_nor_group_numbers(
    rows: list[tuple[int, int]], k: int, seed: int, random
) -> None:
    ids, labels, groups = unpack(rows)
    if len(set(groups.tolist())) < k:
        return
    order, names = list(range(len(ids))), list(range(13))
    random.shuffle(order)
    random.shuffle(names)
    moved = assign_folds(
        [ids[i] for i in order], labels[order], np.array(names)[groups[order]], k, seed
    )
    np.testing.assert_array_equal(assign_folds(ids, labels, groups, k, seed)[order], moved)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=6, max_size=200), K, SEED)
def test_single_patches_are_dealt_out_by_label(labels: list[int], k: int, seed: int) -> None:
    label = np.array(labels, np.int8)
    fold = assign_folds(
        [str(i) for i in range(len(labels))], label, np.arange(len(labels)), k, seed
    )
    for value in (0, 1):
        assert np.ptp(np.bincount(fold[label == value], minlength=k)) <= 1


def test_folds_of_unequal_slides_are_balanced_and_drawn() -> None:
    rng = np.random.default_rng(0)
    slides = np.repeat(np.arange(60), rng.integers(5, 200, 60))
    label = (rng.random(len(slides)) < rng.uniform(0.1, 0.9, 60)[slides]).astype(np.int8)
    ids = [str(i) for i in range(len(slides))]
    first, again, other = (assign_folds(ids, label, slides, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    for value in (0, 1):
        assert np.bincount(first[label == value]) / (label == value).sum() == pytest.approx(
            np.full(5, 0.2), abs=0.02
        )
    # other slides together, not other numbers
    assert (first[:, None] == first).tolist() != (other[:, None] == other).tolist()


def test_folds_are_the_ones_every_machine_makes() -> None:
    fold = assign_folds(
        [str(i) for i in range(12)],
        (np.arange(12) % 2).astype(np.int8),
        np.arange(12) // 2,
        3,
        seed=0,
    )
    assert fold.tolist() == [2, 2, 0, 0, 1, 1, 1, 1, 2, 2, 0, 0]
