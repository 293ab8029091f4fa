"""The views of a patch that a prediction is the mean of (`evaluation.tta`): as it is, shifted, turned and mirrored.

A network that has the symmetries built in gives all turned and mirrored forms one answer, but a shifted patch another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.schema import Tta

View = tuple[int, int]  # number of the shift, element of D4
SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # down and right, in steps of a twelfth of the side (EXPERIMENTS.md, 2026-11-23)
PART = 12
_TURNED, _SHIFTED = range(symmetry.ORDER), range(len(SHIFTS))
VIEWS: dict[Tta, Sequence[View]] = {
    "none": [(0, 0)],
    "d4": [(0, element) for element in _TURNED],
    "shifts": [(shift, 0) for shift in _SHIFTED],
    "d4-shifts": [(shift, element) for shift in _SHIFTED for element in _TURNED],
}
_BY_NUMBER = {len(views): views for views in VIEWS.values()}


def columns(tta: Tta, number: int) -> list[int] | None:
    """Where the views of `tta` are among `number` views that were predicted together; None when they are not all there."""
    there = _BY_NUMBER.get(number, [])
    wanted = VIEWS[tta]
    return [there.index(view) for view in wanted] if set(wanted) <= set(there) else None


def seen(images: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """`images` [n, h, h, c] in one view, contiguous; what a shift lays bare mirrors what is inside."""
    shift, element = view
    down, right = SHIFTS[shift]
    if (down, right) != (0, 0):
        side = images.shape[1]
        step = max(1, round(side / PART))
        top, left = step * (1 - down), step * (1 - right)
        images = np.pad(images, ((0, 0), (step, step), (step, step), (0, 0)), mode="reflect")[:, top : top + side, left : left + side]
    return np.ascontiguousarray(symmetry.apply(images, element))
