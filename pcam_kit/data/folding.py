"""Which patches of a store are train, valid and test: as it was split, or with one fold of train
and valid together as valid.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Fold
from pcam_kit.data.leaks import join, look_at, twins
from pcam_kit.data.raw import SPLITS, block_rows
from pcam_kit.data.split import folds, hash_split
from pcam_kit.data.store_reader import Store
from pcam_kit.errors import DataError


def rows(store: Store, split: str, fold: Fold | None) -> NDArray[np.int64]:
    """Rows of a split, in raw order.

    With a fold, valid is that fold and train all others; test is the same always.
    """
    if fold is None or split not in ("train", "valid"):
        return store.rows(split)
    numbers = _numbers(store, fold.of, fold.seed)
    return np.flatnonzero(
        numbers == fold.index - 1
        if split == "valid"
        else (numbers >= 0) & (numbers != fold.index - 1)
    )


def names(store: Store, chosen: NDArray[np.int64]) -> NDArray[np.str_]:
    """Ids of the rows [n], with the part before them where they come from several: `train-7`. An id
    is unique only within a part.
    """
    parts = store.index.parts[chosen]
    ids = store.ids[chosen]
    return (
        ids
        if len(np.unique(parts)) < 2
        else np.array([f"{SPLITS[part]}-{name}" for part, name in zip(parts, ids, strict=True)])
    )


def folds_hash(store: Store, fold: Fold) -> str:
    """Hex SHA-256 over the fold of every patch: equal for all folds of one folding."""
    numbers = _numbers(store, fold.of, fold.seed)
    pool = np.flatnonzero(numbers >= 0)
    return hash_split(
        [str(number) for number in numbers[pool]],
        [f"{store.index.parts[row]}/{store.ids[row]}" for row in pool],
    )


def slides_known(store: Store) -> bool:
    """Is the slide of every patch of train and valid known, and are there several?"""
    slides = store.groups[_pool(store)]
    return bool((slides >= 0).all()) and len(np.unique(slides)) > 1


def _pool(store: Store) -> NDArray[np.int64]:
    return np.flatnonzero(store.index.splits != SPLITS.index("test"))


# a training asks several times, and looking for twins takes seconds for a large store
@lru_cache(maxsize=1)
def _numbers(store: Store, of: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row of the store, from 0; -1 for test.

    Slides stay whole, and where a slide is not known exact and near copies.
    """
    pool = _pool(store)
    groups = _together(store, pool)
    if (count := len(np.unique(groups))) < of:
        raise DataError(
            f"{store.path}: {of} folds need as many slides or patches, found {count}",
            hint=f"pcam train --folds {count}" if count > 1 else "",
        )
    ids = [
        f"{part}/{name}"
        for part, name in zip(store.index.parts[pool], store.ids[pool], strict=True)
    ]
    numbers = np.full(len(store.labels), -1)
    numbers[pool] = folds(ids, store.labels[pool], groups, of, seed)
    return numbers


def _together(store: Store, pool: NDArray[np.int64]) -> NDArray[np.int64]:
    slides = store.groups[pool].astype(np.int64)
    known = (slides >= 0) & (len(np.unique(slides[slides >= 0])) > 1)
    if known.all():
        return slides
    images = store.images[pool[0] : pool[-1] + 1]  # a view: the pixels stay on disk
    block = block_rows(images.shape[1])
    alike = twins(
        join([look_at(images[start : start + block]) for start in range(0, len(images), block)]),
        images,
    )
    return np.where(known, slides, slides.max() + 1 + alike[pool - pool[0]])
