"""Plots of runs as matplotlib figures, drawn from plain numbers; nothing is shown or saved here."""

from __future__ import annotations

from pcam_kit.plots.galleries import gallery
from pcam_kit.plots.scores import (
    Scored,
    average_precision,
    calibration,
    confusion,
    correlation,
    histogram,
    precision_recall,
    roc,
    slides,
)
from pcam_kit.plots.search import search
from pcam_kit.plots.style import CREATOR, FORMATS, VARIABLES, to_bytes, to_svg
from pcam_kit.plots.training import curves, samples

__all__ = [
    "CREATOR",
    "FORMATS",
    "VARIABLES",
    "Scored",
    "average_precision",
    "calibration",
    "confusion",
    "correlation",
    "curves",
    "gallery",
    "histogram",
    "precision_recall",
    "roc",
    "samples",
    "search",
    "slides",
    "to_bytes",
    "to_svg",
]
