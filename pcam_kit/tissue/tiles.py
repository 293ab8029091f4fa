"""Tiles of a picture: where they are, at the networks' pixel size, and which hold tissue."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.tissue.pictures import Picture

REGION = 4096  # pixels a side of a region that is read at once: 50 MB
STRIPED_PIXELS = 32 << 20  # of a region of whole rows, if one row of tiles is no larger
EXACT = 0.01  # a pixel size nearer than this to the networks' is taken for it
# PCam's authors left out patches whose highest saturation, after a blur, is below 0.07. With this
# blur 49 of 19,171 patches of the training split fall below it, 1 of them of 9,171 with tumour.
SATURATION, BLUR = 0.07, 2.0


@dataclass(frozen=True)
class Grid:
    """The tiles of one picture, of `patch` pixels a side at the networks' pixel size.

    scale: level-0 pixels a pixel of a tile. stride: in pixels of a tile. level, downsample: where
    tiles are read. columns, rows: of tiles. Tiles that would reach beyond an edge are left out.
    """

    patch: int
    stride: int
    scale: float
    level: int
    downsample: float
    columns: int
    rows: int
    striped: bool = False

    @property
    def count(self) -> int:
        return self.columns * self.rows

    @property
    def side(self) -> float:
        """Level-0 pixels a side of a tile."""
        return self.patch * self.scale

    @property
    def reduction(self) -> float:
        """Pixels of the level that is read, a pixel of a tile."""
        return self.scale / self.downsample

    def place(self, column: int, row: int) -> tuple[int, int]:
        """x and y of a tile's top left in level-0 pixels."""
        step = self.stride * self.scale
        return round(column * step), round(row * step)

    @cached_property
    def _block(self) -> tuple[int, int]:
        """Columns and rows of tiles that are read at once."""
        patch, step = self.patch * self.reduction, self.stride * self.reduction
        fit = max(1, int((REGION - patch) / step) + 1)
        if not self.striped:
            return min(fit, self.columns), min(fit, self.rows)
        height = STRIPED_PIXELS / max(1.0, self.columns * step + patch)
        return self.columns, max(1, min(fit, self.rows, int((height - patch) / step) + 1))

    def blocks(self, start: int = 0) -> Generator[tuple[int, range, range]]:
        """(number of its first tile, columns, rows) of each block from tile `start` on.

        Tiles are numbered block by block, in each row by row.
        """
        across, down = self._block
        number = 0
        for top in range(0, self.rows, down):
            rows = range(top, min(top + down, self.rows))
            for left in range(0, self.columns, across):
                columns = range(left, min(left + across, self.columns))
                size = len(rows) * len(columns)
                if number + size > start:
                    yield number, columns, rows
                number += size


def make_grid(picture: Picture, patch: int, stride: int, scale: float) -> Grid | None:
    """The tiles of a picture; None where it is smaller than one tile.

    scale: level-0 pixels a pixel of a tile. The level read is the coarsest that is still as fine as
    the tiles.
    """
    if abs(scale - 1) < EXACT:
        scale = 1.0
    # half a pixel of a tile may be missing: 0.25 µm and 0.972 µm divide into no whole numbers
    across, down = (
        (length + scale / 2) / scale - patch for length in (picture.width, picture.height)
    )
    if across < 0 or down < 0:
        return None
    finer = [i for i, level in enumerate(picture.levels) if level.downsample <= scale * (1 + EXACT)]
    level = max(finer, default=0, key=lambda i: picture.levels[i].downsample)
    return Grid(
        patch,
        stride,
        scale,
        level,
        picture.levels[level].downsample,
        int(across // stride) + 1,
        int(down // stride) + 1,
        bool(picture.striped),
    )


def cut(picture: Picture, grid: Grid, columns: range, rows: range) -> NDArray[np.uint8]:
    """The tiles of a block, row by row: uint8 [n, patch, patch, 3].

    A tile is resampled by itself, by averages over areas, so it does not depend on its block.
    Raises what reading does where the file is damaged.
    """
    level = picture.levels[grid.level]
    side = max(1, round(grid.patch * grid.reduction))
    side = min(side, level.width, level.height)

    def at(number: int, length: int) -> int:
        place = grid.place(number, number)[0]
        return min(round(place / grid.downsample), length - side)

    xs = [at(column, level.width) for column in columns]
    ys = [at(row, level.height) for row in rows]
    region = picture.read(grid.level, xs[0], ys[0], xs[-1] + side - xs[0], ys[-1] + side - ys[0])
    tiles = np.empty((len(ys) * len(xs), grid.patch, grid.patch, 3), np.uint8)
    flags = cv2.INTER_AREA if side > grid.patch else cv2.INTER_CUBIC
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            tile = region[y - ys[0] : y - ys[0] + side, x - xs[0] : x - xs[0] + side]
            target = tiles[i * len(xs) + j]
            if side == grid.patch:
                target[:] = tile
            else:
                target[:] = cv2.resize(tile, (grid.patch, grid.patch), interpolation=flags)
    return tiles


def has_tissue(tile: NDArray[np.uint8]) -> bool:
    """Whether a tile has more than background, by the rule of PCam's authors (see SATURATION)."""
    blurred = cv2.GaussianBlur(tile, (0, 0), BLUR).astype(np.float32)
    highest = blurred.max(axis=-1)
    saturation = (highest - blurred.min(axis=-1)) / np.maximum(highest, 1)
    return bool(saturation.max() >= SATURATION)
