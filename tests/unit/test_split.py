"""Exact and near copies of patches, and the validation part split off train."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from data_factories import patches, shared

from pcam_kit.data.duplicates import (
    Fingerprints,
    count_duplicates_across,
    duplicate_groups,
    fingerprint,
    join_fingerprints,
)
from pcam_kit.data.split import choose_valid, hash_split


def grouped(images: np.ndarray) -> np.ndarray:
    return duplicate_groups(fingerprint(images), images)


def soft(n: int, size: int) -> np.ndarray:
    """Patterns with the contrast and edges of tissue."""
    return np.stack(
        [cv2.GaussianBlur(image // 2 + 60, (0, 0), size / 48) for image in patches(n, size=size)]
    )


def real_patches(n: int) -> np.ndarray:
    with np.load(shared("pcam/valid_jpeg.npz")) as archive:
        jpeg, offsets = archive["jpeg"], archive["offsets"]
    return np.stack(
        [cv2.imdecode(jpeg[offsets[i] : offsets[i + 1]], cv2.IMREAD_COLOR) for i in range(n)]
    )


def test_exact_copies_share_a_group_and_others_do_not() -> None:
    images = patches(50)
    images[[7, 30, 41]] = images[3]
    groups = grouped(images)
    assert len(set(groups[[3, 7, 30, 41]].tolist())) == 1
    assert len(np.unique(groups)) == 47


@pytest.mark.parametrize("size", [32, 96, 40])
def test_near_copies_share_a_group(size: int) -> None:
    images = soft(40, size)
    jpeg = cv2.imdecode(
        cv2.imencode(".jpg", images[0], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR
    )
    brighter = np.clip(images[1].astype(int) + 5, 0, 255).astype(np.uint8)
    groups = grouped(np.concatenate([images, [jpeg, brighter]]))
    assert groups[0] == groups[40]
    assert groups[1] == groups[41]
    assert len(np.unique(groups)) == 40


def test_copies_chain_into_one_group() -> None:
    image = cv2.GaussianBlur(patches(1, size=96)[0], (0, 0), 2)
    chain = np.stack(
        [np.clip(image.astype(int) + 5 * i, 0, 255).astype(np.uint8) for i in range(6)]
    )
    assert len(np.unique(grouped(chain))) == 1


def test_flat_patches_are_grouped_only_when_exact() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((30, 32, 32, 3), 240, np.uint8)
    flat[10:] = rng.integers(238, 242, (20, 32, 32, 3))
    groups = grouped(flat)
    assert len(np.unique(groups)) == 21


def test_thousands_of_equal_hashes_cost_seconds_not_hours() -> None:
    n = 20_000
    images = np.broadcast_to(patches(1), (n, 32, 32, 3))
    fingerprints = Fingerprints(
        np.arange(n, dtype=np.uint64),
        np.full(n, 0x1234567890ABCDEF, np.uint64),
        np.zeros(n, np.bool_),
    )
    start = time.perf_counter()
    groups = duplicate_groups(fingerprints, images)
    assert len(np.unique(groups)) == 1  # neighbours chain, so a bounded window still joins them all
    assert time.perf_counter() - start < 20  # 1 s measured; all pairs would be 2e8


def test_real_patches_saved_again_are_found() -> None:
    images = real_patches(400)
    again = np.stack(
        [
            cv2.imdecode(
                cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR
            )
            for image in images
        ]
    )
    both = np.concatenate([images, again])
    groups = grouped(both)
    assert (groups[:400] == groups[400:]).mean() > 0.9
    assert len(np.unique(groups[:400])) > 395


def test_blocks_do_not_matter() -> None:
    images = patches(20)
    whole, pieces = (
        fingerprint(images),
        join_fingerprints([fingerprint(images[:3]), fingerprint(images[3:])]),
    )
    for column in ("pixel_hashes", "perceptual_hashes", "flat"):
        np.testing.assert_array_equal(getattr(whole, column), getattr(pieces, column))


def test_crossings_count_copies_of_the_other_part() -> None:
    images = soft(20, 96)
    images[10] = images[0]
    images[11] = images[0]
    images[12] = np.clip(images[1].astype(int) + 5, 0, 255)
    fingerprints = fingerprint(images)
    train = np.arange(20) < 10
    assert count_duplicates_across(
        fingerprints, duplicate_groups(fingerprints, images), train, ~train
    ) == (2, 1)
    assert count_duplicates_across(
        fingerprints, duplicate_groups(fingerprints, images), ~train, train
    ) == (1, 1)


def test_singles_are_split_exactly_by_label() -> None:
    label = (np.arange(1000) < 400).astype(np.int8)
    valid = choose_valid(
        [f"p{i}" for i in range(1000)], label, np.arange(1000), fraction=0.15, seed=0
    )
    assert valid[label == 1].sum() == 60
    assert valid[label == 0].sum() == 90


def test_slides_stay_whole_and_balanced() -> None:
    rng = np.random.default_rng(0)
    slides = np.repeat(np.arange(60), rng.integers(5, 200, 60))
    label = (rng.random(len(slides)) < rng.uniform(0.1, 0.9, 60)[slides]).astype(np.int8)
    valid = choose_valid([str(i) for i in range(len(slides))], label, slides, fraction=0.2, seed=3)
    assert not set(slides[valid]) & set(slides[~valid])
    for value in (0, 1):
        assert valid[label == value].mean() == pytest.approx(0.2, abs=0.02)


def test_seed_changes_the_choice_and_repeats_it() -> None:
    ids, label, groups = (
        [f"p{i}" for i in range(200)],
        (np.arange(200) % 2).astype(np.int8),
        np.arange(200),
    )
    first, again, other = (
        choose_valid(ids, label, groups, fraction=0.2, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_choice_is_the_one_every_machine_makes() -> None:
    valid = choose_valid(
        [str(i) for i in range(12)],
        (np.arange(12) % 2).astype(np.int8),
        np.arange(12) // 2,
        fraction=0.3,
        seed=0,
    )
    assert np.flatnonzero(valid).tolist() == [2, 3, 6, 7]


def test_split_hash_sees_membership_not_order() -> None:
    base = hash_split(["train", "valid"], ["a", "b"])
    assert base == hash_split(["valid", "train"], ["b", "a"])
    assert base != hash_split(["valid", "train"], ["a", "b"])
    assert base != hash_split(["train", "valid"], ["a", "c"])


def test_singles_fill_up_what_groups_left_open() -> None:
    groups = np.concatenate([np.repeat(np.arange(40), 5), np.arange(100, 900)])
    label = (np.arange(1000) % 2).astype(np.int8)
    valid = choose_valid([str(i) for i in range(1000)], label, groups, fraction=0.2, seed=0)
    assert valid[:200].any()
    assert [int(valid[label == value].sum()) for value in (0, 1)] == [100, 100]
