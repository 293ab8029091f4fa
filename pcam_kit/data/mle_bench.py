"""MLE-bench's split of Kaggle's PCam, as raw data from which a store of its own is built.

Kaggle keeps the labels of its test patches, so MLE-bench (Chan et al. 2024, arXiv:2410.07095) draws
a test part from Kaggle's train set. The rule is in
`mlebench/competitions/histopathologic-cancer-detection/prepare.py` of github.com/openai/mle-bench,
commit 783b15a: scikit-learn's `train_test_split` of the ids in the order of train_labels.csv, with
random_state 0, and as large a share for test as Kaggle's test set has of all its patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import SPLITS, Images, Part, RawCompetition, block_rows, describe_counts
from pcam_kit.data.store_files import IMAGES
from pcam_kit.data.store_reader import MLE_BENCH, Store
from pcam_kit.errors import DataError

SOURCE = "histopathologic-cancer-detection"
COUNTS: dict[Split, int] = {"train": 174_464, "test": 45_561}
# MD5 of its train_labels.csv and answers.csv, from its checksums.yaml
CHECKSUMS: dict[Split, str] = {
    "train": "806d8b128caeeaf4d0091bd6034cd0fb",
    "test": "949d1acc553f3a04b89262f6e24e9fc7",
}


def split_as_mle_bench(n: int, n_test: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of Kaggle's `n` labelled patches are for training and for testing: rows, sorted.

    n_test: how many unlabelled test patches Kaggle has.
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(n)
    train, test = train_test_split(rows, test_size=n_test / (n + n_test), random_state=0)
    return np.sort(train), np.sort(test)


def as_mle_bench(store: Store) -> RawCompetition:
    """The labelled patches of Kaggle's store as MLE-bench's train and test part.

    Validation patches are for the store to choose, within the train part. Raises DataError where
    the store has no test patches: their number says how large MLE-bench's test part is.
    """
    if "test" not in store.splits:
        raise DataError(
            f"{store.path} has no test patches: their number says how large the test part of "
            "MLE-bench is",
            hint=f"pcam fetch {SOURCE}, with the images in test/",
        )
    labelled = np.flatnonzero(store.index.parts == SPLITS.index("train"))  # in raw order
    chosen = split_as_mle_bench(len(labelled), store.splits["test"].n)
    profile = Competition.model_validate(
        store.profile.model_dump()
        | {
            "slug": MLE_BENCH,
            "title": "MLE-bench, Histopathologic Cancer Detection",
            "aliases": [],
            "counts": COUNTS,
            "missing_hint": "MLE-bench's test set is scored here: pcam benchmark mle-bench",
        }
    )
    train, test = (labelled[rows] for rows in chosen)
    parts = (_part(store, "train", train), _part(store, "test", test))
    return RawCompetition(profile, parts, _inventory(store), describe_counts(profile, parts))


def is_made_from(ours: Store, store: Store) -> bool:
    """Whether `ours` was built from this very store of Kaggle's patches."""
    return ours.manifest.get("inventory") == _inventory(store)


def is_published_split(ours: Store) -> bool:
    """Whether ids and labels of both parts have the checksums that MLE-bench publishes.

    Only the full data can have them.
    """
    return all(_checksum(ours, split) == expected for split, expected in CHECKSUMS.items())


def _checksum(ours: Store, split: Split) -> str:
    """MD5 of the part's labels, written as MLE-bench does."""
    rows = np.flatnonzero(ours.index.parts == SPLITS.index(split))
    pairs = zip(ours.ids[rows], ours.labels[rows], strict=True)
    text = "id,label\n" + "".join(f"{name},{label}\n" for name, label in pairs)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _inventory(store: Store) -> list[dict[str, Any]]:
    name = f"{store.profile.slug}, store {store.fingerprint}"
    return [{"name": name, "files": 1, "bytes": store.manifest["files"][IMAGES]["bytes"]}]


def _part(store: Store, split: Split, rows: NDArray[np.int64]) -> Part:
    blocks = partial(_blocks, store.images, rows)
    return Part(split, store.ids[rows].tolist(), store.labels[rows], blocks)


def _blocks(images: Images, rows: NDArray[np.int64]) -> Generator[Images, None, None]:
    size = block_rows(images.shape[1])
    for start in range(0, len(rows), size):
        yield images[rows[start : start + size]]
