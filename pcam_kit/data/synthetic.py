"""Made-up H&E tissue: slides of differing stain, nuclei, and tumour that counts only in the centre
32x32. No patient's.

What tells tumour from the rest is the look of the nuclei: larger, darker, irregular, crowded. What
does not: the stain (each slide has its own), how dense normal nuclei lie (some patches are packed
with lymphocytes), blur, and, in patches larger than 32, tumour beside the centre. 1 px is taken as
1 µm, as in PCam.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Split
from pcam_kit.data.raw import SPLITS, Images, Labels, Part, block_rows

CENTRE = 32  # pixels a side of the square that decides the label
PATCHES_A_SLIDE = 120  # about; no more slides than 60, no fewer than 2, a part
HAEMATOXYLIN = (0.563, 0.720, 0.406)  # optical density in R, G, B (Macenko et al. 2009)
EOSIN = (0.216, 0.801, 0.558)
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Slide:
    """What the patches of one slide share."""

    stains: Floats  # optical density [2, 3] of haematoxylin and eosin
    strength: Floats  # [2]
    tissue: Floats  # eosin texture [TILE, TILE], about 0..1
    blur: float
    noise: float
    density: float  # normal nuclei, relative


TILE = 384


def synthetic_parts(counts: dict[Split, int], size: int, seed: int) -> tuple[Part, ...]:
    """A part for each split of `counts`, from slides of its own.

    Patches: uint8 [n, size, size, 3]; size at least 32.
    """
    if size < CENTRE:
        raise ValueError(f"made-up tissue needs at least {CENTRE} pixels a side, got {size}")
    return tuple(
        _part(split, counts[split], size, seed) for split in SPLITS if counts.get(split, 0) > 0
    )


def _part(split: Split, n: int, size: int, seed: int) -> Part:
    slides = min(60, max(2, round(n / PATCHES_A_SLIDE)), n)
    rows = np.array_split(np.arange(n), slides)
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    labels: Labels = np.zeros(n, np.int8)
    for part in rows:
        # Some slides hold more tumour than others; every slide holds both kinds where it has two
        # patches.
        positive = int(
            np.clip(
                round(len(part) * rng.uniform(0.35, 0.65)),
                min(1, len(part) - 1),
                max(1, len(part) - 1),
            )
        )
        labels[rng.permutation(part)[:positive]] = 1
    names = [f"synthetic-{split}-{i:02d}" for i, part in enumerate(rows) for _ in part]
    return Part(
        split,
        [str(i) for i in range(n)],
        labels,
        partial(_blocks, labels, rows, size, [seed, SPLITS.index(split)]),
        names,
    )


def _blocks(
    labels: Labels, rows: list[NDArray[np.int64]], size: int, entropy: list[int]
) -> Generator[Images, None, None]:
    for i, part in enumerate(rows):
        rng = np.random.default_rng([*entropy, i, size])
        slide = draw_slide(rng)
        for start in range(0, len(part), block_rows(size)):
            chosen = labels[part[start : start + block_rows(size)]]
            yield np.stack([draw_patch(slide, label == 1, size, rng) for label in chosen.tolist()])


def draw_slide(rng: np.random.Generator) -> Slide:
    """A slide's stain, texture and sharpness."""
    stains = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.06, (2, 3))
    stains = np.clip(stains, 0.02, None)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    tissue = np.zeros((TILE, TILE), np.float32)
    for cells, weight in ((6, 0.5), (24, 0.6), (80, 0.5)):
        # fewer across: fibres
        grid = rng.normal(0, 1, (cells, max(2, cells // 3))).astype(np.float32)
        tissue += weight * cv2.resize(grid, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((TILE / 2, TILE / 2), float(rng.uniform(0, 180)), 1.0)
    tissue = cv2.warpAffine(
        tissue, turn, (TILE, TILE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    tissue = 1 / (1 + np.exp(-1.6 * (tissue + rng.uniform(0.2, 1.0))))
    strength = rng.uniform((0.75, 0.45), (1.25, 0.95)).astype(np.float32)
    return Slide(
        stains.astype(np.float32),
        strength,
        tissue.astype(np.float32),
        float(rng.uniform(0.5, 0.95)),
        float(rng.uniform(1, 4)),
        float(rng.uniform(0.6, 1.5)),
    )


def draw_patch(slide: Slide, tumour: bool, size: int, rng: np.random.Generator) -> Images:
    """One patch, uint8 [size, size, 3], RGB. Tumour in the centre 32x32 if `tumour`, else at most
    outside it.
    """
    nuclei = np.zeros((size, size), np.float32)
    _draw_normal(nuclei, slide, crowded_out=tumour and size < 2 * CENTRE, rng=rng)
    _draw_tumour(nuclei, tumour, rng)
    sigma = slide.blur * rng.uniform(0.8, 1.4)
    chromatin = rng.normal(1, 0.22, (size, size)).astype(np.float32)
    nuclei = cv2.GaussianBlur(nuclei * cv2.GaussianBlur(chromatin, (0, 0), 0.8), (0, 0), sigma)
    y, x = rng.integers(0, TILE - size, 2)
    eosin = (
        slide.tissue[y : y + size, x : x + size]
        * rng.uniform(0.7, 1.2)
        * (1 - 0.6 * np.minimum(nuclei, 1))
    )
    density = np.stack([nuclei + 0.10 * eosin, eosin + 0.05], axis=-1) * (
        slide.strength * rng.uniform(0.85, 1.15, 2).astype(np.float32)
    )
    light = 245 * np.exp(-np.log(10.0) * 0.75 * (density.astype(np.float32) @ slide.stains))
    light += rng.normal(0, slide.noise, light.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def _draw_normal(
    nuclei: Floats, slide: Slide, *, crowded_out: bool, rng: np.random.Generator
) -> None:
    """Lymphocytes (small, round, dark) and spindle nuclei of the stroma, often packed; few where
    tumour fills the patch.
    """
    size = len(nuclei)
    area = size * size / (CENTRE * CENTRE)
    packed = rng.random() < 0.5 and not crowded_out
    count = int(
        rng.poisson(area * slide.density * (rng.uniform(10, 24) if packed else rng.uniform(1, 7)))
    )
    spindle = rng.random() * (0.3 if packed else 0.9)
    lean = rng.uniform(0, 180)
    for x, y, kind, dark in rng.random((count, 4)).tolist():
        centre = (x * (size + 8) - 4, y * (size + 8) - 4)
        if kind < spindle:
            _ellipse(
                nuclei,
                centre,
                (rng.uniform(3.5, 6), rng.uniform(1.0, 1.7)),
                lean + rng.normal(0, 15),
                0.55 + 0.4 * dark,
            )
        else:
            radius = rng.uniform(2.3, 3.4)
            _ellipse(
                nuclei,
                centre,
                (radius * rng.uniform(1.0, 1.25), radius),
                rng.uniform(0, 180),
                0.65 + 0.5 * dark,
            )


def _draw_tumour(nuclei: Floats, in_centre: bool, rng: np.random.Generator) -> None:
    """Crowded large irregular nuclei around a point: in the centre square, or in some larger
    patches only beside it.
    """
    size = len(nuclei)
    low, high = (size - CENTRE) / 2, (size + CENTRE) / 2
    if in_centre:
        focus = rng.uniform(low + 4, high - 4, 2)
    elif size >= 2 * CENTRE and rng.random() < 0.4:
        focus = rng.uniform(0, size, 2)
    else:
        return
    spread = rng.uniform(5, 11) if size < 2 * CENTRE else rng.uniform(8, 24)
    count = int(
        rng.integers(2, 6) if size < 2 * CENTRE else rng.integers(4, 10) * (spread / 10) ** 1.5 + 2
    )
    places = focus + np.concatenate([np.zeros((1, 2)), rng.normal(0, spread, (count - 1, 2))])
    # some tumours are paler than lymphocytes: darkness alone does not tell
    pale = rng.uniform(0.6, 1.0)
    for x, y in places.tolist():
        radius = rng.uniform(3.8, 6.2)
        reach = 1.9 * radius
        if not in_centre and low - reach < x < high + reach and low - reach < y < high + reach:
            continue
        dark = pale * rng.uniform(0.75, 1.2)
        _ellipse(
            nuclei, (x, y), (radius * rng.uniform(1.0, 1.35), radius), rng.uniform(0, 180), dark
        )
        for _ in range(int(rng.integers(1, 3))):  # lobes make the outline irregular
            turn, off = rng.uniform(0, 2 * np.pi), radius * 0.6
            lobe = radius * rng.uniform(0.45, 0.7)
            _ellipse(
                nuclei,
                (x + off * np.cos(turn), y + off * np.sin(turn)),
                (lobe, lobe * 0.8),
                rng.uniform(0, 180),
                dark * rng.uniform(0.8, 1.3),
            )


def _ellipse(
    nuclei: Floats,
    centre: tuple[float, float],
    axes: tuple[float, float],
    angle: float,
    value: float,
) -> None:
    """Fill an ellipse with a value, in sixteenths of a pixel."""
    x, y = round(centre[0] * 16), round(centre[1] * 16)
    cv2.ellipse(
        nuclei,
        (x, y),
        (round(axes[0] * 16), round(axes[1] * 16)),
        angle,
        0,
        360,
        value,
        -1,
        cv2.LINE_8,
        4,
    )
