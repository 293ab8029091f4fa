"""The views of a patch: each pixel where it should be, and found again among those predicted together."""

from __future__ import annotations

import numpy as np
import pytest

from pcam_kit import symmetry
from pcam_kit.config.schema import Tta
from pcam_kit.views import VIEWS, columns, seen

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def mirrored(i: int, side: int) -> int:
    """Where a pixel outside comes from: the edge is the mirror."""
    return -i if i < 0 else 2 * (side - 1) - i if i >= side else i


@pytest.mark.parametrize(("shift", "down", "right"), [(0, 0, 0), (1, -3, 0), (2, 3, 0), (3, 0, -3), (4, 0, 3)])
def test_a_shift_moves_every_pixel_and_mirrors_what_it_lays_bare(shift: int, down: int, right: int) -> None:
    made = seen(IMAGES, (shift, 0))
    for row in range(32):
        for column in range(32):
            source = IMAGES[:, mirrored(row - down, 32), mirrored(column - right, 32)]
            np.testing.assert_array_equal(made[:, row, column], source)


@pytest.mark.parametrize(("side", "step"), [(8, 1), (32, 3), (96, 8)])
def test_a_shift_is_a_twelfth_of_the_side(side: int, step: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    np.testing.assert_array_equal(seen(images, (2, 0))[:, step:], images[:, :-step])


def test_the_symmetries_are_those_of_the_shifted_patch() -> None:
    for shift, element in VIEWS["d4-shifts"]:
        made = seen(IMAGES, (shift, element))
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, symmetry.apply(seen(IMAGES, (shift, 0)), element))


def test_all_views_differ() -> None:
    assert len({seen(IMAGES, view).tobytes() for view in VIEWS["d4-shifts"]}) == 40


@pytest.mark.parametrize(
    ("tta", "number", "expected"),
    [
        ("none", 1, [0]),
        ("none", 5, [0]),
        ("none", 40, [0]),
        ("d4", 8, list(range(8))),
        ("d4", 40, list(range(8))),
        ("shifts", 5, list(range(5))),
        ("shifts", 40, [0, 8, 16, 24, 32]),
        ("d4-shifts", 40, list(range(40))),
        ("d4", 5, None),
        ("shifts", 8, None),
        ("d4-shifts", 8, None),
        ("none", 3, None),  # no file of ours
    ],
)
def test_views_are_found_among_those_predicted_together(tta: Tta, number: int, expected: list[int] | None) -> None:
    assert columns(tta, number) == expected
