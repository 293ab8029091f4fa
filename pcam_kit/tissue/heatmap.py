"""A heat map of an image: the probabilities of its tiles over a thumbnail, as a PNG."""

# pyright: basic

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.tissue.pictures import Picture
from pcam_kit.tissue.table import write_new
from pcam_kit.tissue.tiles import Grid

LONGEST = 1400  # pixels of a thumbnail's longer side
REGION = 4096  # pixels a side of what is read at once
LEAST_WIDTH = 6.0  # inches of a figure: its note must fit
SCALE_BARS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)  # µm
COLOURS = "viridis"  # even in lightness: it reads the same with any colour vision, and in print


@dataclass(frozen=True)
class HeatMap:
    """What a heat map shows.

    title, note: of text. values: float [rows, columns] of the grid's tiles, NaN where there is
    none. threshold: of the run. micrometres: a level-0 pixel; None: unknown.
    """

    title: str
    note: str
    values: NDArray[np.float64]
    grid: Grid
    threshold: float
    micrometres: float | None


def thumbnail(picture: Picture, longest: int = LONGEST) -> tuple[NDArray[np.uint8], float]:
    """The whole picture at no more than `longest` pixels, and level-0 pixels a pixel of it.

    It is read region by region, so memory stays small. Raises what reading does.
    """
    fine = [
        i for i, level in enumerate(picture.levels) if max(level.width, level.height) >= longest
    ]
    number = max(fine, default=0)
    level = picture.levels[number]
    factor = max(1, -(-max(level.width, level.height) // longest))
    height, width = -(-level.height // factor), -(-level.width // factor)
    out = np.empty((height, width, 3), np.uint8)
    step = max(1, REGION // factor)
    across = width if picture.striped else step
    down = max(1, step * step // width) if picture.striped else step
    for top in range(0, height, down):
        for left in range(0, width, across):
            rows, columns = min(down, height - top), min(across, width - left)
            x, y = left * factor, top * factor
            wide, high = (
                min(columns * factor, level.width - x),
                min(rows * factor, level.height - y),
            )
            region = picture.read(number, x, y, wide, high)
            # the last row or column may have fewer pixels to average
            pad = ((0, rows * factor - high), (0, columns * factor - wide), (0, 0))
            region = np.pad(region, pad, mode="edge")
            out[top : top + rows, left : left + columns] = cv2.resize(
                region, (columns, rows), interpolation=cv2.INTER_AREA
            )
    return out, factor * level.downsample


def draw_heatmap(path: Path, small: NDArray[np.uint8], factor: float, shown: HeatMap) -> None:
    """Write the heat map: the tissue beside its probabilities. Raises as `write_new` does.

    small: the thumbnail. factor: level-0 pixels a pixel of it.
    """
    from matplotlib.colors import Normalize

    height, width = small.shape[:2]
    figure, (tissue, heat) = _panels(width / height)
    tissue.imshow(small, interpolation="none")
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    heat.imshow(90 + 165 * (grey / 255.0), cmap="gray", vmin=0, vmax=255, interpolation="none")
    values = np.ma.masked_invalid(shown.values)
    left, top, right, bottom = _extent(shown.grid, factor)
    colours = heat.imshow(
        values,
        cmap=COLOURS,
        norm=Normalize(0, 1),
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
        alpha=0.75,
        interpolation="none",
    )
    _contour(heat, shown, (left, top, right, bottom))
    for axes, title in ((tissue, "tissue"), (heat, "probability of tumour")):
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
    bar = figure.colorbar(colours, ax=[tissue, heat], fraction=0.035, pad=0.015, aspect=25)
    bar.ax.axhline(shown.threshold, color="black", linewidth=1.6)
    bar.ax.axhline(shown.threshold, color="white", linewidth=0.8, linestyle=(0, (3, 3)))
    bar.set_label(f"dashed, outlined: threshold {shown.threshold:.3f}", fontsize=8.5)
    bar.ax.tick_params(labelsize=8.5)
    if shown.micrometres is not None:
        _scale_bar(tissue, width, height, shown.micrometres * factor)
    figure.suptitle(shown.title, fontsize=11)
    figure.supxlabel(shown.note, fontsize=8, color="0.35")
    write_new(
        path,
        lambda place: figure.savefig(place, dpi=150, format="png", metadata={"Software": None}),
    )


def _panels(shape: float) -> tuple[Any, Any]:
    """A figure with two panels for a picture of that width / height: side by side, or stacked."""
    from matplotlib.figure import Figure

    longer, margin = 5.2, 1.1  # inches
    wide, high = longer * min(1.0, shape), longer * min(1.0, 1 / shape)
    if shape > 1.6:
        wide *= 1.6
        figure = Figure((wide + margin, 2 * (1.6 * high + 0.35) + margin), layout="constrained")
        return figure, figure.subplots(2, 1)
    figure = Figure((max(2 * wide + margin, LEAST_WIDTH), high + margin), layout="constrained")
    return figure, figure.subplots(1, 2)


def _extent(grid: Grid, factor: float) -> tuple[float, float, float, float]:
    """Where the map lies on the thumbnail: each tile colours what its probability is about.

    That is its centre, as wide as the stride.
    """
    step = grid.stride * grid.scale / factor
    start = (grid.patch - grid.stride) / 2 * grid.scale / factor
    return start, start, start + grid.columns * step, start + grid.rows * step


def _contour(axes: Any, shown: HeatMap, extent: tuple[float, float, float, float]) -> None:
    """The outline of the tiles at the threshold or above, black on white."""
    from matplotlib.collections import LineCollection

    left, top, right, bottom = extent
    above = np.pad(np.nan_to_num(shown.values, nan=-1) >= shown.threshold, 1)
    rows, columns = shown.values.shape
    dx, dy = (right - left) / columns, (bottom - top) / rows
    lines = []
    for row, column in np.argwhere(above[:, 1:] != above[:, :-1]):
        x, y = left - 0.5 + column * dx, top - 0.5 + (row - 1) * dy
        lines.append([(x, y), (x, y + dy)])
    for row, column in np.argwhere(above[1:] != above[:-1]):
        x, y = left - 0.5 + (column - 1) * dx, top - 0.5 + row * dy
        lines.append([(x, y), (x + dx, y)])
    thin = 0.6 if max(rows, columns) > 60 else 1.1
    axes.add_collection(LineCollection(lines, colors="white", linewidths=2.4 * thin))
    axes.add_collection(LineCollection(lines, colors="black", linewidths=thin))


def _scale_bar(axes: Any, width: int, height: int, micrometres: float) -> None:
    """A bar of a round length, about a fifth of the width, at the lower left."""
    wanted = max(width, height / 3) * micrometres / 5
    length = max((bar for bar in SCALE_BARS if bar <= wanted), default=SCALE_BARS[0])
    pixels = length / micrometres
    x, y = 0.03 * width, 0.965 * height
    axes.plot([x, x + pixels], [y, y], color="white", linewidth=5, solid_capstyle="butt")
    axes.plot([x, x + pixels], [y, y], color="black", linewidth=2.5, solid_capstyle="butt")
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length} µm"
    axes.text(
        x,
        y - 0.015 * height,
        text,
        ha="left",
        va="bottom",
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.2},
    )
