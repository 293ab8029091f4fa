"""Plots of trainings: learning curves, patches before and after augmentation."""

# pyright: basic

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from pcam_kit.plots.style import INK, MUTED, colour_of, drawing

# title of a panel; its lines: (key of metrics.jsonl, name, line style)
PANELS = (
    ("loss", (("loss", "training", "--"), ("valid_loss", "validation", "-"))),
    ("accuracy at 0.5", (("accuracy", "training", "--"), ("valid_accuracy", "validation", "-"))),
    ("validation AUC", (("valid_auc", "validation", "-"),)),
    ("learning rate", (("learning_rate", "", "-"),)),
)


def curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Learning curves by epoch, a panel each for loss, accuracy, AUC and learning rate.

    histories: the lines of `metrics.jsonl`, by the run's name. What they lack is left out; runs of
    before version 0.2 have no accuracy and no validation loss. A ring marks the best epoch.
    """
    panels = [panel for panel in PANELS if _has(histories, [key for key, _, _ in panel[1]])]
    with drawing():
        columns = min(2, len(panels)) or 1
        rows = -(-len(panels) // columns) or 1
        figure = Figure(figsize=(4.0 * columns, 2.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, lines) in zip(grid.flat, panels, strict=False):
            for i, (name, history) in enumerate(histories.items()):
                for key, part, style in lines:
                    points = [
                        (line["epoch"], line[key]) for line in history if line.get(key) is not None
                    ]
                    if points:
                        label = part if len(histories) == 1 else " ".join([name, part]).strip()
                        one = {"marker": "."} if len(points) == 1 else {}
                        axes.plot(
                            *zip(*points, strict=True),
                            color=colour_of(i),
                            linestyle=style,
                            label=label or None,
                            **one,
                        )
                if title == "validation AUC":
                    _mark_best(axes, history, i)
            axes.set_title(title, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if title == "learning rate":
                axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        _legends(grid.flat[: len(panels)], several=len(histories) > 1)
        return figure


def samples(
    originals: NDArray[np.uint8],
    augmented: Sequence[NDArray[np.uint8]],
    labels: Sequence[str],
) -> Figure:
    """A row a patch: as it is, then once from each of `augmented`, all uint8 [n, h, w, 3].

    labels: what each row is called.
    """
    columns = [originals, *augmented]
    titles = ["as it is", *(f"epoch {epoch}" for epoch in range(1, len(columns)))]
    n = len(originals)
    with drawing():
        figure = Figure(figsize=(1.02 * len(columns) + 0.3, 1.02 * n + 0.4), layout="constrained")
        grid = figure.subplots(n, len(columns), squeeze=False)
        for row in range(n):
            for column, images in enumerate(columns):
                axes = grid[row, column]
                show_patch(axes, images[row])
                if row == 0:
                    axes.set_title(titles[column], fontsize=8)
            grid[row, 0].set_ylabel(labels[row], fontsize=8)
        return figure


def show_patch(axes: Any, patch: NDArray[np.uint8], outline: int | None = None) -> None:
    """A patch uint8 [h, w, 3] with sharp pixels; the centre `outline` pixels are framed."""
    axes.imshow(patch, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if outline is None or outline >= patch.shape[0]:
        return
    corner = (patch.shape[0] - outline) / 2 - 0.5
    frame = Rectangle((corner, corner), outline, outline, fill=False, edgecolor="white")
    # a dark rim: white alone is lost on background
    frame.set_path_effects([withStroke(linewidth=2.2, foreground=INK)])
    axes.add_patch(frame)


def _has(histories: Mapping[str, Sequence[Mapping[str, Any]]], keys: Sequence[str]) -> bool:
    return any(
        line.get(key) is not None
        for history in histories.values()
        for line in history
        for key in keys
    )


def _mark_best(axes: Any, history: Sequence[Mapping[str, Any]], i: int) -> None:
    best = [line for line in history if line.get("best")]
    if best:
        point = ([best[-1]["epoch"]], [best[-1]["valid_auc"]])
        style = {"facecolors": "none", "edgecolors": INK, "s": 40, "zorder": 4}
        axes.scatter(*point, **style, label="best" if i == 0 else None)


def _legends(grid: Any, *, several: bool) -> None:
    """One legend for all panels where they show several runs; else one in each that needs it."""
    if several:
        handles, names = grid[0].get_legend_handles_labels()
        grid[0].figure.legend(handles, names, loc="outside lower left", labelcolor=MUTED)
        return
    for axes in grid:
        _, names = axes.get_legend_handles_labels()
        if len(names) > 1:
            axes.legend()
