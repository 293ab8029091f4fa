"""Stain augmentation: more or less haematoxylin and eosin, as between laboratories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.stain import STAINS, UNMIX, Floats, map_densities


def restain(
    images: NDArray[np.uint8], factors: Floats, shifts: Floats, *, overwrite: bool = False
) -> NDArray[np.uint8]:
    """Scale the concentrations of haematoxylin, eosin and the residual, then shift them.

    images: uint8 [n, h, w, 3], RGB; the result likewise, clipped; with `overwrite` in the same
    memory. factors, shifts: [n, 3].
    Concentrations are optical densities (natural logarithm) along unit stain vectors. Separating
    the stains, scaling and mixing them is one affine map of the densities, so a patch costs a table
    look-up, a 3x4 matrix and an exponential. After Tellez et al. 2018, who use log10.
    """
    maps = np.zeros((len(images), 3, 4), np.float32)
    # element by element, because a matrix product may round differently for another batch size
    for i, stain in enumerate(STAINS):
        maps[:, :, :3] += factors[:, i, None, None] * np.outer(stain, UNMIX[:, i])
        maps[:, :, 3] += shifts[:, i, None] * stain
    return map_densities(images, maps, overwrite=overwrite)
