"""The views of a patch that a prediction averages over (`evaluation.tta`).

The patch as it is, shifted, or rotated by less than 90 degrees, and the symmetries of these. A
network that has the symmetries built in gives all rotated and mirrored forms of a patch one answer,
but a shifted patch, or one rotated by another angle, another one. What the views are worth:
EXPERIMENTS.md, 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.schema import Tta

# What is done before the symmetry: a shift (down and right, in steps), or a rotation in degrees
# counter-clockwise. With the symmetries, TURNS gives all multiples of 22.5 degrees.
SHIFTS = {
    "shift_up": (-1, 0),
    "shift_down": (1, 0),
    "shift_left": (0, -1),
    "shift_right": (0, 1),
}
TURNS = {"turn22.5": 22.5, "turn45": 45.0, "turn67.5": 67.5}
STEPS = 12  # steps of a shift that make a patch's side
AS_IS = "identity"


def _views(moves: Sequence[str], symmetries: Sequence[str]) -> tuple[str, ...]:
    return tuple(_name(move, form) for move in moves for form in symmetries)


def _name(move: str, form: str) -> str:
    """`identity`, `rotate90`, `shift_up`, `shift_up+rotate90`."""
    if move == AS_IS:
        return form
    return move if form == AS_IS else f"{move}+{form}"


# The names of the views that each kind of test-time augmentation averages; predictions on disk
# carry them.
VIEWS: dict[Tta, tuple[str, ...]] = {
    "none": _views([AS_IS], [AS_IS]),
    "d4": _views([AS_IS], symmetry.NAMES),
    "shifts": _views([AS_IS, *SHIFTS], [AS_IS]),
    "d4-shifts": _views([AS_IS, *SHIFTS], symmetry.NAMES),
    "turns": _views([AS_IS, *TURNS], [AS_IS]),
    "d4-turns": _views([AS_IS, *TURNS], symmetry.NAMES),
}
# Predictions of version 0.1 have no names: there the number of columns says which views they are.
UNNAMED: dict[int, Tta] = {
    1: "none",
    8: "d4",
    5: "shifts",
    40: "d4-shifts",
    4: "turns",
    32: "d4-turns",
}


def apply_view(images: NDArray[np.uint8], view: str) -> NDArray[np.uint8]:
    """`images` [n, h, h, c] in the view of that name, contiguous.

    What a shift or a rotation uncovers mirrors what is inside. Raises KeyError for another name.
    """
    move, _, form = view.rpartition("+")
    if not move and form not in symmetry.NAMES:
        move, form = form, AS_IS
    if move in SHIFTS:
        images = _shifted(images, *SHIFTS[move])
    elif move:
        images = _rotated(images, TURNS[move])
    return np.ascontiguousarray(symmetry.apply(images, symmetry.NAMES.index(form)))


def _shifted(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    side = images.shape[1]
    step = max(1, round(side / STEPS))
    top, left = step * (1 - down), step * (1 - right)
    padded = np.pad(images, ((0, 0), (step, step), (step, step), (0, 0)), mode="reflect")
    return padded[:, top : top + side, left : left + side]


def _rotated(images: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Bilinear, about the middle."""
    import cv2  # late, because reading kept predictions does without

    side = images.shape[1]
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    rotated = np.empty_like(images)
    for i, image in enumerate(images):
        rotated[i] = cv2.warpAffine(
            image,
            matrix,
            (side, side),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return rotated
