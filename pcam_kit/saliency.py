"""Occlusion sensitivity: which parts of a patch does a network's answer rest on?

A soft spot of the patch is covered, and the log-odds of tumour are computed again: by how much they
fall is what that spot spoke for tumour (Zeiler and Fergus, ECCV 2014). It needs answers only, no
gradients and no layers, so it is the same on every backend of Keras, for saved models, for networks
of the caller's own and for networks with symmetries built in.

What covers a spot is itself something to see: with blurred tissue nearly every spot of real tumour
patches seemed to speak against tumour, with white nearly every one for it (pcam96, 15 epochs, 6
patches each). So both are used, and what the cover says by itself, in proportion to the area that
it covers, is taken out. What is left is relative to the other spots of the same patch.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.metrics import Floats, log_odds

GRID = 8  # spots a side: 2 * 64 + 1 answers a patch
SPREAD = 0.75  # standard deviation of a spot, in steps of the grid: neighbours overlap
BLUR = 1 / 8  # standard deviation of the blur, of the side: nuclei are gone, the colour stays
WHITE = 235  # level of the empty glass of a slide
MIN_PROBABILITY = 2.0**-24  # log-odds of a saturated float32 stay finite

# patches uint8 [n, side, side, 3] -> probabilities [n]
Answer = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


def occlusion_map(answer: Answer, patch: NDArray[np.uint8], *, grid: int = GRID) -> Floats:
    """What each spot of a patch speaks for: float64 [grid, grid], in log-odds.

    patch: uint8 [side, side, 3], as the network sees it. Above 0: covering the spot makes tumour
    less likely, more than covering others does; below 0: more likely. `answer` is called once, with
    2 * grid * grid + 1 patches.
    """
    side = patch.shape[0]
    spots = _spots(side, grid)
    covers = (
        cv2.GaussianBlur(patch, (0, 0), side * BLUR).astype(np.float32),
        np.full(patch.shape, WHITE, np.float32),
    )
    occluded = [
        np.rint(patch + spots[..., None] * (cover - patch)).astype(np.uint8) for cover in covers
    ]
    answers = np.asarray(answer(np.concatenate([patch[None], *occluded])), np.float64)
    odds = log_odds(answers, MIN_PROBABILITY)
    falls = (odds[0] - odds[1:]).reshape(len(covers), -1)
    areas = spots.sum(axis=(1, 2), dtype=np.float64)
    by_area = falls @ areas / (areas @ areas)
    return (falls - np.outer(by_area, areas)).mean(axis=0).reshape(grid, grid)


def _spots(side: int, grid: int) -> NDArray[np.float32]:
    """How much of each pixel is covered, [grid * grid, side, side] within 0..1; rows first."""
    step = side / grid
    centres = (np.arange(grid) + 0.5) * step
    pixels = np.arange(side) + 0.5
    line = np.exp(-(((pixels - centres[:, None]) / (SPREAD * step)) ** 2) / 2).astype(np.float32)
    return np.einsum("iy,jx->ijyx", line, line).reshape(grid * grid, side, side)
