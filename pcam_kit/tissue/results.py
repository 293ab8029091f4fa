"""What applying a run to new tissue gives: a probability for each tile, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.formatting import Summary
from pcam_kit.tissue.survey import Surveyed
from pcam_kit.tissue.table import Table


@dataclass(frozen=True)
class ImageResult:
    """One image. tiles: with a probability; background: tiles left out as such.

    pixel_size: micrometres of a level-0 pixel, as given or read; None: not known.
    """

    name: str
    width: int
    height: int
    pixel_size: float | None
    tiles: int
    background: int
    positive: int
    heatmap: Path | None


@dataclass(frozen=True, repr=False)
class TissueResult(Summary):
    """Probabilities of tiles of new tissue, and of patches.

    table: columns [n], see `tissue.table.Table`. threshold: a probability of it or more is class 1.
    temperature: of `table.calibrated`; None where the run has none. tta: the views averaged. path:
    the table on disk; None where nothing was written. left_out: images that could not be used.
    """

    run: str
    table: Table = field(repr=False)
    images: tuple[ImageResult, ...]
    threshold: float
    temperature: float | None
    tta: str
    path: Path | None = None
    left_out: tuple[str, ...] = ()
    surveyed: tuple[Surveyed, ...] = field(default=(), repr=False)

    @property
    def ids(self) -> NDArray[np.str_]:
        """The image of each row: text [n]."""
        return self.table.images

    @property
    def x(self) -> NDArray[np.int64]:
        """Left edge of each tile in level-0 pixels: [n]."""
        return self.table.x

    @property
    def y(self) -> NDArray[np.int64]:
        """Top edge of each tile in level-0 pixels: [n]."""
        return self.table.y

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Of tumour: float32 [n]."""
        return self.table.probabilities

    def heatmap(self, image: str | None = None) -> NDArray[np.float64]:
        """The probabilities of one image as a map [rows, columns], NaN where there is no tile.

        image: its name; None: the only one. Raises KeyError.
        """
        names = [one.name for one in self.surveyed]
        if image is None and len(names) == 1:
            image = names[0]
        if image not in names:
            raise KeyError(f"no image {image!r}: there are {', '.join(names[:3])}, ...")
        return map_values(self.table, self.surveyed[names.index(image)])

    def summary(self) -> dict[str, str]:
        """How many tiles and images, and the share of positive ones."""
        n, positive = len(self.table.images), int(self.table.classes.sum())
        background = sum(one.background for one in self.images)
        values = {
            "run": self.run,
            "images": f"{len(self.images):,}",
            "tiles": f"{n:,} ({background:,} of background left out)",
            "positive": f"{positive:,} at threshold {self.threshold:.3f}",
        }
        return values if self.path is None else values | {"table": str(self.path)}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam apply`."""
        return {
            "table": None if self.path is None else str(self.path),
            "run": self.run,
            "threshold": self.threshold,
            "temperature": self.temperature,
            "tta": self.tta,
            "tiles": len(self.table.images),
            "positive": int(self.table.classes.sum()),
            "left_out": list(self.left_out),
            "images": [
                {
                    "name": one.name,
                    "width": one.width,
                    "height": one.height,
                    "pixel_size": one.pixel_size,
                    "tiles": one.tiles,
                    "background": one.background,
                    "positive": one.positive,
                    "heatmap": None if one.heatmap is None else str(one.heatmap),
                }
                for one in self.images
            ],
        }


def map_values(table: Table, image: Surveyed) -> NDArray[np.float64]:
    """The probabilities of one image on its grid: [rows, columns], NaN where there is none."""
    grid = image.grid
    values = np.full((grid.rows, grid.columns), np.nan)
    mine = table.images == image.name
    step = grid.stride * grid.scale
    # places are rounded to level-0 pixels, by less than half a step
    columns = np.rint(table.x[mine] / step).astype(int)
    rows = np.rint(table.y[mine] / step).astype(int)
    values[rows, columns] = table.probabilities[mine]
    return values
