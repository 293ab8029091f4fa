"""What a report shows, as plain values: collected by `workflows.report`, laid out by `page`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.shift import Colours, Drift
from pcam_kit.evaluation.comparison import Comparison
from pcam_kit.evaluation.intervals import Intervals
from pcam_kit.metrics import Evaluation, Floats
from pcam_kit.plots.search import Point, Scale
from pcam_kit.run_folders import Run
from pcam_kit.submissions import Entry


@dataclass(frozen=True, eq=False)
class Scored:
    """Probabilities [n] of a run, or of several as one, with their scores at the threshold."""

    name: str
    probabilities: NDArray[np.float32]
    scores: Evaluation
    intervals: Intervals


@dataclass(frozen=True, eq=False)
class RunPart:
    """What the report has of one run.

    honest_accuracy: at a threshold chosen on other patches; `chosen_on`: "slides" or "patches";
    both None on other splits than valid, where the threshold is from elsewhere anyway.
    temperature: None where it is not known. epochs: as `read_metrics` has them; empty where they
    cannot be read. comparison: with the first run; None for the first.
    """

    run: Run
    scored: Scored
    honest_accuracy: float | None
    chosen_on: str | None
    temperature: float | None
    epochs: Sequence[dict[str, Any]]
    comparison: Comparison | None


@dataclass(frozen=True)
class Outline:
    """A square in the middle of a patch, in pixels a side; `text` says what it is."""

    side: int
    text: str
    kind: str  # "label" or "seen": the stroke


@dataclass(frozen=True, eq=False)
class Tile:
    """A patch of a gallery: its pixels uint8 [side, side, 3], and what each run says of it.

    saliency: [grid, grid] in log-odds, over the middle `crop` pixels; None without a network.
    """

    id: str
    label: int
    probabilities: Sequence[float]
    pixels: NDArray[np.uint8] = field(repr=False)
    saliency: Floats | None = field(repr=False)
    slide: str | None = None


@dataclass(frozen=True, eq=False)
class Gallery:
    """Patches of one kind. total: how many there are of that kind in the split."""

    key: str
    title: str
    text: str
    total: int
    tiles: Sequence[Tile]


@dataclass(frozen=True, eq=False)
class Galleries:
    """All galleries; crop: pixels a side that the network sees.

    notes: what is not shown, and why.
    """

    galleries: Sequence[Gallery]
    outlines: Sequence[Outline]
    patch_size: int
    crop: int
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class Stain:
    """The colours of the store's splits, and one mean colour (RGB) for each."""

    colours: Sequence[Colours]
    drifts: Sequence[Drift]
    swatches: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class Together:
    """Several runs as one: the mean of their logits, and their correlations (Pearson) [k, k]."""

    scored: Scored
    correlations: Floats


@dataclass(frozen=True, eq=False)
class Search:
    """A sweep that trained one of the runs.

    sentences: what a person should know of its best trial. columns, rows: the best trials as a
    table; own: the rows of the report's runs, by their number from 0. total: how many trials there
    are. points, scales: as `plots.search` draws them.
    """

    name: str
    config: str
    sentences: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    own: Sequence[int]
    total: int
    points: Sequence[Point]
    scales: Mapping[str, Scale]


@dataclass(frozen=True, eq=False)
class Contents:
    """All that a report shows. labels: int8 [n]. groups: the slide of each patch, -1 unknown.

    slide_names: by the number of the slide; empty where they are not known. galleries, stain: None
    without a store. notes: what could not be shown, and why.
    """

    title: str
    split: str
    labels: NDArray[np.int8]
    groups: NDArray[np.int32] | None
    slide_names: Sequence[str]
    runs: Sequence[RunPart]
    together: Together | None
    galleries: Galleries | None
    stain: Stain | None
    submissions: Sequence[Entry]
    searches: Sequence[Search]
    notes: Sequence[str]
    store_notes: Sequence[str]
    synthetic: bool
    command: str  # that writes this report again
    written: str  # when, ISO 8601 in UTC
