"""Colour shift between splits: statistics of their patches, differences in sd, and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import Images
from pcam_kit.data.split import draw_rows
from pcam_kit.data.stain import DENSITY, UNMIX
from pcam_kit.data.store_reader import Store

SAMPLE = 2000  # patches measured of a split
BATCH = 64  # patches whose statistics are computed at a time: their densities fit in the cache
WHITE_LEVEL = 220  # a pixel whose three channels all reach it counts as background
LIMIT = 0.25  # standard deviations; the usual limit for groups that are to be compared (Rubin 2001)
MIN_SPREAD = 1 / 510  # half a grey level: no standard deviation is taken to be smaller
# Each statistic of a patch, and the words for a split whose value is larger or smaller than the
# reference's.
WORDS = {
    "haematoxylin": ("has more haematoxylin", "has less haematoxylin"),
    "haematoxylin_sd": (
        "varies more in haematoxylin within a patch",
        "varies less in haematoxylin within a patch",
    ),
    "eosin": ("has more eosin", "has less eosin"),
    "eosin_sd": ("varies more in eosin within a patch", "varies less in eosin within a patch"),
    "brightness": ("is brighter", "is darker"),
    "saturation": ("is more saturated", "is less saturated"),
    "white": ("has more white", "has less white"),
}


@dataclass(frozen=True)
class Colours:
    """Mean and standard deviation over `n` patches of each statistic in WORDS."""

    split: str
    n: int
    mean: dict[str, float]
    sd: dict[str, float]


@dataclass(frozen=True)
class Drift:
    """`split` minus `reference` for each statistic, in standard deviations between patches.

    These are Cohen's d (Cohen 1988).
    """

    split: str
    reference: str
    differences: dict[str, float]
    drifted: list[str]  # names of those above LIMIT by more than sampling explains, largest first

    @property
    def largest(self) -> float:
        """The largest difference, without its sign: one number for how far apart the two are."""
        return max(map(abs, self.differences.values()))

    @property
    def sentences(self) -> list[str]:
        """`test is darker than train by 0.40 sd`, one for each in `drifted`."""
        sentences: list[str] = []
        for name in self.drifted:
            difference = self.differences[name]
            larger, smaller = WORDS[name]
            words = smaller if difference < 0 else larger
            sentences.append(
                f"{self.split} {words} than {self.reference} by {abs(difference):.2f} sd"
            )
        return sentences


def patch_statistics(images: Images) -> NDArray[np.float64]:
    """The statistics of each patch: a row for each patch, a column for each name in WORDS.

    images: uint8 [n, h, w, 3], RGB. Concentrations are optical densities (natural logarithm) along
    unit stain vectors; brightness, saturation and white are in 0..1.
    """
    amounts = DENSITY[images] @ UNMIX[:, :2]
    haematoxylin, eosin = amounts[..., 0], amounts[..., 1]
    highest, lowest = images.max(axis=-1), images.min(axis=-1)
    saturation = (highest - lowest) / np.maximum(highest, 1, dtype=np.float32)
    columns = [
        haematoxylin.mean(axis=(1, 2)),
        haematoxylin.std(axis=(1, 2)),
        eosin.mean(axis=(1, 2)),
        eosin.std(axis=(1, 2)),
        images.mean(axis=(1, 2, 3)) / 255,
        saturation.mean(axis=(1, 2)),
        (lowest >= WHITE_LEVEL).mean(axis=(1, 2)),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def measure_colours(store: Store, split: str, *, seed: int = 0) -> Colours:
    """The statistics of up to SAMPLE patches of a split, drawn with `seed`.

    Raises DataError when there is no such split.
    """
    rows = draw_rows(store.rows(split), SAMPLE, seed)
    batches = np.array_split(rows, math.ceil(len(rows) / BATCH))
    values = np.concatenate([patch_statistics(store.subsampled[batch]) for batch in batches])
    mean, sd = (
        dict(zip(WORDS, row.tolist(), strict=True))
        for row in (values.mean(axis=0), values.std(axis=0))
    )
    return Colours(split, len(rows), mean, sd)


def measure_drift(reference: Colours, colours: Colours) -> Drift:
    """How far `colours` are from `reference`.

    A difference counts as drift when it is above LIMIT by more than two standard errors of patches
    drawn one by one. Patches of one slide are alike, so with few slides chance alone gives larger
    differences: compare with those between train and valid.
    """
    differences: dict[str, float] = {}
    for name in WORDS:
        variance = (reference.sd[name] ** 2 + colours.sd[name] ** 2) / 2
        spread = max(MIN_SPREAD, math.sqrt(variance))
        differences[name] = (colours.mean[name] - reference.mean[name]) / spread
    sampling = 2 * math.sqrt(1 / reference.n + 1 / colours.n)
    drifted = [name for name, value in differences.items() if abs(value) > LIMIT + sampling]
    drifted.sort(key=lambda name: -abs(differences[name]))
    return Drift(colours.split, reference.split, differences, drifted)


def measure_drifts(splits: Sequence[Colours]) -> list[Drift]:
    """The drift of each split against the first."""
    return [measure_drift(splits[0], colours) for colours in splits[1:]]


def drift_sentence(store: Store) -> str | None:
    """The strongest drift of test against train; None without drift, or without both splits."""
    if not {"train", "test"} <= store.splits.keys():
        return None
    drift = measure_drift(measure_colours(store, "train"), measure_colours(store, "test"))
    if not drift.drifted:
        return None
    stain = f" --stain {store.stain}" if store.stain is not None else ""
    command = f"pcam shift {store.profile.slug}{stain}"
    return f"{drift.sentences[0]}: the score may be lower than in validation ({command})"
