"""Slides of scanners through OpenSlide, which is optional: svs, ndpi, mrxs, scn, ..."""

# pyright: basic

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import DataError
from pcam_kit.parsing import printable
from pcam_kit.tissue.colours import Colours, to_rgb
from pcam_kit.tissue.pictures import Level, Picture
from pcam_kit.tissue.spacing import plausible

# Aperio, Hamamatsu, Mirax, Leica, Ventana, Philips, Sakura, Zeiss, Trestle, DICOM
SLIDES = (
    ".svs",
    ".ndpi",
    ".mrxs",
    ".scn",
    ".bif",
    ".vms",
    ".vmu",
    ".svslide",
    ".czi",
    ".dcm",
    ".isyntax",
)
PLAIN_TIFS = (".svs",)  # a TIFF at heart: read as one where OpenSlide is missing


class SlidePicture(Picture):
    """A slide that OpenSlide reads."""

    colours = Colours("rgb")

    def __init__(self, path: Path) -> None:
        """Raises what OpenSlide does for a file that it does not know, or a damaged one."""
        import openslide

        self._slide: Any = openslide.OpenSlide(str(path))
        sizes, factors = self._slide.level_dimensions, self._slide.level_downsamples
        self.levels = tuple(
            Level(width, height, float(factor))
            for (width, height), factor in zip(sizes, factors, strict=True)
        )
        properties = self._slide.properties
        sides = [float(properties.get(f"openslide.mpp-{axis}", 0) or 0) for axis in "xy"]
        self.pixel_size = plausible(sides[0], sides[1], "the slide's own description")

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region of a level; white where the scanner took nothing."""
        factor = self.levels[level].downsample
        place = (round(x * factor), round(y * factor))
        region = np.asarray(self._slide.read_region(place, level, (width, height)))
        return to_rgb(region, Colours("rgba"))

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


def has_openslide() -> bool:
    """Whether OpenSlide and its library are there."""
    try:
        import openslide  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except (ImportError, OSError):
        return False
    return True


def missing_error(path: Path) -> DataError:
    """The error for a slide that needs OpenSlide."""
    return DataError(
        f"{printable(str(path))}: a {path.suffix.lower()} slide needs OpenSlide, which is not "
        "installed",
        hint='pip install "pcam-kit[slides]"',
    )
