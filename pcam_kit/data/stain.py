"""H&E stain in optical density, where colours add up: unmixing, and normalisation to a target.

The density of a level x is -ln((x + 1) / 256): 0 for white, 5.5 for black. Both normalisations are
one affine map of a pixel's three densities, fitted to the tissue of a slide or a split and then
applied to each of its pixels:

reinhard  mean and standard deviation of each channel's density become the target's (the idea of
          Reinhard et al. 2001, who match in the colour space l-alpha-beta). The map has an
          offset; it fades out towards white, otherwise background would take on a tint. Corrects
          stain that is stronger overall, and in part another hue; not more of one stain and less
          of the other.
macenko   the two stains are found as the robust ends of the angles that tissue has in the plane
          of its densities (Macenko et al. 2009), and replaced by the target's; what the plane does
          not explain is dropped. White stays white. Patches of several slides do not have two
          common stains, so this is for slides that are known one by one.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import StainMethod

Floats = NDArray[np.float32]


def stain_basis(haematoxylin: Any, eosin: Any) -> NDArray[np.float64]:
    """Unit vectors in R, G, B of the two stains and of what neither explains: [3, 3], a row each.

    The third is perpendicular to both.
    """
    rows = np.array([haematoxylin, eosin, np.cross(haematoxylin, eosin)], np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


DENSITY: Floats = -np.log((np.arange(256) + 1) / 256).astype(np.float32)  # of each level
WHITE = float(np.log(256))  # exp(WHITE - density) - 1 is the level again
# Ruifrok & Johnston 2001
STAINS: Floats = stain_basis((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)).astype(np.float32)
# densities [..., 3] @ UNMIX: concentrations of haematoxylin, eosin and the rest
UNMIX: Floats = np.linalg.inv(STAINS.astype(np.float64)).astype(np.float32)
ONES: Any = (1.0, 1.0, 1.0, 1.0)  # OpenCV's type stubs know no scalars

# The target is no image, but stains as measured by Macenko et al. (2009), with concentrations whose
# mean is 0.4 and whose standard deviation is 0.35 of their 99th percentiles: wide, which preserves
# contrast.
TARGET = stain_basis((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
TARGET_TOP = np.array([1.97, 1.03])  # 99th percentiles of haematoxylin and eosin
# of the densities, if the two concentrations were independent
TARGET_MEAN = (0.4 * TARGET_TOP) @ TARGET[:2]
TARGET_SD = np.sqrt((0.35 * TARGET_TOP) ** 2 @ TARGET[:2] ** 2)

# Mean density of a pixel's channels: less is background (Macenko's 0.15, which he takes of log10),
# more is ink or an edge.
TISSUE_DENSITY = (0.15, 3.0)
MIN_TISSUE = 1000  # pixels of tissue; with fewer no stain is estimated
# contrast is changed by no more than this: where a slide is nearly empty noise would become colour
FACTOR_RANGE = (0.25, 4.0)
MIN_ANGLE = 0.05  # radians between two stains


def map_densities(
    images: NDArray[np.uint8], maps: Floats, *, overwrite: bool = False
) -> NDArray[np.uint8]:
    """Map the densities of each patch by its own 3x3 matrix and, as fourth column, an offset.

    images: uint8 [n, h, w, 3], RGB; maps: [n, 3, 4], so that new = map[:, :3] @ old + map[:, 3].
    The result is rounded and clipped; with `overwrite` it is in the memory of `images`.
    """
    # level + 1 = exp(WHITE - density): the sign and WHITE go into the map as well
    affine = -maps.astype(np.float32)
    affine[:, :, 3] += WHITE
    out = images if overwrite else np.empty(images.shape, np.uint8)
    # a patch at a time stays in the cache: twice as fast at 96 px
    buffer = np.empty(images.shape[1:], np.float32)
    for image, matrix, target in zip(images, affine, out, strict=True):
        cv2.transform(cv2.LUT(image, DENSITY), matrix, buffer)
        cv2.exp(buffer, buffer)
        cv2.subtract(buffer, ONES, target, dtype=cv2.CV_8U)
    return out


def fit_normalisation(method: StainMethod, pixels: NDArray[np.uint8]) -> Floats | None:
    """The map [3, 4] from the stain of `pixels`, uint8 [..., 3], to the target's.

    None where the pixels hold too little tissue to estimate their stain.
    """
    densities = DENSITY[pixels.reshape(-1, 3)].astype(np.float64)
    mean = densities.mean(axis=1)
    lowest, highest = TISSUE_DENSITY
    tissue = densities[(mean > lowest) & (mean < highest)]
    if len(tissue) < MIN_TISSUE:
        return None
    match method:
        case "reinhard":
            return _fit_reinhard(tissue)
        case "macenko":
            return _fit_macenko(tissue)


def apply_normalisation(images: NDArray[np.uint8], maps: Floats) -> NDArray[np.uint8]:
    """Map each patch as `map_densities` does; offsets fade out towards white.

    With an offset, pixels with less density than tissue are mapped in part, white not at all.
    """
    out = map_densities(images, maps)
    offset = maps[:, :, 3].any(axis=1)
    if offset.any():
        density = DENSITY[images[offset]].mean(axis=-1, keepdims=True)
        share = np.minimum(density / TISSUE_DENSITY[0], 1)
        out[offset] = np.rint(share * out[offset] + (1 - share) * images[offset]).astype(np.uint8)
    return out


def _fit_reinhard(tissue: NDArray[np.float64]) -> Floats:
    factors = np.clip(TARGET_SD / np.maximum(tissue.std(axis=0), 1e-6), *FACTOR_RANGE)
    offsets = TARGET_MEAN - factors * tissue.mean(axis=0)
    return np.column_stack([np.diag(factors), offsets]).astype(np.float32)


def _fit_macenko(tissue: NDArray[np.float64]) -> Floats | None:
    # The plane is through the origin, as stains are; its axes are columns, the larger first.
    plane = np.linalg.eigh(tissue.T @ tissue)[1][:, :0:-1]
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)
    angles = np.arctan2(tissue @ plane[:, 1], tissue @ plane[:, 0])
    ends = np.percentile(angles, [1, 99])
    if ends[1] - ends[0] < MIN_ANGLE:
        return None
    pair = np.maximum([plane @ (np.cos(angle), np.sin(angle)) for angle in ends], 0)
    # haematoxylin is the bluer one: it absorbs more red
    haematoxylin, eosin = sorted(pair.tolist(), key=lambda stain: -stain[0])
    # without their negative densities the two may be one colour
    if np.linalg.norm(np.cross(haematoxylin, eosin)) < MIN_ANGLE / 2:
        return None
    source = stain_basis(haematoxylin, eosin)
    # the rest is dropped: beside a paler stain it would show as yellow or green
    unmix = np.linalg.inv(source)[:, :2]
    tops = np.percentile(tissue @ unmix, 99, axis=0)
    factors = np.clip(TARGET_TOP / np.maximum(tops, 1e-6), *FACTOR_RANGE)
    matrix = unmix @ np.diag(factors) @ TARGET[:2]
    return np.column_stack([matrix.T, np.zeros(3)]).astype(np.float32)
