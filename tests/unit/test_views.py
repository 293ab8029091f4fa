"""The views of a patch: each pixel where it should be, and found again by name in predictions."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest

from pcam_kit import symmetry
from pcam_kit.cli.predict import predict
from pcam_kit.config.schema import Tta
from pcam_kit.run_folders import Predictions
from pcam_kit.views import SHIFTS, TURNS, UNNAMED, VIEWS, apply_view

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


PLACES = ("identity", *SHIFTS, *TURNS)


def seen(images: np.ndarray, view: tuple[int, int]) -> np.ndarray:
    """The images moved to a place, then by a symmetry."""
    place, element = PLACES[view[0]], symmetry.NAMES[view[1]]
    if place == "identity":
        return apply_view(images, element)
    return apply_view(images, place if element == "identity" else f"{place}+{element}")


def mirrored(i: int, side: int) -> int:
    """Where a pixel outside comes from: the edge is the mirror."""
    return -i if i < 0 else 2 * (side - 1) - i if i >= side else i


@pytest.mark.parametrize(
    ("shift", "down", "right"), [(0, 0, 0), (1, -3, 0), (2, 3, 0), (3, 0, -3), (4, 0, 3)]
)
def test_a_shift_moves_every_pixel_and_mirrors_what_it_lays_bare(
    shift: int, down: int, right: int
) -> None:
    made = seen(IMAGES, (shift, 0))
    for row in range(32):
        for column in range(32):
            source = IMAGES[:, mirrored(row - down, 32), mirrored(column - right, 32)]
            np.testing.assert_array_equal(made[:, row, column], source)


@pytest.mark.parametrize(("side", "step"), [(8, 1), (32, 3), (96, 8)])
def test_a_shift_is_a_twelfth_of_the_side(side: int, step: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    np.testing.assert_array_equal(seen(images, (2, 0))[:, step:], images[:, :-step])


@pytest.mark.parametrize(("place", "degrees"), [(5, 22.5), (6, 45.0), (7, 67.5)])
def test_a_turn_is_counter_clockwise_about_the_middle(place: int, degrees: float) -> None:
    """Of a smooth image, so that the way to interpolate is of no weight; what comes from outside is
    left out.
    """
    at = np.arange(96) - 47.5
    down, right = np.meshgrid(at, at, indexing="ij")

    def smooth(down: np.ndarray, right: np.ndarray) -> np.ndarray:
        return 128 + 60 * np.sin(right / 9) + 50 * np.cos(down / 7 + 1)

    images = np.repeat(smooth(down, right).round().astype(np.uint8)[None, :, :, None], 3, axis=3)
    turn = np.deg2rad(degrees)
    expected = smooth(
        np.cos(turn) * down + np.sin(turn) * right, np.cos(turn) * right - np.sin(turn) * down
    )
    inside = np.hypot(down, right) < 46
    np.testing.assert_allclose(
        seen(images, (place, 0))[0, ..., 0][inside], expected[inside], atol=2
    )


def test_turns_and_symmetries_are_sixteen_directions_and_their_mirror_images() -> None:
    """The mean over them does not know a mirror image from the original: 22.5 mirrored is 67.5 the
    other way and a quarter.
    """
    mirror = seen(IMAGES, (0, 4))
    for place, other in ((5, 7), (6, 6), (7, 5)):
        forms = [seen(IMAGES, (other, element)).astype(int) for element in range(8)]
        nearest = min(int(np.abs(seen(mirror, (place, 0)) - form).max()) for form in forms)
        assert nearest < 16, (
            "equal but for the 32nds of a pixel that OpenCV counts in; of other forms it is "
            "above 100"
        )


@pytest.mark.parametrize("tta", ["d4-shifts", "d4-turns"])
def test_the_symmetries_are_those_of_the_moved_patch(tta: Tta) -> None:
    names = iter(VIEWS[tta])
    for place in PLACES[:5] if tta == "d4-shifts" else ("identity", *TURNS):
        moved = apply_view(IMAGES, place)
        for element in range(symmetry.ORDER):
            view = apply_view(IMAGES, next(names))
            assert view.flags.c_contiguous
            np.testing.assert_array_equal(view, symmetry.apply(moved, element))
    assert not list(names)


def test_all_views_differ() -> None:
    assert (
        len(
            {
                apply_view(IMAGES, view).tobytes()
                for view in (*VIEWS["d4-shifts"], *VIEWS["d4-turns"])
            }
        )
        == 64
    )


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
        ("turns", 4, list(range(4))),
        ("turns", 32, [0, 8, 16, 24]),
        ("d4", 32, list(range(8))),
        ("turns", 40, None),
        ("shifts", 32, None),
        ("d4", 5, None),
        ("shifts", 8, None),
        ("d4-shifts", 8, None),
        ("none", 3, None),  # no file of ours
    ],
)
def test_views_are_found_among_those_predicted_together(
    tta: Tta, number: int, expected: list[int] | None
) -> None:
    n, rng = 3, np.random.default_rng(0)
    views = VIEWS[UNNAMED[number]] if number in UNNAMED else tuple(f"v{i}" for i in range(number))
    labels, ids = np.zeros(n, np.int8), np.array(["a", "b", "c"])
    predictions = Predictions(ids, labels, rng.random((n, number), np.float32), views)
    assert predictions.covers(tta) == (expected is not None)
    if expected is not None:
        mean = predictions.probabilities[:, expected].astype(float).mean(axis=1)
        np.testing.assert_allclose(predictions.probability(tta), mean, rtol=1e-6)


def test_the_command_offers_every_view() -> None:
    offered = get_type_hints(predict, include_extras=False)["tta"]
    assert (
        set(get_args(Tta))
        == set(VIEWS)
        == {name for part in get_args(offered) for name in get_args(part)}
    )


def test_a_name_that_is_no_view_is_refused() -> None:
    for name in ("shift", "turn90", "rotate45", "identity+", "shift_up+turn45"):
        with pytest.raises((KeyError, ValueError)):
            apply_view(IMAGES, name)
