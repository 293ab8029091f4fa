"""Augmentation of the stain: more or less haematoxylin and eosin, as slides of other laboratories
and other days have it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.stain import STAINS, UNMIX, Floats, remix


def restain(images: NDArray[np.uint8], factors: Floats, shifts: Floats) -> NDArray[np.uint8]:
    """Scale the concentrations of haematoxylin, eosin and the rest by `factors` [n, 3], then add
    `shifts` [n, 3].

    images: uint8 [n, h, w, 3], RGB; the result likewise, clipped. Concentrations are optical
    densities (natural logarithm) along unit stain vectors. Taking apart, scaling and mixing anew is
    one affine map of the densities, so a patch costs a table look-up, a 3x4 matrix and an
    exponential (after Tellez et al. 2018, who work with log10).
    """
    maps = np.zeros((len(images), 3, 4), np.float32)
    # element by element: a matrix product may round otherwise when the batch has another size
    for i, stain in enumerate(STAINS):
        maps[:, :, :3] += factors[:, i, None, None] * np.outer(stain, UNMIX[:, i])
        maps[:, :, 3] += shifts[:, i, None] * stain
    return remix(images, maps)
