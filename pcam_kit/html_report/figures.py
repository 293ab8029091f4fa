"""The plots of a report: what `plots` draws, as SVG whose colours are those of the page."""

# pyright: basic

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from pcam_kit import plots
from pcam_kit.evaluation.by_slide import SlideScore
from pcam_kit.evaluation.calibration import apply_temperature
from pcam_kit.html_report.contents import Contents, RunPart, Search
from pcam_kit.plots.style import ROC_AXES, ROC_POINT
from pcam_kit.text import printable

MOST_SLIDES = 60  # of the forest plot; the table has all
REM = 6.9  # for an inch of a figure: its 9 points are then 13.8 pixels
WIDE = 45  # rem
LONGEST_NAME = 40  # characters of a run's name in a legend
# The colours of the plots, on the page's paper: a contrast of at least 3 with it, of texts at least
# 4.5. The series of the dark page are lighter forms of the same hues.
LIGHT = """\
--plot-ink: #1f1c26; --plot-muted: #5f5968; --plot-grid: #e3dfe7; --plot-paper: #fbfaf8;
--plot-series-1: #0072b2; --plot-series-2: #c25400; --plot-series-3: #00805d;
--plot-series-4: #b0538c; --plot-series-5: #8f6a09; --plot-series-6: #2b86bd;"""
DARK = """\
--plot-ink: #ece9f1; --plot-muted: #aaa3b5; --plot-grid: #37323f; --plot-paper: #16141b;
--plot-series-1: #58b0ea; --plot-series-2: #f2924a; --plot-series-3: #35c79c;
--plot-series-4: #e39ac8; --plot-series-5: #d9b24a; --plot-series-6: #9ad2f5;"""


@dataclass(frozen=True)
class Plot:
    """A plot for the page.

    width: in rem, beyond which it would be larger than its texts need. limits: of its axes,
    `x0 x1 y0 y1`, where the page moves its point.
    """

    svg: Markup
    caption: str
    width: int
    limits: str = ""

    @property
    def wide(self) -> bool:
        """Whether a phone would show its texts too small, so that it is scrolled there."""
        return self.width > WIDE


def draw(contents: Contents, slides: Sequence[SlideScore]) -> dict[str, Any]:
    """All plots by the names that the templates use. slides: their scores, lowest first."""
    single = len(contents.runs) == 1
    scored = [_scored(contents, part) for part in contents.runs]
    together = contents.runs[0].scored if contents.together is None else contents.together.scored
    return {
        "roc": _movable(
            plots.roc(scored), "roc", "Sensitivity against false positives, at every threshold."
        ),
        "pr": _movable(
            plots.precision_recall(scored),
            "pr",
            "Precision against sensitivity, at every threshold.",
        ),
        "curves": _curves(contents),
        "calibration": [
            plot for i, one in enumerate(scored) for plot in _probabilities(one, i, single=single)
        ],
        "slides": _slides(contents, slides, together.scores.accuracy) if slides else None,
        "correlation": _correlation(contents),
        "searches": [_search(search, i) for i, search in enumerate(contents.searches)],
    }


def _scored(contents: Contents, part: RunPart) -> plots.Scored:
    return plots.Scored(
        _short(part.run.name),
        contents.labels,
        part.scored.probabilities,
        part.scored.scores.threshold,
        part.temperature,
    )


def _curves(contents: Contents) -> Plot | None:
    """The learning curves of all runs that have any, in one figure."""
    histories = {_short(part.run.name): part.epochs for part in contents.runs if part.epochs}
    if not histories:
        return None
    caption = "By epoch. The ring marks the best one, whose weights the run keeps."
    return _plot(plots.curves(histories), "curves", caption)


def _probabilities(one: plots.Scored, i: int, *, single: bool) -> tuple[Plot, Plot]:
    """The reliability diagram of a run, and the histogram of its probabilities."""
    name = "" if single else f"{one.name}. "
    reliability = f"{name}On the dashed line, probabilities are shares of tumour."
    if one.temperature is not None:
        after = apply_temperature([0.9], one.temperature)[0]
        reliability += (
            f" At temperature {one.temperature:.2f} a probability of 0.9 becomes {after:.2f}."
        )
    spread = f"{name}How the probabilities of each class are distributed."
    return (
        _plot(plots.calibration(one), f"calibration-{i}", reliability),
        _plot(plots.histogram(one), f"histogram-{i}", spread),
    )


def _slides(contents: Contents, slides: Sequence[SlideScore], overall: float) -> Plot:
    shown = slides[:MOST_SLIDES]
    text = "Accuracy of each slide; larger points have more patches."
    if len(shown) < len(slides):
        text += f" The {len(shown)} slides with the lowest accuracy."
    return _plot(plots.slides(shown, overall), "slides", text)


def _correlation(contents: Contents) -> Plot | None:
    if contents.together is None:
        return None
    names = [_short(part.run.name) for part in contents.runs]
    figure = plots.correlation(names, contents.together.correlations)
    return _plot(figure, "correlation", "Pearson correlation of the runs’ log-odds.")


def _search(search: Search, i: int) -> Plot:
    caption = f"The search {search.name}: validation AUC by trial, and by each value."
    caption += " Hollow: stopped early, at the AUC of the last epoch."
    return _plot(plots.search(search.points, search.scales), f"search-{i}", caption)


def _movable(figure: Figure, name: str, caption: str) -> Plot:
    """A plot whose point follows the threshold of the page: ids NAME-axes and NAME-point."""
    axes = figure.axes[0]
    axes.patch.set_gid(ROC_AXES)
    limits = " ".join(f"{value:.6g}" for value in (*axes.get_xlim(), *axes.get_ylim()))
    return _plot(figure, name, f"{caption} A point follows the threshold above.", limits)


def _plot(figure: Figure, name: str, caption: str, limits: str = "") -> Plot:
    """The figure for the page. Its ids begin with `name`, so that none is there twice."""
    svg = plots.to_svg(figure)
    kept = {ROC_AXES: f"{name}-axes", ROC_POINT: f"{name}-point"}

    def rename(found: re.Match[str]) -> str:
        return f"{found[1]}{kept.get(found[2], f'{name}-{found[2]}')}"

    svg = re.sub(r'( id="|href="#|url\(#)([^")]+)', rename, svg)
    label = html.escape(caption, quote=True)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return Plot(Markup(svg), caption, round(REM * figure.get_figwidth()), limits)


def _short(name: str) -> str:
    """A run's name for a legend, without control characters or formulas of matplotlib."""
    text = printable(name).replace("$", r"\$")
    half = LONGEST_NAME // 2  # names differ at both ends: the time, and four digits
    return text if len(text) <= LONGEST_NAME else f"{text[:half]}…{text[-half:]}"
