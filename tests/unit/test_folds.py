"""Folds of a store: what is in each, what stays together, and that test never moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_factories import labels, patches, profile, write_h5, write_lab, write_pcam

from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Fold
from pcam_kit.data import folds
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import Store, build_store
from pcam_kit.errors import ConfigError, DataError


@pytest.fixture
def lab(tmp_path: Path) -> Store:
    """Slides unknown; each training patch is there twice, and the first validation patch is a copy
    of one of them.
    """
    write_lab(tmp_path / "raw")
    images = patches(24, 1)
    images[1::2] = images[::2]
    write_h5(tmp_path / "raw/patchcam/train.h5", x=images, y=labels(24))
    valid = patches(12, 2)
    valid[0] = images[0]
    write_h5(tmp_path / "raw/patchcam/valid.h5", x=valid, y=labels(12))
    return build_store(open_raw(profile("lab_h5"), tmp_path / "raw"), tmp_path / "store")


def each(store: Store, of: int, seed: int = 0) -> list[Fold]:
    return [Fold(index=i, of=of, seed=seed) for i in range(1, of + 1)]


def test_every_patch_of_train_and_valid_is_held_out_once(lab: Store) -> None:
    pool = np.concatenate([lab.rows("train"), lab.rows("valid")])
    held_out = [folds.split_rows(lab, "valid", fold) for fold in each(lab, 3)]
    assert sorted(np.concatenate(held_out).tolist()) == sorted(pool.tolist())
    for fold, valid in zip(each(lab, 3), held_out, strict=True):
        train = folds.split_rows(lab, "train", fold)
        assert sorted([*train.tolist(), *valid.tolist()]) == sorted(pool.tolist())
        np.testing.assert_array_equal(folds.split_rows(lab, "test", fold), lab.rows("test"))


def test_without_a_fold_the_store_decides(lab: Store) -> None:
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(folds.split_rows(lab, split, None), lab.rows(split))


def test_copies_stay_together_where_slides_are_unknown(lab: Store) -> None:
    assert not folds.slides_known(lab)
    for fold in each(lab, 4):
        valid = set(folds.split_rows(lab, "valid", fold).tolist())
        assert all((row in valid) == (row + 1 in valid) for row in range(0, 24, 2))
        assert (0 in valid) == (int(lab.rows("valid")[0]) in valid)


def test_slides_stay_together_where_they_are_known(tmp_path: Path) -> None:
    raw = open_raw(profile("pcam_h5"), write_pcam(tmp_path / "raw", packed=False, slides=True))
    store = build_store(raw, tmp_path / "store")
    assert folds.slides_known(store)
    pool = np.concatenate([store.rows("train"), store.rows("valid")])
    of = len(np.unique(store.groups[pool]))
    for fold in each(store, of):
        assert len(set(store.groups[folds.split_rows(store, "valid", fold)])) == 1
        assert not set(store.groups[folds.split_rows(store, "valid", fold)]) & set(
            store.groups[folds.split_rows(store, "train", fold)]
        )
    with pytest.raises(
        DataError, match=f"{of + 1} folds need as many slides or patches, found {of}"
    ) as caught:
        folds.split_rows(store, "valid", Fold(index=1, of=of + 1))
    assert caught.value.hint == f"pcam train --folds {of}"


def test_one_hash_for_a_folding_and_another_for_others(lab: Store) -> None:
    assert len({folds.hash_folds(lab, fold) for fold in each(lab, 3)}) == 1
    assert (
        len(
            {
                folds.hash_folds(lab, Fold(index=1, of=of, seed=seed))
                for of in (2, 3)
                for seed in (0, 1)
            }
        )
        == 4
    )


def test_names_tell_the_parts_apart(lab: Store) -> None:
    train, valid = lab.rows("train")[:2], lab.rows("valid")[:2]
    assert folds.patch_names(lab, train).tolist() == lab.ids[train].tolist()
    both = folds.patch_names(lab, np.concatenate([train, valid])).tolist()
    assert both == [
        f"{split}-{name}" for split in ("train", "valid") for name in lab.ids[train].tolist()
    ]
    assert len(set(both)) == 4


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ("{index: 3, of: 2}", "no fold 3 of 2"),
        ("{index: 0, of: 2}", "data.fold.index"),
        ("{index: 1, of: 1}", "data.fold.of"),
    ],
)
def test_a_fold_that_is_none_is_refused(fold: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_experiment("lab", [f"data.fold={fold}"])
