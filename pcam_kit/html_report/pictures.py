"""Patches and occlusion maps as pictures inside the page: data URIs of PNG or JPEG."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from pcam_kit.metrics import Floats

MAP_SIDE = 48  # pixels of the picture of a map; the browser smooths it over the patch
# of a map, RGB: what speaks for tumour, and against. Neither is a colour of H&E, and colour-blind
# people tell them apart.
FOR, AGAINST = (255, 214, 10), (0, 163, 255)
OPAQUE = 0.62  # where the map is strongest; it fades faster than the map, to show the tissue
FADE = 1.5
FAINTEST = 0.1  # log-odds; a map that stays below is shown fainter, not stretched
LOSSLESS_SIDE = 160  # pixels; larger patches become JPEGs, so that the page stays small
JPEG_QUALITY = 90


def patch_uri(pixels: NDArray[np.uint8]) -> str:
    """The data URI of a patch uint8 [h, w, 3], RGB: lossless up to LOSSLESS_SIDE pixels a side."""
    if max(pixels.shape[:2]) <= LOSSLESS_SIDE:
        return _uri("png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return _uri("jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def map_uri(saliency: Floats) -> str:
    """The data URI of an occlusion map [grid, grid], to lie over its patch: mostly transparent."""
    scale = max(FAINTEST, float(np.abs(saliency).max()))
    smooth = cv2.resize(saliency / scale, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_CUBIC)
    rgba = np.empty((MAP_SIDE, MAP_SIDE, 4), np.uint8)
    rgba[..., :3] = np.where(smooth[..., None] > 0, FOR, AGAINST)
    rgba[..., 3] = np.rint(255 * OPAQUE * np.clip(np.abs(smooth), 0, 1) ** FADE)
    return _uri("png", rgba[..., (2, 1, 0, 3)], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _uri(kind: str, pixels: NDArray[np.uint8], options: list[int]) -> str:
    _, data = cv2.imencode(f".{kind}", np.ascontiguousarray(pixels), options)
    mime = "jpeg" if kind == "jpg" else kind
    return f"data:image/{mime};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
