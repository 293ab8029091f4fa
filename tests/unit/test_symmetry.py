"""The group D4 on arrays: the table, its axioms, and what each element does to the four corners."""

from __future__ import annotations

import numpy as np
import pytest

from pcam_kit import symmetry
from pcam_kit.errors import DataError, UsageError

CORNERS = np.array([["A", "B"], ["C", "D"]])[..., None]
EXPECTED = {  # read row by row; drawn by hand, not computed
    "identity": "ABCD",
    "rotate90": "BDAC",
    "rotate180": "DCBA",
    "rotate270": "CADB",
    "flip_horizontal": "BADC",
    "transpose": "ACBD",
    "flip_vertical": "CDAB",
    "antitranspose": "DBCA",
}
ELEMENTS = range(symmetry.ORDER)


def images(n: int = 3, size: int = 5, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (n, size, size, channels)).astype(dtype)


@pytest.mark.parametrize("element", ELEMENTS)
def test_each_name_moves_the_corners_as_drawn(element: int) -> None:
    assert "".join(symmetry.apply(CORNERS, element).ravel()) == EXPECTED[symmetry.NAMES[element]]


def test_the_names_are_eight_and_distinct() -> None:
    assert len(set(symmetry.NAMES)) == symmetry.ORDER == 8


def test_the_definition_is_flip_first_then_rotate() -> None:
    x = images()
    for element in ELEMENTS:
        flipped = x[:, :, ::-1] if element >= 4 else x
        # rot90 of one [h, w, c] image: counter-clockwise
        turned = np.stack([np.rot90(image, element % 4) for image in flipped])
        np.testing.assert_array_equal(symmetry.apply(x, element), turned)


def test_compose_agrees_with_doing_both() -> None:
    x = images()
    for first in ELEMENTS:
        for then in ELEMENTS:
            both = symmetry.apply(symmetry.apply(x, first), then)
            np.testing.assert_array_equal(both, symmetry.apply(x, symmetry.compose(first, then)))


def test_the_table_is_a_group_and_not_commutative() -> None:
    table = np.array([[symmetry.compose(a, b) for b in ELEMENTS] for a in ELEMENTS])
    for line in (*table, *table.T):
        # a Latin square: closed, and each element has an inverse
        assert sorted(line) == list(ELEMENTS)
    np.testing.assert_array_equal(table[0], ELEMENTS)
    np.testing.assert_array_equal(table[:, 0], ELEMENTS)
    # (ab)c == a(bc) for all 512 triples
    np.testing.assert_array_equal(table[table, :], table[:, table])
    assert (table != table.T).any()
    for element in ELEMENTS:
        assert (
            table[element, symmetry.inverse(element)]
            == 0
            == table[symmetry.inverse(element), element]
        )


def test_an_asymmetric_image_has_eight_different_views() -> None:
    x = images(n=2)
    views = symmetry.all_views(x)
    assert views.shape == (8, *x.shape)
    assert views.dtype == x.dtype
    assert len({views[element, 0].tobytes() for element in ELEMENTS}) == 8
    for element in ELEMENTS:
        np.testing.assert_array_equal(views[element], symmetry.apply(x, element))


def test_apply_is_a_view_with_any_leading_axes() -> None:
    x = images().reshape(1, 3, 5, 5, 3)
    for element in ELEMENTS:
        y = symmetry.apply(x, element)
        assert np.shares_memory(x, y)
        assert y.shape == x.shape
    np.testing.assert_array_equal(symmetry.apply(x[0, 0], 3), symmetry.apply(x, 3)[0, 0])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_apply_each_is_apply_image_by_image(dtype: str, channels: int) -> None:
    x = images(40, channels=channels, dtype=dtype)
    elements = np.random.default_rng(1).integers(0, 8, 40)
    y = symmetry.apply_each(x, elements)
    assert y.flags.c_contiguous
    assert y.dtype == x.dtype
    assert not np.shares_memory(x, y)
    for image, element, moved in zip(x, elements, y, strict=True):
        np.testing.assert_array_equal(moved, symmetry.apply(image, int(element)))


def test_apply_each_leaves_its_input_alone_and_takes_slices_and_no_images() -> None:
    x = images(20)
    before = x.copy()
    y = symmetry.apply_each(x, np.zeros(20, int))
    np.testing.assert_array_equal(y, x)
    y[:] = 0
    np.testing.assert_array_equal(x, before)
    every_other = symmetry.apply_each(x[::2], [6] * 10)
    np.testing.assert_array_equal(every_other, x[::2, ::-1])
    assert symmetry.apply_each(x[:0], np.zeros(0, int)).shape == (0, 5, 5, 3)
    assert symmetry.apply_each(x[:0], []).shape == (0, 5, 5, 3)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(DataError, match=r"square.*found \[2, 4, 5, 3\]"):
        symmetry.apply(np.zeros((2, 4, 5, 3)), 1)
    with pytest.raises(DataError, match="square"):
        symmetry.apply_each(np.zeros((2, 4, 5, 3)), [0, 1])
    with pytest.raises(DataError, match="square"):
        symmetry.apply(np.zeros((4, 4)), 1)


@pytest.mark.parametrize("element", [-1, 8])
def test_elements_that_do_not_exist_are_refused(element: int) -> None:
    with pytest.raises(UsageError, match="8 symmetries"):
        symmetry.apply(images(), element)
    with pytest.raises(UsageError, match="8 symmetries"):
        symmetry.apply_each(images(2), [0, element])
    with pytest.raises(UsageError, match="8 symmetries"):
        symmetry.inverse(element)
    with pytest.raises(UsageError, match="8 symmetries"):
        symmetry.compose(0, element)


def test_apply_each_wants_one_whole_number_an_image() -> None:
    with pytest.raises(DataError, match=r"elements \[2\]"):
        symmetry.apply_each(images(3), [0, 1])
    with pytest.raises(UsageError, match="whole numbers"):
        symmetry.apply_each(images(2), np.array([0.0, 1.0]))
