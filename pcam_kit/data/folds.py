"""The rows of train, valid and test: as the store was split, or with one of k folds as valid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Fold
from pcam_kit.data.duplicates import duplicate_groups, fingerprint, join_fingerprints
from pcam_kit.data.raw import SPLITS, block_rows
from pcam_kit.data.split import assign_folds, hash_split
from pcam_kit.data.store_reader import Store
from pcam_kit.errors import DataError


def split_rows(store: Store, split: str, fold: Fold | None) -> NDArray[np.int64]:
    """Rows of a split, in raw order.

    With a fold, valid is that fold and train are all other folds; test is always the same.
    """
    if fold is None or split not in ("train", "valid"):
        return store.rows(split)
    numbers = _fold_numbers(store, fold.of, fold.seed)
    in_fold = numbers == fold.index - 1
    if split == "valid":
        return np.flatnonzero(in_fold)
    return np.flatnonzero((numbers >= 0) & ~in_fold)


def patch_names(store: Store, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Ids of the rows [n], with their part in front where they come from several: `train-7`.

    An id is unique only within a part.
    """
    parts = store.index.parts[rows]
    ids = store.ids[rows]
    if len(np.unique(parts)) < 2:
        return ids
    return np.array([f"{SPLITS[part]}-{name}" for part, name in zip(parts, ids, strict=True)])


def hash_folds(store: Store, fold: Fold) -> str:
    """Hex SHA-256 over the fold of every patch: the same for each of the k folds."""
    numbers = _fold_numbers(store, fold.of, fold.seed)
    rows = np.flatnonzero(numbers >= 0)
    return hash_split(
        [str(number) for number in numbers[rows]],
        [f"{store.index.parts[row]}/{store.ids[row]}" for row in rows],
    )


def slides_known(store: Store) -> bool:
    """Whether the slide of every patch of train and valid is known, and there are several."""
    slides = store.groups[_foldable_rows(store)]
    return bool((slides >= 0).all()) and len(np.unique(slides)) > 1


def _foldable_rows(store: Store) -> NDArray[np.int64]:
    """The rows of train and valid."""
    return np.flatnonzero(store.index.splits != SPLITS.index("test"))


# a training asks several times, and the search for duplicates takes seconds for a large store
@lru_cache(maxsize=1)
def _fold_numbers(store: Store, k: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row of the store, from 0; -1 for test.

    Slides stay together, and where a slide is not known exact and near copies. Raises DataError
    when there are fewer slides or patches than folds.
    """
    rows = _foldable_rows(store)
    groups = _groups(store, rows)
    n = len(np.unique(groups))
    if n < k:
        raise DataError(
            f"{store.path}: {k} folds need as many slides or patches, found {n}",
            hint=f"pcam train --folds {n}" if n > 1 else "",
        )
    parts, names = store.index.parts[rows], store.ids[rows]
    ids = [f"{part}/{name}" for part, name in zip(parts, names, strict=True)]
    numbers = np.full(len(store.labels), -1)
    numbers[rows] = assign_folds(ids, store.labels[rows], groups, k, seed)
    return numbers


def _groups(store: Store, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each of `rows`, equal for those that stay in one fold."""
    slides = store.groups[rows].astype(np.int64)
    several = len(np.unique(slides[slides >= 0])) > 1
    known = (slides >= 0) & several
    if known.all():
        return slides
    images = store.images[rows[0] : rows[-1] + 1]  # a view: the pixels stay on disk
    step = block_rows(store.patch_size)
    blocks = [fingerprint(images[start : start + step]) for start in range(0, len(images), step)]
    duplicates = duplicate_groups(join_fingerprints(blocks), images)
    return np.where(known, slides, slides.max() + 1 + duplicates[rows - rows[0]])
