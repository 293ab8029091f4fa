"""What holds for every image, every word in the group, and every choice of elements."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pcam_kit import symmetry

elements = st.integers(0, symmetry.ORDER - 1)


@st.composite
def batches(draw: st.DrawFn) -> np.ndarray:
    n, size, channels = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    return draw(hnp.arrays(np.uint8, (n, size, size, channels)))


@given(batches(), st.lists(elements, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_word_is_one_element_and_its_inverse_undoes_it(
    images: np.ndarray, word: list[int]
) -> None:
    element = reduce(symmetry.compose, word, 0)
    moved = reduce(symmetry.apply, word, images)
    np.testing.assert_array_equal(moved, symmetry.apply(images, element))
    np.testing.assert_array_equal(symmetry.apply(moved, symmetry.inverse(element)), images)


@given(batches(), st.data())
@settings(max_examples=60, deadline=None)
def test_each_can_be_undone_and_keeps_every_pixel(images: np.ndarray, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(elements, min_size=len(images), max_size=len(images)))
    moved = symmetry.apply_each(images, chosen)
    np.testing.assert_array_equal(
        symmetry.apply_each(moved, [symmetry.inverse(g) for g in chosen]), images
    )
    for before, after in zip(images, moved, strict=True):
        channels = images.shape[-1]
        assert sorted(map(tuple, before.reshape(-1, channels))) == sorted(
            map(tuple, after.reshape(-1, channels))
        )


@given(batches(), elements)
@settings(max_examples=40, deadline=None)
def test_moving_an_image_only_reorders_its_views(images: np.ndarray, first: int) -> None:
    views = symmetry.all_views(images)
    moved_views = symmetry.all_views(symmetry.apply(images, first))
    for then in range(symmetry.ORDER):
        np.testing.assert_array_equal(moved_views[then], views[symmetry.compose(first, then)])
