"""Colours of images from elsewhere as RGB in uint8, which is what networks take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["rgb", "rgba", "grey", "grey+alpha", "cmyk", "palette"]
# values of a pixel, by kind
SAMPLES: dict[Kind, int] = {
    "rgb": 3,
    "rgba": 4,
    "grey": 1,
    "grey+alpha": 2,
    "cmyk": 4,
    "palette": 1,
}
NUMBERS = ("uint8", "uint16")
DEPTH = 'convert it to 8 bits of RGB: magick "FILE[0]" -depth 8 -type TrueColor OUT.tif'
# What is done to each kind; one line for all images of it.
CHANGES = {
    "rgba": "transparent: laid on white",
    "grey": "greyscale: given three equal channels. The networks learned from stained colour, so "
    "these probabilities mean little",
    "cmyk": "CMYK: converted to RGB without a colour profile, so hues are near, not exact",
    "palette": "palette: its colours were looked up",
    "uint16": "16 bits: divided by 257",
}


@dataclass(frozen=True)
class Colours:
    """How pixels are stored.

    numbers: "uint8" or "uint16". inverted: 0 is white. palette: uint8 [n, 3].
    """

    kind: Kind
    numbers: str = "uint8"
    inverted: bool = False
    palette: NDArray[np.uint8] | None = None

    @property
    def changes(self) -> tuple[str, ...]:
        """The keys in CHANGES of what `to_rgb` does."""
        keys = ["grey", "rgba"] if self.kind == "grey+alpha" else [self.kind]
        keys = [key for key in keys if key in CHANGES]
        return (*keys, "uint16") if self.numbers == "uint16" else tuple(keys)

    @property
    def grey(self) -> bool:
        """Whether nothing is known of the stain's colours."""
        return self.kind in ("grey", "grey+alpha")


def colours_of(channels: int, numbers: str) -> Colours:
    """The colours of pixels that OpenCV or NumPy gave. Raises ValueError for what has none."""
    kinds: dict[int, Kind] = {1: "grey", 2: "grey+alpha", 3: "rgb", 4: "rgba"}
    if channels not in kinds:
        raise ValueError(f"{channels} channels: expected RGB, that is 3")
    if numbers not in NUMBERS:
        raise ValueError(f"values of {numbers}: expected uint8 or uint16")
    return Colours(kinds[channels], numbers)


def to_rgb(pixels: NDArray[Any], colours: Colours) -> NDArray[np.uint8]:
    """Pixels [h, w, samples] as RGB: uint8 [h, w, 3], contiguous."""
    if colours.kind == "palette":
        assert colours.palette is not None
        last = len(colours.palette) - 1
        return colours.palette[np.minimum(pixels[..., 0], last)]
    if colours.numbers == "uint16":
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if colours.inverted:
        pixels = 255 - pixels
    match colours.kind:
        case "rgb":
            return np.ascontiguousarray(pixels)
        case "grey":
            return np.repeat(pixels, 3, axis=-1)
        case "rgba":
            return _on_white(pixels[..., :3], pixels[..., 3:])
        case "grey+alpha":
            return _on_white(np.repeat(pixels[..., :1], 3, axis=-1), pixels[..., 1:])
        case "cmyk":
            light = 255 - pixels.astype(np.uint16)
            return ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)


def _on_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    share = alpha.astype(np.uint16)
    mixed = pixels.astype(np.uint16) * share + 255 * (255 - share)
    return ((mixed + 127) // 255).astype(np.uint8)
