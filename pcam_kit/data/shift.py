"""How the colours of two splits differ: statistics of their patches, differences in standard
deviations, and the words for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import Images
from pcam_kit.data.split import draw
from pcam_kit.data.stain import DENSITY, UNMIX
from pcam_kit.data.store_reader import Store

SAMPLE = 2000  # patches of a split that are looked at
WHITE_LEVEL = 220  # a pixel whose three channels all reach it counts as background
LIMIT = 0.25  # standard deviations; the usual limit for groups that are to be compared (Rubin 2001)
FINEST = 1 / 510  # half a grey level: no spread is taken to be smaller
# Each statistic of a patch, and what one split is or does when its value is larger or smaller than
# the other's.
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
    """`split` minus `reference`, statistic by statistic, in standard deviations between patches
    (Cohen 1988).
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
        told: list[str] = []
        for name in self.drifted:
            value = self.differences[name]
            told.append(
                f"{self.split} {WORDS[name][value < 0]} than {self.reference} by "
                f"{abs(value):.2f} sd"
            )
        return told


def patch_statistics(images: Images) -> NDArray[np.float64]:
    """A row a patch, a column a name in WORDS. images: uint8 [n, h, w, 3], RGB.

    Concentrations are optical densities (natural logarithm) along unit stain vectors; brightness,
    saturation and white are in 0..1.
    """
    amounts = DENSITY[images] @ UNMIX[:, :2]
    most, least = images.max(axis=-1), images.min(axis=-1)
    columns = [
        *(
            part
            for stain in (0, 1)
            for part in (
                amounts[..., stain].mean(axis=(1, 2)),
                amounts[..., stain].std(axis=(1, 2)),
            )
        ),
        images.mean(axis=(1, 2, 3)) / 255,
        ((most - least) / np.maximum(most, 1, dtype=np.float32)).mean(axis=(1, 2)),
        (least >= WHITE_LEVEL).mean(axis=(1, 2)),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def colours(store: Store, split: str, *, seed: int = 0) -> Colours:
    """The statistics of up to SAMPLE patches of a split, drawn with `seed`.

    Raises DataError when there is no such split.
    """
    rows = draw(store.rows(split), SAMPLE, seed)
    # so that what is computed of them stays in the cache
    few = np.array_split(rows, math.ceil(len(rows) / 64))
    values = np.concatenate([patch_statistics(store.sparse[part]) for part in few])
    mean, sd = (
        dict(zip(WORDS, row.tolist(), strict=True))
        for row in (values.mean(axis=0), values.std(axis=0))
    )
    return Colours(split, len(rows), mean, sd)


def drift(reference: Colours, other: Colours) -> Drift:
    """What has changed from `reference` to `other`.

    A difference counts when it is above LIMIT by more than two standard errors of patches drawn one
    by one. Patches of one slide are alike, so few slides differ by more than that from chance
    alone: compare with what train and valid differ by.
    """
    differences: dict[str, float] = {}
    for name in WORDS:
        spread = max(FINEST, math.sqrt((reference.sd[name] ** 2 + other.sd[name] ** 2) / 2))
        differences[name] = (other.mean[name] - reference.mean[name]) / spread
    sampling = 2 * math.sqrt(1 / reference.n + 1 / other.n)
    drifted = [name for name, value in differences.items() if abs(value) > LIMIT + sampling]
    return Drift(
        other.split,
        reference.split,
        differences,
        sorted(drifted, key=lambda name: -abs(differences[name])),
    )


def drifts(looks: Sequence[Colours]) -> list[Drift]:
    """Each split against the first."""
    return [drift(looks[0], look) for look in looks[1:]]
