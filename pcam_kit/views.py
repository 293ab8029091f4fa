"""The views of a patch that a prediction is the mean of (`evaluation.tta`): as it is, shifted or
turned a little, and their symmetries.

A network that has the symmetries built in gives all turned and mirrored forms one answer, but a
shifted patch, or one turned by another angle, another one. What the views are worth:
EXPERIMENTS.md, 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.schema import Tta

View = tuple[int, int]  # number of the place, element of D4
SHIFTS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # places 1 to 4: down and right, in steps
STEP = 12  # of them are a patch's side
# places 5 to 7: degrees counter-clockwise; with the symmetries, all multiples of 22.5
TURNS = (22.5, 45.0, 67.5)
_AS_IS, _SHIFTED, _TURNED = [0], [0, 1, 2, 3, 4], [0, 5, 6, 7]


def _each(places: Sequence[int], elements: Sequence[int]) -> list[View]:
    return [(place, element) for place in places for element in elements]


VIEWS: dict[Tta, list[View]] = {
    "none": _each(_AS_IS, [0]),
    "d4": _each(_AS_IS, range(symmetry.ORDER)),
    "shifts": _each(_SHIFTED, [0]),
    "d4-shifts": _each(_SHIFTED, range(symmetry.ORDER)),
    "turns": _each(_TURNED, [0]),
    "d4-turns": _each(_TURNED, range(symmetry.ORDER)),
}
_BY_NUMBER = {len(views): views for views in VIEWS.values()}


def columns(tta: Tta, number: int) -> list[int] | None:
    """Where the views of `tta` are among `number` views that were predicted together; None when
    they are not all there.
    """
    there = _BY_NUMBER.get(number, [])
    wanted = VIEWS[tta]
    return [there.index(view) for view in wanted] if set(wanted) <= set(there) else None


def seen(images: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """`images` [n, h, h, c] in one view, contiguous; what a shift or a turn lays bare mirrors what
    is inside.
    """
    place, element = view
    if 1 <= place <= len(SHIFTS):
        images = _shifted(images, *SHIFTS[place - 1])
    elif place > len(SHIFTS):
        images = _turned(images, TURNS[place - len(SHIFTS) - 1])
    return np.ascontiguousarray(symmetry.apply(images, element))


def _shifted(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    side = images.shape[1]
    step = max(1, round(side / STEP))
    top, left = step * (1 - down), step * (1 - right)
    return np.pad(images, ((0, 0), (step, step), (step, step), (0, 0)), mode="reflect")[
        :, top : top + side, left : left + side
    ]


def _turned(images: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Bilinear, about the middle."""
    import cv2  # albumentations brings it; late, because reading kept predictions does without

    side = images.shape[1]
    middle = (side - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    turned = [
        cv2.warpAffine(
            image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        for image in images
    ]
    return np.array(turned, np.uint8)
