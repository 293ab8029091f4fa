"""Copies of patches within and between stores: exact, rotated or mirrored, and near.

Patches of different sizes are compared on the centre that both have: a patch of 32 pixels may be
the middle of one of 96. A rotated or mirrored copy ("turned" in results) is found when its pixels
are exactly those of the original; those that were compressed as well are not found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.data.duplicates import (
    Fingerprints,
    group_duplicates,
    hash_perceptually,
    hash_pixels,
    join_fingerprints,
)
from pcam_kit.data.raw import SPLITS, Images, block_rows
from pcam_kit.data.store_reader import Store
from pcam_kit.progress import Progress, silent

Kind = Literal["exact", "turned", "near"]
CELLS = 4  # a side: the sums of 4x4 cells show the orientation of a patch
SYMMETRY_BITS = np.uint64(symmetry.ORDER - 1)  # the bits of a hash that hold the symmetry


@dataclass(frozen=True, eq=False)
class StoreFingerprints:
    """The fingerprints of the centre `size` pixels of every patch of a store.

    fingerprints: `pixel_hashes` are of the patch in its standard orientation, so they are equal for
    rotated and mirrored copies. pixel_hashes: uint64 [n], different for these.
    """

    store: Store
    size: int
    fingerprints: Fingerprints
    pixel_hashes: NDArray[np.uint64]


@dataclass(frozen=True)
class Example:
    """A patch of `there` and the patch of `here` that it is a copy of, by id."""

    kind: Kind
    here: str
    there: str


@dataclass(frozen=True)
class Copies:
    """How many of the `n` patches of the split `there` have a copy in the split `here`.

    Each is counted once, as the closest kind; `turned` are rotated or mirrored. Within a split: how
    many repeat an earlier patch. slides: how many slides are in both by name; None where one split
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


@dataclass(frozen=True, eq=False)
class _Split:
    """One split of one of the compared stores; `rows` count through all of the stores."""

    store: Store
    name: str
    rows: NDArray[np.int64]


def fingerprint_store(store: Store, size: int, progress: Progress = silent) -> StoreFingerprints:
    """Read all patches of a store once, block by block: 17 bytes of each are kept.

    `size` is at most that of the patches.
    """
    n = len(store.images)
    step = block_rows(store.patch_size)
    blocks: list[Fingerprints] = []
    pixel_hashes: list[NDArray[np.uint64]] = []
    for start in range(0, n, step):
        block = _centre(store.images[start : start + step], size)
        elements = standard_elements(block)
        standard_hashes = hash_pixels(symmetry.apply_each(block, elements)) & ~SYMMETRY_BITS
        blocks.append(Fingerprints(standard_hashes, *hash_perceptually(block)))
        pixel_hashes.append(standard_hashes | elements)
        progress(f"fingerprinting {store.profile.slug}", min(start + step, n), n)
    return StoreFingerprints(store, size, join_fingerprints(blocks), np.concatenate(pixel_hashes))


def standard_elements(block: Images) -> NDArray[np.uint64]:
    """The symmetry [k] that brings each image of `block` into its standard orientation.

    All rotated and mirrored copies of an image have the same one. It is the one whose sums over 4x4
    cells are lexicographically smallest; where several are, as in images that are symmetric
    themselves, all their pixels decide.
    """
    k, size = block.shape[:2]
    cells = CELLS if size % CELLS == 0 else size
    sums = block.reshape(k, cells, size // cells, cells, -1).sum(axis=(2, 4), dtype=np.uint32)
    forms = symmetry.all_views(sums[..., None]).reshape(symmetry.ORDER, k, -1)
    smallest = np.ones((symmetry.ORDER, k), np.bool_)
    for cell in np.moveaxis(forms, 2, 0):
        values = np.where(smallest, cell, np.iinfo(np.uint32).max)
        smallest &= values == values.min(axis=0)
    elements = smallest.argmax(axis=0).astype(np.uint64)
    for row in np.flatnonzero(smallest.sum(axis=0) > 1):
        _, elements[row] = min(
            (symmetry.apply(block[row], element).tobytes(), element)
            for element in np.flatnonzero(smallest[:, row]).tolist()
        )
    return elements


def compare_stores(
    first: StoreFingerprints, second: StoreFingerprints | None = None, *, examples: int = 0
) -> list[Copies]:
    """Each split of `first` against each of `second`.

    Without `second` each split of `first` by itself and against the others. Of two splits `there`
    is the later one in the order train, valid, test; of two equal ones that of `second`. At most
    `examples` are listed for each pair.
    """
    sides = (first,) if second is None else (first, second)
    fingerprints = join_fingerprints([side.fingerprints for side in sides])
    keys: dict[Kind, NDArray[np.generic]] = {
        "exact": np.concatenate([side.pixel_hashes for side in sides]),
        "turned": fingerprints.pixel_hashes,
        "near": group_duplicates(fingerprints, _pixel_reader(sides)),
    }
    ids = np.concatenate([side.store.ids for side in sides])
    return [
        _compare_splits(here, there, keys, ids, examples) for here, there in _split_pairs(sides)
    ]


def _split_pairs(sides: Sequence[StoreFingerprints]) -> list[tuple[_Split, _Split]]:
    """The pairs to compare, in each the split that comes first in SPLITS first."""
    splits: list[_Split] = []
    start = 0
    for side in sides:
        for name in SPLITS:
            if name in side.store.splits:
                splits.append(_Split(side.store, name, side.store.rows(name) + start))
        start += len(side.pixel_hashes)
    pairs: list[tuple[_Split, _Split]] = []
    for first, second in combinations_with_replacement(splits, 2):
        if len(sides) > 1 and first.store is second.store:
            continue
        if SPLITS.index(second.name) < SPLITS.index(first.name):
            pairs.append((second, first))
        else:
            pairs.append((first, second))
    return pairs


def _compare_splits(
    here: _Split,
    there: _Split,
    keys: dict[Kind, NDArray[np.generic]],
    ids: NDArray[np.str_],
    examples: int,
) -> Copies:
    matches, originals = _matched(keys, here.rows, there.rows)
    pairs = (
        Example(kind, str(ids[originals[i]]), str(ids[there.rows[i]]))
        for kind, rows in matches.items()
        for i in rows.tolist()
    )
    exact, turned, near = (len(rows) for rows in matches.values())
    return Copies(
        (here.store, here.name),
        (there.store, there.name),
        len(there.rows),
        exact,
        turned,
        near,
        _shared_slides(here, there),
        list(islice(pairs, examples)),
    )


def _matched(
    keys: dict[Kind, NDArray[np.generic]], source: NDArray[np.int64], target: NDArray[np.int64]
) -> tuple[dict[Kind, NDArray[np.int64]], NDArray[np.int64]]:
    """The indices into `target` of the copies of each kind, and of each the row that it copies.

    It copies a row of `source`; where `source` and `target` are equal, an earlier one. That row is
    -1 for a row of `target` that is no copy.
    """
    matches: dict[Kind, NDArray[np.int64]] = {}
    originals = np.full(len(target), -1, np.int64)
    within = np.array_equal(source, target)
    for kind, key in keys.items():
        values, firsts = np.unique(key[source], return_index=True)  # the first row of each value
        place = np.minimum(np.searchsorted(values, key[target]), len(values) - 1)
        match = (values[place] == key[target]) & (originals < 0)
        if within:
            match &= firsts[place] < np.arange(len(target))
        matches[kind] = np.flatnonzero(match)
        originals[match] = source[firsts[place[match]]]
    return matches, originals


def _centre(images: Images, size: int) -> Images:
    """The middle of images [k, h, w, 3], contiguous."""
    start = (images.shape[1] - size) // 2
    return np.ascontiguousarray(images[:, start : start + size, start : start + size])


def _pixel_reader(sides: Sequence[StoreFingerprints]) -> Callable[[NDArray[np.int64]], Images]:
    """A function from rows, counted through all sides, to their pixels."""
    ends = np.cumsum([len(side.pixel_hashes) for side in sides])

    def read_pixels(rows: NDArray[np.int64]) -> Images:
        size = sides[0].size
        out = np.empty((len(rows), size, size, 3), np.uint8)
        numbers = np.searchsorted(ends, rows, side="right")
        for i, side in enumerate(sides):
            selected = numbers == i
            start = ends[i] - len(side.pixel_hashes)
            out[selected] = _centre(side.store.images[rows[selected] - start], size)
        return out

    return read_pixels


def _shared_slides(first: _Split, second: _Split) -> int | None:
    """How many slides both splits have patches of; None where one does not know its slides."""
    first_names, second_names = _slide_names(first), _slide_names(second)
    if not first_names or not second_names:
        return None
    return len(first_names & second_names)


def _slide_names(split: _Split) -> set[str]:
    """The names of the slides a split has patches of; empty where they are not known."""
    store = split.store
    names: list[str] = store.manifest.get("slides", [])
    numbers = np.unique(store.groups[store.rows(split.name)])
    return {names[number] for number in numbers if number >= 0}
