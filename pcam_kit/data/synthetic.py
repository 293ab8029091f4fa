"""Synthetic H&E tissue without patients: slides with their own stain, nuclei and tumour.

A patch is positive when there is tumour in its centre 32x32. Tumour differs from other tissue in
its nuclei: larger, darker, irregular, crowded. It does not differ in stain (each slide has its
own), in the density of normal nuclei (some patches are packed with lymphocytes), or in blur; and in
patches larger than 32 there may be tumour outside the centre. 1 px is taken as 1 µm, as in PCam.
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
TILE = 384  # pixels a side of a slide's eosin texture, from which patches are taken
PATCHES_PER_SLIDE = 120  # about; a part has 2 to 60 slides
HAEMATOXYLIN = (0.563, 0.720, 0.406)  # optical density in R, G, B (Macenko et al. 2009)
EOSIN = (0.216, 0.801, 0.558)
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Slide:
    """The properties that the patches of one slide share."""

    stains: Floats  # optical density [2, 3] of haematoxylin and eosin
    strength: Floats  # [2]
    tissue: Floats  # eosin texture [TILE, TILE], about 0..1
    blur: float
    noise: float
    density: float  # of normal nuclei, relative


def synthetic_parts(counts: dict[Split, int], size: int, seed: int) -> tuple[Part, ...]:
    """A part for each split of `counts`, from slides of its own.

    Patches: uint8 [n, size, size, 3]. Raises ValueError when `size` is less than 32.
    """
    if size < CENTRE:
        raise ValueError(f"synthetic tissue needs at least {CENTRE} pixels a side, got {size}")
    return tuple(
        _part(split, counts[split], size, seed) for split in SPLITS if counts.get(split, 0) > 0
    )


def _part(split: Split, n: int, size: int, seed: int) -> Part:
    slides = min(60, max(2, round(n / PATCHES_PER_SLIDE)), n)
    slide_rows = np.array_split(np.arange(n), slides)
    entropy = [seed, SPLITS.index(split)]
    rng = np.random.default_rng(entropy)
    labels: Labels = np.zeros(n, np.int8)
    for rows in slide_rows:
        # some slides hold more tumour than others; with two patches or more each has both labels
        share = rng.uniform(0.35, 0.65)
        most = len(rows) - 1
        positive = int(np.clip(round(len(rows) * share), min(1, most), max(1, most)))
        labels[rng.permutation(rows)[:positive]] = 1
    names = [f"synthetic-{split}-{i:02d}" for i, rows in enumerate(slide_rows) for _ in rows]
    ids = [str(i) for i in range(n)]
    return Part(split, ids, labels, partial(_blocks, labels, slide_rows, size, entropy), names)


def _blocks(
    labels: Labels, slide_rows: list[NDArray[np.int64]], size: int, entropy: list[int]
) -> Generator[Images, None, None]:
    step = block_rows(size)
    for i, rows in enumerate(slide_rows):
        rng = np.random.default_rng([*entropy, i, size])
        slide = draw_slide(rng)
        for start in range(0, len(rows), step):
            block = labels[rows[start : start + step]].tolist()
            yield np.stack([draw_patch(slide, label == 1, size, rng) for label in block])


def draw_slide(rng: np.random.Generator) -> Slide:
    """The stain, texture and sharpness of a random slide."""
    stains = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.06, (2, 3))
    stains = np.clip(stains, 0.02, None)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    tissue = np.zeros((TILE, TILE), np.float32)
    for cells, weight in ((6, 0.5), (24, 0.6), (80, 0.5)):
        # fewer cells in one direction give fibres
        grid = rng.normal(0, 1, (cells, max(2, cells // 3))).astype(np.float32)
        tissue += weight * cv2.resize(grid, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    rotation = cv2.getRotationMatrix2D((TILE / 2, TILE / 2), float(rng.uniform(0, 180)), 1.0)
    tissue = cv2.warpAffine(
        tissue, rotation, (TILE, TILE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
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
    """One patch, uint8 [size, size, 3], RGB.

    With `tumour` there is tumour in the centre 32x32; without, at most outside it.
    """
    nuclei = np.zeros((size, size), np.float32)
    _draw_normal_nuclei(nuclei, slide, crowded_out=tumour and size < 2 * CENTRE, rng=rng)
    _draw_tumour(nuclei, tumour, rng)
    sigma = slide.blur * rng.uniform(0.8, 1.4)
    chromatin = rng.normal(1, 0.22, (size, size)).astype(np.float32)
    nuclei = cv2.GaussianBlur(nuclei * cv2.GaussianBlur(chromatin, (0, 0), 0.8), (0, 0), sigma)
    y, x = rng.integers(0, TILE - size, 2)
    texture = slide.tissue[y : y + size, x : x + size] * rng.uniform(0.7, 1.2)
    eosin = texture * (1 - 0.6 * np.minimum(nuclei, 1))
    strength = slide.strength * rng.uniform(0.85, 1.15, 2).astype(np.float32)
    density = np.stack([nuclei + 0.10 * eosin, eosin + 0.05], axis=-1) * strength
    light = 245 * np.exp(-np.log(10.0) * 0.75 * (density.astype(np.float32) @ slide.stains))
    light += rng.normal(0, slide.noise, light.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def _draw_normal_nuclei(
    nuclei: Floats, slide: Slide, *, crowded_out: bool, rng: np.random.Generator
) -> None:
    """Draw lymphocytes (small, round, dark) and spindle nuclei of the stroma, often packed.

    There are few where tumour crowds them out of the patch.
    """
    size = len(nuclei)
    area = size * size / (CENTRE * CENTRE)
    packed = rng.random() < 0.5 and not crowded_out
    nuclei_per_area = rng.uniform(10, 24) if packed else rng.uniform(1, 7)
    count = int(rng.poisson(area * slide.density * nuclei_per_area))
    spindle_share = rng.random() * (0.3 if packed else 0.9)
    direction = rng.uniform(0, 180)
    for x, y, kind, darkness in rng.random((count, 4)).tolist():
        centre = (x * (size + 8) - 4, y * (size + 8) - 4)
        if kind < spindle_share:
            axes = (rng.uniform(3.5, 6), rng.uniform(1.0, 1.7))
            angle = direction + rng.normal(0, 15)
            _fill_ellipse(nuclei, centre, axes, angle, 0.55 + 0.4 * darkness)
        else:
            radius = rng.uniform(2.3, 3.4)
            axes = (radius * rng.uniform(1.0, 1.25), radius)
            angle = rng.uniform(0, 180)
            _fill_ellipse(nuclei, centre, axes, angle, 0.65 + 0.5 * darkness)


def _draw_tumour(nuclei: Floats, in_centre: bool, rng: np.random.Generator) -> None:
    """Draw crowded large irregular nuclei around a point.

    The point is in the centre square; if not `in_centre`, some larger patches have tumour outside
    that square, and the others none.
    """
    size = len(nuclei)
    small = size < 2 * CENTRE
    low, high = (size - CENTRE) / 2, (size + CENTRE) / 2
    if in_centre:
        focus = rng.uniform(low + 4, high - 4, 2)
    elif not small and rng.random() < 0.4:
        focus = rng.uniform(0, size, 2)
    else:
        return
    if small:
        spread = rng.uniform(5, 11)
        count = int(rng.integers(2, 6))
    else:
        spread = rng.uniform(8, 24)
        count = int(rng.integers(4, 10) * (spread / 10) ** 1.5 + 2)
    centres = focus + np.concatenate([np.zeros((1, 2)), rng.normal(0, spread, (count - 1, 2))])
    # some tumours are paler than lymphocytes, so that darkness alone does not decide
    paleness = rng.uniform(0.6, 1.0)
    for x, y in centres.tolist():
        radius = rng.uniform(3.8, 6.2)
        reach = 1.9 * radius
        touches_centre = low - reach < x < high + reach and low - reach < y < high + reach
        if touches_centre and not in_centre:
            continue
        _draw_tumour_nucleus(nuclei, (x, y), radius, paleness * rng.uniform(0.75, 1.2), rng)


def _draw_tumour_nucleus(
    nuclei: Floats,
    centre: tuple[float, float],
    radius: float,
    darkness: float,
    rng: np.random.Generator,
) -> None:
    """Draw an ellipse with one or two lobes, which make its outline irregular."""
    axes = (radius * rng.uniform(1.0, 1.35), radius)
    _fill_ellipse(nuclei, centre, axes, rng.uniform(0, 180), darkness)
    for _ in range(int(rng.integers(1, 3))):
        direction, distance = rng.uniform(0, 2 * np.pi), radius * 0.6
        lobe_radius = radius * rng.uniform(0.45, 0.7)
        lobe_centre = (
            centre[0] + distance * np.cos(direction),
            centre[1] + distance * np.sin(direction),
        )
        lobe_axes = (lobe_radius, lobe_radius * 0.8)
        angle = rng.uniform(0, 180)
        _fill_ellipse(nuclei, lobe_centre, lobe_axes, angle, darkness * rng.uniform(0.8, 1.3))


def _fill_ellipse(
    nuclei: Floats,
    centre: tuple[float, float],
    axes: tuple[float, float],
    angle: float,
    value: float,
) -> None:
    """Fill an ellipse with a value, placed to a sixteenth of a pixel."""
    fractional_bits = 4
    x, y = round(centre[0] * 16), round(centre[1] * 16)
    width, height = round(axes[0] * 16), round(axes[1] * 16)
    cv2.ellipse(
        nuclei,
        (x, y),
        (width, height),
        angle,
        0,
        360,
        value,
        -1,
        cv2.LINE_8,
        fractional_bits,
    )
