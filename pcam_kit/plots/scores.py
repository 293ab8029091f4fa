"""Plots of scores: ROC, precision-recall, calibration, histogram, confusion, slides, members.

scikit-learn takes 0.7 s to import, so only the plots that need it import it.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from pcam_kit import metrics
from pcam_kit.evaluation.by_slide import SlideScore
from pcam_kit.evaluation.calibration import apply_temperature
from pcam_kit.evaluation.intervals import wilson_interval
from pcam_kit.metrics import Confusion
from pcam_kit.plots.style import (
    GRID,
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    ROC_AXES,
    ROC_POINT,
    colour_of,
    drawing,
    new_axes,
)

BINS = 15  # of the reliability diagram, as of the expected calibration error
FEW = 20  # patches: a bin with fewer says little
AT = "at the threshold"
NAMED_CELLS = 8  # runs whose correlations are written into the cells


@dataclass(frozen=True, eq=False)
class Scored:
    """The answers of one run on patches with known labels, as plots take them.

    labels: 0 or 1, [n]. probabilities: [n]. temperature: None where it is not known.
    """

    name: str
    labels: NDArray[np.int8] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    threshold: float
    temperature: float | None = None


def roc(runs: Sequence[Scored]) -> Figure:
    """ROC curves, with a point at each run's threshold. Raises DataError for one class only."""
    from sklearn.metrics import roc_curve

    with drawing():
        figure, axes = new_axes(height=_height(runs))
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        for i, run in enumerate(runs):
            false_positives, sensitivity, _ = roc_curve(run.labels, run.probabilities)
            auc = metrics.roc_auc(run.labels, run.probabilities)
            label = _label(run, runs, f"AUC {auc:.4f}")
            axes.plot(false_positives, sensitivity, color=colour_of(i), label=label)
            at = _confusion(run)
            _mark(axes, 1 - (at.specificity or 0.0), at.sensitivity or 0.0, i)
        axes.set_xlabel("1 - specificity (false positives)")
        axes.set_ylabel("sensitivity (true positives)")
        _unit_square(axes)
        _legend(axes, "lower right", runs=len(runs))
        axes.patch.set_gid(ROC_AXES)
        return figure


def precision_recall(runs: Sequence[Scored]) -> Figure:
    """Precision-recall curves, with a point at each run's threshold."""
    from sklearn.metrics import precision_recall_curve

    with drawing():
        figure, axes = new_axes(height=_height(runs))
        for i, run in enumerate(runs):
            precision, recall, _ = precision_recall_curve(run.labels, run.probabilities)
            average = average_precision(run)
            label = _label(run, runs, f"average precision {average:.4f}")
            # the last point is (0, 1) by definition, and no threshold of these patches
            axes.plot(recall[:-1], precision[:-1], color=colour_of(i), label=label)
            at = _confusion(run)
            if at.precision is not None:
                _mark(axes, at.sensitivity or 0.0, at.precision, i)
        share = float(np.mean(runs[0].labels == 1))
        axes.axhline(share, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xlabel("recall (sensitivity)")
        axes.set_ylabel("precision")
        _unit_square(axes)
        _legend(axes, "lower left", runs=len(runs))
        return figure


def average_precision(run: Scored) -> float:
    """The mean precision, each weighed by the recall that it adds; scikit-learn's."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(run.labels, run.probabilities))


def calibration(run: Scored) -> Figure:
    """The reliability diagram: share of positives by predicted probability, with 95% intervals.

    Where the run has a temperature, once without and once with it.
    """
    with drawing():
        figure, axes = new_axes()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        answers: list[tuple[str, NDArray[Any]]] = [("as predicted", run.probabilities)]
        if run.temperature is not None:
            after = apply_temperature(run.probabilities, run.temperature)
            answers.append((f"at temperature {run.temperature:.2f}", after))
        for i, (name, p) in enumerate(answers):
            error = metrics.expected_calibration_error(run.labels, p, BINS)
            _reliability(axes, run.labels, p, i, f"{name}: calibration error {error:.4f}")
        axes.set_xlabel("predicted probability of tumour")
        axes.set_ylabel("share of positive patches")
        _unit_square(axes)
        _legend_above(axes)
        return figure


def histogram(run: Scored) -> Figure:
    """How the probabilities of each class are distributed, and the threshold between them."""
    with drawing():
        figure, axes = new_axes()
        edges = np.linspace(0, 1, 41).tolist()
        for label, colour, name in ((0, NEGATIVE, "no tumour"), (1, POSITIVE, "tumour")):
            chosen = run.probabilities[run.labels == label]
            style = {"alpha": 0.45, "color": colour, "label": f"{name} ({len(chosen):,})"}
            axes.hist(chosen, edges, **style)
        axes.axvline(run.threshold, color=INK, linewidth=1.0)
        axes.annotate(
            f"threshold {run.threshold:.3f}",
            (run.threshold, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4 if run.threshold < 0.6 else -4, -2),
            textcoords="offset points",
            ha="left" if run.threshold < 0.6 else "right",
            va="top",
            fontsize=8,
        )
        axes.set_xlim(0, 1)
        axes.set_xlabel("predicted probability of tumour")
        axes.set_ylabel("patches")
        _legend_above(axes, columns=2)
        return figure


def confusion(counts: Confusion) -> Figure:
    """The confusion matrix: counts, and shares of each row."""
    with drawing():
        figure, axes = new_axes(3.6, 3.2)
        table = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]])
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        for row in range(2):
            for column in range(2):
                colour = NEGATIVE if row == column else POSITIVE
                share = float(shares[row, column])
                axes.axvspan(
                    column - 0.49,
                    column + 0.49,
                    0.505 - 0.5 * row,
                    0.995 - 0.5 * row,
                    color=colour,
                    alpha=0.08 + 0.42 * share,
                    linewidth=0,
                )
                text = f"{table[row, column]:,}\n{100 * share:.1f}%"
                axes.text(column, row, text, ha="center", va="center", fontsize=11)
        axes.set_xlim(-0.5, 1.5)
        axes.set_ylim(1.5, -0.5)
        axes.grid(visible=False)
        axes.set_xticks([0, 1], ["no tumour", "tumour"])
        axes.set_yticks([0, 1], ["no tumour", "tumour"])
        axes.set_xlabel("predicted")
        axes.set_ylabel("label")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return figure


def slides(scores: Sequence[SlideScore], overall: float) -> Figure:
    """A forest plot: accuracy of each slide with its 95% interval, the worst on top.

    overall: the accuracy of all patches.
    """
    ordered = sorted(scores, key=lambda score: (-score.accuracy, score.slide))
    with drawing():
        figure, axes = new_axes(5.2, 1.1 + 0.19 * len(ordered))
        rows = np.arange(len(ordered))
        values = np.array([score.accuracy for score in ordered])
        ends = np.array([score.accuracy_interval for score in ordered])
        sizes = np.array([score.n for score in ordered])
        axes.axvline(overall, color=POSITIVE, linewidth=1.0, label=f"all slides: {overall:.4f}")
        axes.hlines(rows, ends[:, 0], ends[:, 1], color=MUTED, linewidth=1.2)
        axes.scatter(values, rows, s=8 + 40 * sizes / sizes.max(), color=NEGATIVE, zorder=3)
        axes.set_yticks(rows, [f"slide {x.slide} (n = {x.n:,})" for x in ordered], fontsize=7)
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("accuracy, with 95% interval")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _legend_above(axes)
        return figure


def correlation(names: Sequence[str], table: NDArray[np.float64]) -> Figure:
    """The correlation of several runs' answers. table: [k, k]; NaN where it is not defined."""
    k = len(names)
    with drawing():
        figure, axes = new_axes(2.4 + 0.45 * k, 1.6 + 0.45 * k)
        shown = np.ma.masked_where(np.eye(k, dtype=bool) | np.isnan(table), table)
        low = float(np.nanmin(table)) if np.isfinite(table).any() else 0.0
        for i in range(k):
            for j in range(k):
                if not np.ma.is_masked(shown[i, j]):
                    strength = (float(table[i, j]) - low) / max(1 - low, 1e-9)
                    box = (j - 0.48, i - 0.48)
                    axes.add_patch(_square(box, 0.96, NEGATIVE, 0.08 + 0.5 * strength))
                    if k <= NAMED_CELLS:
                        axes.text(j, i, f"{table[i, j]:.3f}", ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, k - 0.5)
        axes.set_ylim(k - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.set_xticks(range(k), [str(i + 1) for i in range(k)])
        axes.set_yticks(range(k), [f"{i + 1}  {name}" for i, name in enumerate(names)], fontsize=7)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return figure


def _confusion(run: Scored) -> Confusion:
    return metrics.confusion(run.labels, run.probabilities, run.threshold)


def _height(runs: Sequence[Scored]) -> float:
    """Of a square plot in inches, with room for the legend of several runs."""
    return 3.6 if len(runs) == 1 else 4.2 + 0.16 * len(runs)


def _label(run: Scored, runs: Sequence[Scored], score: str) -> str:
    return score if len(runs) == 1 else f"{run.name}: {score}"


def _mark(axes: Axes, x: float, y: float, i: int) -> None:
    """The point of the run's threshold; the first is the one that a page may move."""
    (point,) = axes.plot([x], [y], "o", color=colour_of(i), markersize=6, markeredgecolor=INK)
    point.set_zorder(4)
    if i == 0:
        point.set_gid(ROC_POINT)


def _legend(axes: Axes, where: Any, *, runs: int) -> None:
    """In a corner for one run; below for several, whose names are long."""
    handles, _ = axes.get_legend_handles_labels()
    handles.append(
        Line2D([], [], linestyle="", marker="o", color=GRID, markeredgecolor=INK, label=AT)
    )
    style = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 3))}
    handles.append(Line2D([], [], label="by chance", **style))
    if runs == 1:
        axes.legend(handles=handles, loc=where)
    else:
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.1, -0.16))


def _legend_above(axes: Axes, columns: int = 1) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=columns)


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def _reliability(axes: Axes, labels: NDArray[Any], p: NDArray[Any], i: int, label: str) -> None:
    """Points at the mean probability of each bin; small ones where a bin has few patches.

    scikit-learn's calibration_curve does not tell how many patches a bin has.
    """
    bins = np.minimum((np.asarray(p, np.float64) * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    used = np.flatnonzero(counts)
    positive = np.bincount(bins, weights=labels == 1, minlength=BINS)[used]
    means = np.bincount(bins, weights=p, minlength=BINS)[used] / counts[used]
    shares = positive / counts[used]
    ends = np.array(
        [wilson_interval(int(k), int(n)) for k, n in zip(positive, counts[used], strict=True)]
    )
    errors = np.abs(ends.T - shares)
    style = {"color": colour_of(i), "linewidth": 1.0, "elinewidth": 0.8}
    axes.errorbar(means, shares, errors, **style, label=label)
    sizes = np.where(counts[used] < FEW, 6, 22)
    axes.scatter(means, shares, s=sizes, color=colour_of(i), zorder=3)


def _square(corner: tuple[float, float], side: float, colour: str, alpha: float) -> Rectangle:
    return Rectangle(corner, side, side, facecolor=colour, alpha=alpha, linewidth=0)
