"""Galleries: patches beside each other, each with what it is and what a run says of it."""

# pyright: basic

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pcam_kit.plots.style import drawing
from pcam_kit.plots.training import show_patch

COLUMNS = 6


def gallery(
    rows: Sequence[tuple[str, NDArray[np.uint8], Sequence[str]]], *, outline: int | None = None
) -> Figure:
    """Patches in titled rows of up to COLUMNS.

    rows: (title, patches uint8 [n, h, w, 3], a caption for each). outline: the centre pixels to
    frame, which the label is about; None: no frame.
    """
    with drawing():
        lines = [-(-max(len(patches), 1) // COLUMNS) for _, patches, _ in rows]
        height = sum(1.38 * count + 0.3 for count in lines)
        figure = Figure(figsize=(1.3 * COLUMNS, height), layout="constrained")
        parts = figure.subfigures(
            len(rows), 1, squeeze=False, height_ratios=[1.38 * count + 0.3 for count in lines]
        )[:, 0]
        for part, count, (title, patches, captions) in zip(parts, lines, rows, strict=True):
            part.suptitle(title, fontsize=9, x=0.01, ha="left")
            grid = part.subplots(count, COLUMNS, squeeze=False)
            for axes in grid.flat:
                axes.set_visible(False)
            for axes, patch, caption in zip(grid.flat, patches, captions, strict=False):
                axes.set_visible(True)
                show_patch(axes, patch, outline)
                axes.set_xlabel(caption, fontsize=7)
            if len(patches) == 0:
                axes = grid.flat[0]
                axes.set_visible(True)
                axes.set_axis_off()
                axes.text(0, 0.5, "none", fontsize=8)
        return figure
