"""How large a pixel is, in micrometres: as given, or as a file says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from pcam_kit.errors import UsageError

TARGET = 0.972  # µm: PCam's patches are level 2 of Camelyon16's slides, 10x
# What a microscope can have. Other resolutions in a file are a screen's or a printer's (72 dpi is
# 353 µm), which programs write into any file.
PLAUSIBLE = (0.05, 5.0)
SQUARE = 0.05  # width and height of a pixel may differ by this share
MICROMETRES = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


@dataclass(frozen=True)
class PixelSize:
    """Micrometres a pixel, and where that is said, as `its OME description`."""

    value: float
    source: str


def given_size(value: float) -> PixelSize:
    """The size that the caller gave. Raises UsageError for one that no microscope has."""
    low, high = PLAUSIBLE
    if not (isfinite(value) and low <= value <= high):
        raise UsageError(
            f"pixel size: expected {low} to {high} micrometres, found {value:g}",
            hint="e.g. --pixel-size 0.25 for a scan at 40x, 0.5 at 20x, 1.0 at 10x",
        )
    return PixelSize(value, "given")


def plausible(width: float, height: float, source: str) -> PixelSize | None:
    """The size, where it can be a microscope's; None for any other, or where it is not square."""
    if not (isfinite(width) and isfinite(height) and width > 0 and height > 0):
        return None
    value = (width * height) ** 0.5
    square = max(width, height) / min(width, height) <= 1 + SQUARE
    return PixelSize(value, source) if square and PLAUSIBLE[0] <= value <= PLAUSIBLE[1] else None


def described_size(description: str) -> PixelSize | None:
    """The size in a TIFF's description: Aperio's MPP, or OME's PhysicalSizeX and Y."""
    if found := re.search(r"\bMPP\s*=\s*([0-9.]{1,20})", description):
        value = _number(found[1])
        return plausible(value, value, "its Aperio description")
    if (pixels := re.search(r"<(?:\w+:)?Pixels\b[^>]*>", description)) is None:
        return None
    sides = [_physical(pixels[0], axis) for axis in "XY"]
    return plausible(sides[0], sides[1] or sides[0], "its OME description")


def _physical(tag: str, axis: str) -> float:
    """One side in micrometres; 0 where the tag does not have it."""
    value = re.search(rf'PhysicalSize{axis}="([^"]{{1,30}})"', tag)
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]{{1,20}})"', tag)
    name = (unit[1] if unit else "µm").replace("μ", "µ").replace("&#181;", "µ")
    return _number(value[1]) * MICROMETRES.get(name, 0) if value else 0.0


def tagged_size(per_unit: tuple[float, float], unit: int, description: str) -> PixelSize | None:
    """The size by the resolution tags: pixels a unit, 2 an inch, 3 a centimetre, 1 ImageJ's."""
    lengths = {2: 25400.0, 3: 10000.0}  # µm
    if description.startswith("ImageJ=") and (
        named := re.search(r"^unit=(\S+)", description, re.MULTILINE)
    ):
        name = named[1].replace("\\u00B5", "µ")
        lengths = {1: MICROMETRES.get(name, 0)}
    length = lengths.get(unit, 0)
    if not length or min(per_unit) <= 0:
        return None
    return plausible(length / per_unit[0], length / per_unit[1], "its resolution tags")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
