"""Occlusion maps point at what decides the answer, whatever the spots are covered with."""

from __future__ import annotations

import numpy as np
import pytest

from pcam_kit.saliency import GRID, occlusion_map

SIDE = 48
STEP = SIDE // GRID


def tissue(seed: int = 0) -> np.ndarray:
    """A patch of pink noise-like texture, uint8 [SIDE, SIDE, 3]."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal((190, 130, 170), 18, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def planted(row: int, column: int, colour: tuple[int, int, int]) -> np.ndarray:
    """The same with a blob of that colour in the cell (row, column) of the grid."""
    patch = tissue()
    down, across = slice(row * STEP, (row + 1) * STEP), slice(column * STEP, (column + 1) * STEP)
    patch[down, across] = colour
    return patch


def yellow(patches: np.ndarray) -> np.ndarray:
    """Probabilities that rise with how much of a patch is bright yellow."""
    pixels = patches.astype(float)
    amount = np.clip(pixels[..., :2].min(axis=-1) - pixels[..., 2] - 60, 0, None).mean(axis=(1, 2))
    return 1 / (1 + np.exp(-(4 * amount - 2)))


@pytest.mark.parametrize("cell", [(1, 1), (2, 6), (5, 3), (7, 7)])
def test_it_points_at_a_planted_blob(cell: tuple[int, int]) -> None:
    saliency = occlusion_map(yellow, planted(*cell, (250, 240, 40)))
    assert np.unravel_index(saliency.argmax(), saliency.shape) == cell
    elsewhere = np.abs(np.delete(saliency.ravel(), near(cell)))
    assert saliency.max() > 5 * elsewhere.max()


@pytest.mark.parametrize("cell", [(2, 6), (5, 3)])
def test_what_speaks_against_is_below_zero(cell: tuple[int, int]) -> None:
    saliency = occlusion_map(lambda x: 1 - yellow(x), planted(*cell, (250, 240, 40)))
    assert np.unravel_index(saliency.argmin(), saliency.shape) == cell
    assert saliency.min() < -5 * saliency.max()


def near(cell: tuple[int, int]) -> list[int]:
    """The places of a cell and its neighbours in the flat map."""
    rows, columns = (range(max(0, i - 1), min(GRID, i + 2)) for i in cell)
    return [row * GRID + column for row in rows for column in columns]


def test_a_cover_that_says_something_by_itself_is_taken_out() -> None:
    """White glass speaks for this network, whichever spot it covers: no spot is special."""

    def white(patches: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-0.05 * (patches.astype(float).mean(axis=(1, 2, 3)) - 160)))

    flat = np.full((SIDE, SIDE, 3), 150, np.uint8)
    alone = white(np.stack([flat, np.full_like(flat, 235)]))
    assert alone[1] > 0.9 > 0.5 > alone[0], "the cover alone changes the answer"
    assert np.abs(occlusion_map(white, flat)).max() < 0.01


def test_it_asks_once_and_stays_finite() -> None:
    asked: list[tuple[int, ...]] = []

    def sure(patches: np.ndarray) -> np.ndarray:
        asked.append(patches.shape)
        return np.where(np.arange(len(patches)) % 2, 0.0, 1.0)

    saliency = occlusion_map(sure, tissue(), grid=4)
    assert asked == [(2 * 16 + 1, SIDE, SIDE, 3)]
    assert saliency.shape == (4, 4)
    assert np.isfinite(saliency).all()
