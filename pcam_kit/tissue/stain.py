"""The stain of new images normalised as that of the patches which a run learned from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import StainMethod
from pcam_kit.data.stain import Floats, apply_normalisation, fit_normalisation
from pcam_kit.tissue.survey import Surveyed
from pcam_kit.tissue.tiles import cut, has_tissue

log = logging.getLogger(__name__)

SAMPLE = 200  # tiles from which the stain of an image, or of all single patches, is estimated


class StainMaps:
    """Maps each image's stain to the one that the run's patches have; nothing for most runs.

    method None: the run learned from patches as they are. A tiled image has its own stain, single
    patches one together.
    """

    def __init__(self, method: StainMethod | None, surveyed: Sequence[Surveyed]) -> None:
        self._method: StainMethod | None = method
        self._surveyed = surveyed
        self._maps: dict[int, Floats | None] = {}  # by number of the image, -1 for single patches

    def apply(self, image: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One tile [h, w, 3] of an image, by its number."""
        if (method := self._method) is None:
            return pixels
        key = -1 if self._surveyed[image].single else image
        if key not in self._maps:
            self._maps[key] = self._fit(method, key)
        fitted = self._maps[key]
        return pixels if fitted is None else apply_normalisation(pixels[None], fitted[None])[0]

    def _fit(self, method: StainMethod, key: int) -> Floats | None:
        tiles = list(self._sample(key))
        what = "the patches" if key < 0 else self._surveyed[key].name
        fitted = fit_normalisation(method, np.stack(tiles)) if tiles else None
        if fitted is None:
            log.warning(
                f"{what}: too little tissue to estimate the stain ({method}): left as it is"
            )
        else:
            log.info(f"{what}: stain normalised ({method}), as the run's patches were")
        return fitted

    def _sample(self, key: int) -> Iterator[NDArray[np.uint8]]:
        """Tiles with tissue, evenly spread."""
        if key >= 0:
            yield from _some_tiles(self._surveyed[key])
            return
        singles = [one for one in self._surveyed if one.single]
        for one in singles[:: -(-len(singles) // SAMPLE)]:
            yield from _some_tiles(one)


def _some_tiles(one: Surveyed) -> Iterator[NDArray[np.uint8]]:
    picture = one.source.open()
    try:
        for number in range(0, one.grid.count, -(-one.grid.count // SAMPLE)):
            row, column = divmod(number, one.grid.columns)
            (tile,) = cut(picture, one.grid, range(column, column + 1), range(row, row + 1))
            if has_tissue(tile):
                yield tile
    finally:
        picture.close()
