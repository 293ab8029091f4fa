"""Copies within and between stores, against brute force and against what was planted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_factories import patches, profile, shared
from hypothesis import given, settings
from hypothesis import strategies as st

from pcam_kit import symmetry
from pcam_kit.competitions import find_competition
from pcam_kit.data.copies import Copies, compare_stores, fingerprint_store, standard_elements
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.raw import SPLITS, Part, RawCompetition
from pcam_kit.data.store import Store, build_store


def store_of(
    place: Path, splits: Mapping[str, np.ndarray], slides: Mapping[str, list[str]] | None = None
) -> Store:
    """A store with the images of each split; ids are `<folder>-<split>-<i>`."""
    parts = [
        Part(
            split,
            [f"{place.name}-{split}-{i}" for i in range(len(splits[split]))],
            (np.arange(len(splits[split])) % 2).astype(np.int8),
            lambda split=split: (block for block in [splits[split]]),
            slides[split] if slides is not None else None,
        )
        for split in SPLITS
        if split in splits
    ]
    size = splits["train"].shape[1]
    return build_store(
        RawCompetition(profile("pcam_h5", image_size=size, slug=place.name), tuple(parts), []),
        place,
    )


def table(found: list[Copies]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(here, there) -> exact, turned, near; only where there are some. Splits are `slug split`."""
    counts = {
        (
            f"{one.here[0].profile.slug} {one.here[1]}",
            f"{one.there[0].profile.slug} {one.there[1]}",
        ): (one.exact, one.turned, one.near)
        for one in found
    }
    return {pair: count for pair, count in counts.items() if count != (0, 0, 0)}


def soft(n: int, seed: int, size: int = 96) -> np.ndarray:
    """Smooth patterns, as tissue is: what JPEG changes little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return np.stack(
        [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in coarse]
    )


def jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR
    )


@given(
    size=st.sampled_from([1, 3, 4, 5, 8, 12]),
    levels=st.sampled_from([1, 2, 256]),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=60)
def test_all_eight_forms_of_a_patch_get_the_same_standard_form(
    size: int, levels: int, seed: int
) -> None:
    """With one or two grey levels many patches are symmetric themselves, or tie in the sums."""
    images = np.random.default_rng(seed).integers(0, levels, (6, size, size, 3), dtype=np.uint8)
    forms = [
        symmetry.apply_each(moved, standard_elements(np.ascontiguousarray(moved)))
        for moved in symmetry.all_views(images)
    ]
    for form in forms[1:]:
        np.testing.assert_array_equal(form, forms[0])


def test_counts_are_those_of_brute_force(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pool = patches(12, 5)

    def drawn(n: int) -> np.ndarray:
        return symmetry.apply_each(pool[rng.integers(0, 12, n)], rng.integers(0, 8, n))

    sizes = {"a": {"train": 30, "valid": 9, "test": 5}, "b": {"train": 8, "valid": 7}}
    stores = [
        store_of(tmp_path / name, {split: drawn(n) for split, n in counts.items()})
        for name, counts in sizes.items()
    ]

    def forms(image: np.ndarray) -> set[bytes]:
        return {symmetry.apply(image, g).tobytes() for g in range(8)}

    first, second = (fingerprint_store(store, 32) for store in stores)
    for one in [*compare_stores(first), *compare_stores(second), *compare_stores(first, second)]:
        here, there = (store.images[store.rows(split)] for store, split in (one.here, one.there))
        exact = turned = 0
        for i, image in enumerate(there):
            candidates = here[:i] if one.here == one.there else here
            same = any(image.tobytes() == other.tobytes() for other in candidates)
            exact += same
            turned += not same and any(image.tobytes() in forms(other) for other in candidates)
        assert (one.n, one.exact, one.turned, one.near) == (len(there), exact, turned, 0)
    assert len(compare_stores(first)) == 6
    assert len(compare_stores(first, second)) == 6


@pytest.fixture
def large(tmp_path: Path) -> Store:
    return store_of(
        tmp_path / "large", {"train": soft(20, 1), "valid": soft(8, 2), "test": soft(6, 3)}
    )


def test_planted_copies_across_two_stores(tmp_path: Path, large: Store) -> None:
    train, test = soft(12, 4), soft(9, 5)
    train[0] = large.images[0]
    train[1] = jpeg(large.images[1])
    test[2:4] = np.rot90(large.images[22:24], axes=(1, 2))  # of valid
    test[4] = large.images[30][:, ::-1]  # of test
    other = store_of(tmp_path / "other", {"train": train, "valid": soft(4, 10), "test": test})
    found = compare_stores(fingerprint_store(large, 96), fingerprint_store(other, 96), examples=5)
    assert table(found) == {
        ("large train", "other train"): (1, 0, 1),
        ("large valid", "other test"): (0, 2, 0),
        ("large test", "other test"): (0, 1, 0),
    }
    listed = [
        (example.kind, example.here, example.there) for one in found for example in one.examples
    ]
    assert sorted(listed) == [
        ("exact", "large-train-0", "other-train-0"),
        ("near", "large-train-1", "other-train-1"),
        ("turned", "large-test-2", "other-test-4"),
        ("turned", "large-valid-2", "other-test-2"),
        ("turned", "large-valid-3", "other-test-3"),
    ]
    assert [
        len(one.examples)
        for one in compare_stores(
            fingerprint_store(large, 96), fingerprint_store(other, 96), examples=1
        )
        if one.exact + one.near == 2
    ] == [1]
    assert table(compare_stores(fingerprint_store(large, 96))) == {}


def test_small_patches_are_found_in_the_centres_of_large_ones(tmp_path: Path, large: Store) -> None:
    small, off = soft(10, 6, 32), soft(4, 7, 32)
    centres = large.images[:, 32:64, 32:64]
    small[0], small[1] = centres[3], np.rot90(centres[4], 2)
    off[0] = centres[21]
    off[1] = large.images[22, :32, :32]  # another corner of the patch
    other = store_of(tmp_path / "small", {"train": small, "valid": soft(4, 10, 32), "test": off})
    found = table(compare_stores(fingerprint_store(large, 32), fingerprint_store(other, 32)))
    assert found == {
        ("large train", "small train"): (1, 1, 0),
        ("large valid", "small test"): (1, 0, 0),
    }


def test_within_a_split_those_that_repeat_an_earlier_one_count(tmp_path: Path) -> None:
    train = soft(10, 8)
    train[4:7] = train[0]
    train[7] = train[1][::-1]
    train[8] = jpeg(train[2])
    store = store_of(tmp_path / "one", {"train": train, "valid": soft(4, 9)})
    (found,) = (
        one
        for one in compare_stores(fingerprint_store(store, 96), examples=9)
        if one.here == one.there and one.here[1] == "train"
    )
    assert (found.exact, found.turned, found.near) == (3, 1, 1)
    assert [(e.here, e.there) for e in found.examples] == [
        *(("one-train-0", f"one-train-{i}") for i in (4, 5, 6)),
        ("one-train-1", "one-train-7"),
        ("one-train-2", "one-train-8"),
    ]


def test_slides_are_compared_by_name(tmp_path: Path, large: Store) -> None:
    images = {"train": patches(4), "valid": patches(4, 1), "test": patches(2, 2)}
    named = store_of(
        tmp_path / "named",
        images,
        {"train": ["a", "b", "b", "c"], "valid": ["e"] * 4, "test": ["c", "d"]},
    )
    other = store_of(
        tmp_path / "more",
        images,
        {"train": ["d", "b", "c", "c"], "valid": ["y"] * 4, "test": ["x", "e"]},
    )
    within = {
        (one.here[1], one.there[1]): one.slides
        for one in compare_stores(fingerprint_store(named, 32))
        if one.here != one.there
    }
    assert within == {("train", "valid"): 0, ("train", "test"): 1, ("valid", "test"): 0}
    across = {
        (one.here[0].profile.slug, one.here[1], one.there[1]): one.slides
        for one in compare_stores(fingerprint_store(named, 32), fingerprint_store(other, 32))
    }
    shared_names = {
        ("named", "train", "train"): 2,
        ("named", "valid", "test"): 1,
        ("more", "train", "test"): 2,
    }
    assert {pair: names for pair, names in across.items() if names != 0} == shared_names
    assert len(across) == 9
    assert {
        one.slides
        for one in compare_stores(fingerprint_store(named, 32), fingerprint_store(large, 32))
    } == {None}


def test_kaggles_own_patches_are_found_among_pcams(tmp_path: Path) -> None:
    """The published tifs, and patches of PCam that were compressed as JPEG: some are the same, in
    train only.
    """
    kaggle = build_store(
        open_raw(find_competition("hcd"), shared("pcam/kaggle_sample.zip")), tmp_path / "kaggle"
    )
    images: dict[str, np.ndarray] = {}
    for split, n in (("train", 800), ("valid", 400)):
        with np.load(shared(f"pcam/{split}_jpeg.npz")) as archive:
            data, offsets = archive["jpeg"], archive["offsets"]
        rows = [
            cv2.imdecode(data[offsets[i] : offsets[i + 1]], cv2.IMREAD_COLOR)[:, :, ::-1]
            for i in range(n)
        ]
        images[split] = np.stack(rows)
    pcam = store_of(tmp_path / "pcam", images)
    across = compare_stores(fingerprint_store(kaggle, 96), fingerprint_store(pcam, 96))
    with_train = [one for one in across if (pcam, "train") in (one.here, one.there)]
    assert sum(one.near for one in with_train) > 0
    assert sum(one.near for one in across) == sum(one.near for one in with_train)
    assert sum(one.exact + one.turned for one in across) == 0
