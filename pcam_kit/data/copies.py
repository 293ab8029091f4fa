"""Copies within a store and between two: exact, turned or mirrored, and near, each split against
each other.

Patches of different sizes are compared on the centre that both have: a patch of 32 pixels may be
the middle of one of 96. A turned copy is found when its pixels are exactly those of the other;
turned copies that were compressed as well are not found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.data.leaks import Looks, group_alike, hash_pixels, join, rough_look
from pcam_kit.data.raw import SPLITS, Images, Progress, block_rows, silent
from pcam_kit.data.store_reader import Store

Kind = Literal["exact", "turned", "near"]
CELLS = 4  # a side: the sums of so many parts tell which way round a patch stands
LOW = np.uint64(symmetry.ORDER - 1)  # the bits of a hash that hold the symmetry


@dataclass(frozen=True, eq=False)
class Seen:
    """The centre `size` pixels of every patch of a store, as far as copies are concerned.

    `looks.exact` hashes a patch turned into its standard form, so it is equal for turned copies.
    `pixels`, uint64 [n], differs for them.
    """

    store: Store
    size: int
    looks: Looks
    pixels: NDArray[np.uint64]


@dataclass(frozen=True)
class Example:
    """A patch of `there` and a patch of `here` that it is a copy of, by id."""

    kind: Kind
    here: str
    there: str


@dataclass(frozen=True)
class Copies:
    """How many of the `n` patches of the split `there` have a copy in the split `here`: each
    counted once, as the closest kind.

    Within a split: how many repeat an earlier patch. `slides`: names that both know, None where one
    does not know its slides.
    """

    here: tuple[Store, str]
    there: tuple[Store, str]
    n: int
    exact: int
    turned: int
    near: int
    slides: int | None
    examples: list[Example]


def see(store: Store, size: int, progress: Progress = silent) -> Seen:
    """Read all patches of a store once, block by block: 17 bytes of each are kept.

    `size` is at most that of the patches.
    """
    n, rows = len(store.images), block_rows(store.images.shape[1])
    looks: list[Looks] = []
    pixels: list[NDArray[np.uint64]] = []
    for start in range(0, n, rows):
        block = _centre(store.images[start : start + rows], size)
        elements = standard_elements(block)
        hashes = hash_pixels(symmetry.apply_each(block, elements)) & ~LOW
        looks.append(Looks(hashes, *rough_look(block)))
        pixels.append(hashes | elements)
        progress(f"looking at {store.profile.slug}", min(start + rows, n), n)
    return Seen(store, size, join(looks), np.concatenate(pixels))


def standard_elements(block: Images) -> NDArray[np.uint64]:
    """The symmetry [k] that brings each image of `block` into the same form as all its turned and
    mirrored copies.

    It is the one whose sums over 4x4 cells are lexicographically smallest; where several are, as in
    images that are symmetric themselves, all their pixels decide.
    """
    k, size = block.shape[:2]
    cells = CELLS if size % CELLS == 0 else size
    sums = block.reshape(k, cells, size // cells, cells, -1).sum(axis=(2, 4), dtype=np.uint32)
    forms = symmetry.orbit(sums[..., None]).reshape(symmetry.ORDER, k, -1)
    smallest = np.ones((symmetry.ORDER, k), np.bool_)
    for cell in np.moveaxis(forms, 2, 0):
        values = np.where(smallest, cell, np.iinfo(np.uint32).max)
        smallest &= values == values.min(axis=0)
    elements = smallest.argmax(axis=0).astype(np.uint64)
    for row in np.flatnonzero(smallest.sum(axis=0) > 1):
        _, elements[row] = min(
            (symmetry.apply(block[row], g).tobytes(), g)
            for g in np.flatnonzero(smallest[:, row]).tolist()
        )
    return elements


def compare(first: Seen, second: Seen | None = None, *, examples: int = 0) -> list[Copies]:
    """Each split of `first` against each of `second`; without `second` each split by itself and
    against the others of its store.

    Of two splits `there` is the later one in the order train, valid, test; of two equal ones that
    of `second`. At most `examples` are listed for each pair.
    """
    sides = (first,) if second is None else (first, second)
    looks = join([side.looks for side in sides])
    alike = group_alike(looks, _gather(sides))
    keys: dict[Kind, NDArray[np.generic]] = {
        "exact": np.concatenate([side.pixels for side in sides]),
        "turned": looks.exact,
        "near": alike,
    }
    places = [
        (side.store, split, side.store.rows(split) + (0 if side is first else len(first.pixels)), i)
        for i, side in enumerate(sides)
        for split in SPLITS
        if split in side.store.splits
    ]
    pairs = [
        sorted((one, other), key=lambda place: SPLITS.index(place[1]))
        for i, one in enumerate(places)
        for other in places[i:]
        if second is None or one[3] != other[3]
    ]
    ids = np.concatenate([side.store.ids for side in sides])
    found: list[Copies] = []
    for (here, a, rows, _), (there, b, others, _) in pairs:
        kinds, partners = _matched(keys, rows, others)
        chosen = [
            *np.flatnonzero(kinds == "exact"),
            *np.flatnonzero(kinds == "turned"),
            *np.flatnonzero(kinds == "near"),
        ][:examples]
        listed = [Example(kinds[i], str(ids[partners[i]]), str(ids[others[i]])) for i in chosen]
        exact, turned, near = (int((kinds == kind).sum()) for kind in keys)
        slides = _shared_slides(here, a, there, b)
        found.append(
            Copies((here, a), (there, b), len(others), exact, turned, near, slides, listed)
        )
    return found


def _matched(
    keys: dict[Kind, NDArray[np.generic]], rows: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """For each of `others` how it is a copy of one of `rows` (None: not), and of which.

    Equal `rows`: of an earlier one.
    """
    kinds = np.full(len(others), None, np.object_)
    partners = np.full(len(others), -1, np.int64)
    within = np.array_equal(rows, others)
    for kind, key in keys.items():
        values, firsts = np.unique(key[rows], return_index=True)  # the first row of each value
        place = np.minimum(np.searchsorted(values, key[others]), len(values) - 1)
        match = (values[place] == key[others]) & (kinds == None)  # noqa: E711
        if within:
            match &= firsts[place] < np.arange(len(others))
        kinds[match] = kind
        partners[match] = rows[firsts[place[match]]]
    return kinds, partners


def _centre(images: Images, size: int) -> Images:
    """The middle of images [k, h, w, 3], contiguous."""
    start = (images.shape[1] - size) // 2
    return np.ascontiguousarray(images[:, start : start + size, start : start + size])


def _gather(sides: tuple[Seen, ...]) -> Callable[[NDArray[np.int64]], Images]:
    """Rows counted through all sides to their pixels."""
    ends = np.cumsum([len(side.pixels) for side in sides])

    def pixels(rows: NDArray[np.int64]) -> Images:
        size = sides[0].size
        out = np.empty((len(rows), size, size, 3), np.uint8)
        which = np.searchsorted(ends, rows, side="right")
        for i, side in enumerate(sides):
            mine = which == i
            out[mine] = _centre(side.store.images[rows[mine] - (ends[i] - len(side.pixels))], size)
        return out

    return pixels


def _shared_slides(here: Store, a: str, there: Store, b: str) -> int | None:
    first, second = (_slides(store, split) for store, split in ((here, a), (there, b)))
    return len(first & second) if first and second else None


def _slides(store: Store, split: str) -> set[str]:
    """The names of the slides a split has patches of; empty where they are not known."""
    names: list[str] = store.manifest.get("slides", [])
    return {names[number] for number in np.unique(store.groups[store.rows(split)]) if number >= 0}
