"""Looks at every image before the first is predicted: its size, its pixels, its tiles."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import DataError, UsageError
from pcam_kit.formatting import counted, few
from pcam_kit.parsing import parsing, printable
from pcam_kit.progress import Progress
from pcam_kit.tissue.colours import CHANGES
from pcam_kit.tissue.pictures import ArrayPicture, Picture, damaged
from pcam_kit.tissue.spacing import TARGET, PixelSize
from pcam_kit.tissue.tiles import EXACT, Grid, make_grid

log = logging.getLogger(__name__)

SMALL = 1 << 20  # pixels of an image that is read as a whole to find damage early
SKIP = "to leave such images out, add --skip-unusable"


class Source(Protocol):
    """An image that can be opened again and again: a file, or an array."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def stamp(self) -> Any: ...
    def open(self) -> Picture: ...


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """An image in memory."""

    name: str
    pixels: NDArray[Any]

    @property
    def label(self) -> str:
        return f"image {self.name}"

    @property
    def stamp(self) -> str:
        """A hash of the pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels).data).hexdigest()

    def open(self) -> Picture:
        """The array as a picture. Raises DataError."""
        try:
            return ArrayPicture(self.pixels)
        except ValueError as error:
            raise DataError(
                f"{self.label}: found {error}", hint="give uint8 [h, w, 3] or [n, h, w, 3]"
            ) from error


@dataclass(frozen=True)
class Question:
    """What is asked of every image.

    patch, stride: pixels a side of a tile, and from one to the next, at 0.972 µm. pixel_size: as
    the caller gave it; None: as files say. skip_unusable: leave out images that are too small or
    cannot be read.
    """

    patch: int
    stride: int
    pixel_size: PixelSize | None = None
    skip_unusable: bool = False


@dataclass(frozen=True)
class Surveyed:
    """One image: its size at level 0, its pixels, its tiles.

    single: whether it is one patch, not tiled. pixel_size: None: not known. grey: without colour,
    so background cannot be told. changes: keys of CHANGES.
    """

    source: Source
    width: int
    height: int
    pixel_size: PixelSize | None
    grid: Grid
    single: bool
    grey: bool
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.source.name


def array_images(images: Any) -> list[ArrayImage]:
    """Arrays of the caller as images: [n, h, w, 3], one [h, w] or [h, w, 3], or several of these.

    Raises UsageError.
    """
    if isinstance(images, np.ndarray) and (
        images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3, 4))
    ):
        images = [images]
    arrays: list[Any] = list(images)
    if not arrays or not all(isinstance(one, np.ndarray) for one in arrays):
        raise UsageError(
            "images: expected an array uint8 [n, h, w, 3] or [h, w, 3], several of these, or "
            "paths; found " + (type(arrays[0]).__name__ if arrays else "none"),
            hint="e.g. pcam.apply(run, store.images[:100])",
        )
    return [ArrayImage(str(i), one) for i, one in enumerate(arrays)]


def survey(
    sources: Sequence[Source], question: Question, progress: Progress
) -> tuple[list[Surveyed], list[str]]:
    """Look at all images; those that can be used, and the names of those left out.

    Raises DataError for one that cannot be used, about the first of them.
    """
    found: list[Surveyed] = []
    faults: list[tuple[str, DataError]] = []
    for i, source in enumerate(sources):
        try:
            found.append(_look(source, question))
        except DataError as error:
            faults.append((source.name, error))
        progress("looking at images", i + 1, len(sources))
    if faults and not question.skip_unusable:
        (_, first), *others = faults
        more = f" (and {counted(len(others), 'other')})" if others else ""
        hint = f"{first.hint}; {SKIP}" if first.hint else SKIP
        raise DataError(f"{first.message}{more}", hint=hint if len(sources) > 1 else first.hint)
    for _, error in faults:
        log.warning(f"left out: {error.message}")
    if not found:
        raise DataError(f"none of {counted(len(sources), 'image')} can be used")
    return found, [name for name, _ in faults]


def _look(source: Source, question: Question) -> Surveyed:
    picture = source.open()
    try:
        width, height, patch = picture.width, picture.height, question.patch
        size = question.pixel_size
        if size is None and (width, height) != (patch, patch):
            size = picture.pixel_size
        scale = 1.0 if size is None else TARGET / size.value
        grid = make_grid(picture, patch, question.stride, scale)
        if grid is None:
            raise _too_small(source, picture, patch, size)
        single = max(abs(side / grid.scale - patch) for side in (width, height)) <= 0.5
        if width * height <= SMALL:
            with parsing(partial(damaged, source.label)):
                picture.read(0, 0, 0, width, height)
        colours = picture.colours
        return Surveyed(source, width, height, size, grid, single, colours.grey, colours.changes)
    finally:
        picture.close()


def _too_small(source: Source, picture: Picture, patch: int, size: PixelSize | None) -> DataError:
    found = f"{picture.width}x{picture.height} pixels"
    if size is None:
        hint = "if its pixels are larger than PCam's, say so: --pixel-size MICROMETRES"
        return DataError(
            f"{source.label}: expected at least {patch}x{patch}, found {found}", hint=hint
        )
    needed = round(patch * TARGET / size.value)
    return DataError(
        f"{source.label}: a patch of {patch}x{patch} pixels of {TARGET} µm takes {needed}x{needed} "
        f"pixels of {size.value:.4g} µm ({size.source}), found {found}",
        hint="check the pixel size: --pixel-size MICROMETRES",
    )


def describe(found: Sequence[Surveyed], question: Question) -> None:
    """Log what is done to which images, a line each kind."""
    tiled = [one for one in found if not one.single]
    singles = len(found) - len(tiled)
    if singles:
        log.info(f"{counted(singles, 'image')} of one patch: one probability each")
    if tiled:
        tiles = sum(one.grid.count for one in tiled)
        log.info(
            f"{_named(tiled)}: larger than a patch, so cut into {counted(tiles, 'tile')} of "
            f"{question.patch}x{question.patch} pixels, one every {question.stride}"
        )
    _group(found, _resampling, log.info)
    unknown = [one for one in tiled if one.pixel_size is None]
    if unknown:
        log.warning(
            f"{_named(unknown)}: no pixel size in the file, so PCam's {TARGET} µm is assumed. If "
            "that is wrong, so are the probabilities: give --pixel-size, e.g. 0.25 for a scan at "
            "40x, 0.5 at 20x"
        )
    coarse = [one for one in found if one.grid.scale < 1 - EXACT]
    if coarse:
        log.warning(f"{_named(coarse)}: enlarged; detail that the network learned from is missing")
    for key, change in CHANGES.items():
        changed = [one for one in found if key in one.changes]
        if changed:
            tell = log.warning if key == "grey" else log.info
            tell(f"{_named(changed)}: {change}")


def _resampling(one: Surveyed) -> str:
    if one.pixel_size is None:
        return ""
    size, scale = one.pixel_size, one.grid.scale
    verb = "given" if size.source == "given" else "read"
    where = "" if size.source == "given" else f" ({size.source})"
    begin = f"{verb} {size.value:.4g} µm/pixel{where}"
    if scale == 1:
        return f"{begin}, as the networks learned: not resampled"
    level = f", from a level reduced {one.grid.downsample:.3g} times" if one.grid.level else ""
    return f"{begin}, resampled {scale:.3g} times to {TARGET}{level}"


def _group(
    found: Sequence[Surveyed], text_of: Callable[[Surveyed], str], tell: Callable[[str], None]
) -> None:
    texts = Counter(text for one in found if (text := text_of(one)))
    for text in texts:
        tell(f"{_named([one for one in found if text_of(one) == text])}: {text}")


def _named(images: Sequence[Surveyed]) -> str:
    """One image by its name, several by their number."""
    if len(images) > 3:
        return counted(len(images), "image")
    return few([printable(one.name) for one in images], len(images))
