"""How every plot looks, and what it can be saved as.

Figures are made without pyplot: no window, no state that is shared. Colours are a few fixed values
(Okabe and Ito's, which colour-blind people can tell apart), so that `to_svg` can exchange them for
CSS variables: one picture then serves a light and a dark page.
"""

# pyright: basic

from __future__ import annotations

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# what a colour is for, its name as a CSS variable, and its value on white paper
INK, MUTED, GRID, PAPER = "#1b1f24", "#5b6570", "#d5dae0", "#fefefe"
NEGATIVE, POSITIVE = "#0072b2", "#d55e00"
SERIES = (NEGATIVE, POSITIVE, "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
VARIABLES = {
    INK: "--plot-ink",
    MUTED: "--plot-muted",
    GRID: "--plot-grid",
    PAPER: "--plot-paper",
    **{colour: f"--plot-series-{i}" for i, colour in enumerate(SERIES, 1)},
}
DOTS_PER_INCH = 200
FORMATS = ("png", "svg", "pdf")
CREATOR = "pcam-kit"
GROUPS = (ROC_AXES, ROC_POINT) = ("roc-axes", "roc-point")  # ids that a page finds in a plot
_RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "pcam-kit",  # the same figure gives the same file
    "pdf.fonttype": 42,  # text that can be selected
}


@contextmanager
def drawing() -> Generator[None]:
    """Within the block figures are made in this style; the caller's settings come back after."""
    with matplotlib.rc_context(_RC):
        yield


def new_axes(width: float = 4.4, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one pair of axes. width, height: in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def colour_of(i: int) -> str:
    """The colour of the i-th run; they repeat after the last."""
    return SERIES[i % len(SERIES)]


def to_bytes(figure: Figure, kind: str, caption: str = "") -> bytes:
    """The figure as a file of `kind`, one of FORMATS; CREATOR and caption are in its metadata."""
    keys: dict[str, dict[str, Any]] = {
        "png": {"Software": CREATOR, "Description": caption},
        "svg": {"Creator": CREATOR, "Date": None, "Description": caption},
        "pdf": {"Creator": CREATOR, "Producer": None, "CreationDate": None, "Subject": caption},
    }
    target = io.BytesIO()
    with matplotlib.rc_context(_RC):
        figure.savefig(target, format=kind, dpi=DOTS_PER_INCH, metadata=keys[kind])
    return target.getvalue()


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element for a page, with the colours of VARIABLES.

    Texts stay text, in the font of the page. The size comes from the page, too: there is only a
    viewBox.
    """
    target = io.StringIO()
    with matplotlib.rc_context(_RC | {"svg.fonttype": "none"}):
        metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(target, format="svg", metadata=metadata)
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # ids that nothing refers to would be there twice on a page of several plots
    used = {*re.findall(r'href="#([^"]*)"', text), *re.findall(r"url\(#([^)]*)\)", text), *GROUPS}
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    return text
