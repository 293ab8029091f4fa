"""The picture of a search: the best so far, and the AUC against each value that was searched."""

# pyright: basic

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pcam_kit.plots.style import MUTED, NEGATIVE, POSITIVE, drawing

COLUMNS = 3
MOST = 11  # keys; more panels would be too small

Scale = Literal["linear", "log", "list"]  # list: the values are a choice of a few

# number of the trial, whether it is complete, its validation AUC, its values
Point = tuple[int, bool, float, Mapping[str, Any]]


def search(points: Sequence[Point], scales: Mapping[str, Scale]) -> Figure:
    """A panel for the trials in their order, and one for each key.

    points: at least one. scales: of the axis of each key. Trials that were stopped early are
    hollow, at the AUC of their last epoch.
    """
    keys = list(scales)[:MOST]
    rows = -(-(len(keys) + 1) // COLUMNS)
    columns = min(COLUMNS, len(keys) + 1)
    with drawing():
        figure = Figure(figsize=(3.1 * columns, 2.5 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(keys) + 1 :]:
            axes.set_visible(False)
        _history(grid.flat[0], points)
        for axes, key in zip(list(grid.flat)[1:], keys, strict=False):
            _against(axes, key, points, scales[key])
        for axes in grid[:, 0]:
            axes.set_ylabel("validation AUC")
    return figure


def _history(axes: Axes, points: Sequence[Point]) -> None:
    done = sorted(point for point in points if point[1])
    _scatter(axes, [point[0] for point in points], points)
    if done:
        best = list(accumulate((auc for _, _, auc, _ in done), max))
        numbers = [number for number, *_ in done]
        last = max(number for number, *_ in points)
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=POSITIVE, zorder=1)
    axes.set_title("best so far", loc="left")
    axes.set_xlabel("trial")


def _against(axes: Axes, key: str, points: Sequence[Point], scale: Scale) -> None:
    values = [point[3].get(key) for point in points]
    if scale != "list":
        _scatter(axes, values, points)
        axes.set_xscale(scale)
    else:
        names = sorted({str(value) for value in values}, key=lambda name: (len(name), name))
        _scatter(axes, [names.index(str(value)) for value in values], points)
        axes.set_xticks(range(len(names)), [name[:14] for name in names])
        axes.margins(x=0.2)
    axes.set_title(key.rpartition(".")[2], loc="left")


def _scatter(axes: Axes, x: Sequence[Any], points: Sequence[Point]) -> None:
    for complete, face in ((True, NEGATIVE), (False, "none")):
        chosen = [i for i, point in enumerate(points) if point[1] == complete]
        axes.scatter(
            [x[i] for i in chosen],
            [points[i][2] for i in chosen],
            s=18,
            facecolor=face,
            edgecolor=NEGATIVE if complete else MUTED,
            linewidth=0.9,
            zorder=2,
        )
