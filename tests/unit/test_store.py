"""The store: built once, opened at once, verified on request."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import random
import time
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_factories import (
    flip,
    labels,
    patches,
    profile,
    write_csv,
    write_h5,
    write_lab,
    write_pcam,
    write_tifs,
)

from pcam_kit.data import store_files, store_reader
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.store import SplitCount, Store, build_store, open_store, verify_store
from pcam_kit.data.store_files import SCHEMA, Index, data_fingerprint, encode_ids, pack_index
from pcam_kit.errors import DataError


@pytest.fixture
def lab(tmp_path: Path) -> RawCompetition:
    return open_raw(profile("lab_h5"), write_lab(tmp_path / "raw"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tiny" / "store"


def other(raw: RawCompetition) -> RawCompetition:
    """The same with one label changed: another store."""
    changed = raw.parts[0].labels.copy()
    changed[1] = 1 - changed[1]
    return replace(raw, parts=(replace(raw.parts[0], labels=changed), *raw.parts[1:]))


def test_everything_comes_back(lab: RawCompetition, place: Path) -> None:
    told: list[tuple[str, int, int]] = []
    store = build_store(
        lab, place, progress=lambda what, done, total: told.append((what, done, total))
    )
    assert store.splits == {
        "train": SplitCount(24, 8),
        "valid": SplitCount(8, 3),
        "test": SplitCount(6, None),
    }
    for split, n, seed in (("train", 24, 1), ("valid", 8, 2), ("test", 6, 3)):
        rows = store.rows(split)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(store.images[rows], patches(n, seed))
        assert store.ids[rows].tolist() == [str(i) for i in range(n)]
        np.testing.assert_array_equal(
            store.labels[rows], np.full(n, -1) if split == "test" else labels(n)
        )
    assert store.groups.dtype == np.int32
    assert (store.groups == -1).all()
    assert isinstance(store.images, np.memmap)
    assert not store.images.flags.writeable
    assert store.profile == profile("lab_h5")
    assert store.manifest["split"] == {"method": "given"}
    assert not store.synthetic
    assert told[-1] == ("storing patches", 38, 38)
    assert sorted(path.name for path in place.parent.iterdir()) == ["store"]
    verify_store(store)


def test_a_split_that_is_not_there(lab: RawCompetition, place: Path) -> None:
    with pytest.raises(DataError, match="no split 'holdout': it has train, valid, test"):
        build_store(lab, place).rows("holdout")


def test_ids_of_any_script(lab: RawCompetition, place: Path) -> None:
    ids = [f"päti-{i}-組織" for i in range(24)]
    store = build_store(replace(lab, parts=(replace(lab.parts[0], ids=ids), *lab.parts[1:])), place)
    assert store.ids[store.rows("train")].tolist() == ids


@pytest.mark.parametrize("name", ["", " a", "a\x1b[2J", "a\n", "\udcff", "a\u202eb"])
def test_ids_that_no_submission_could_hold(name: str, lab: RawCompetition, place: Path) -> None:
    ids = [*(f"p{i}" for i in range(5)), name]
    with pytest.raises(DataError, match="1 ids of the test part cannot be used") as caught:
        build_store(replace(lab, parts=(*lab.parts[:-1], replace(lab.parts[-1], ids=ids))), place)
    assert caught.value.message.isprintable()
    assert not place.exists()


def test_made_up_tissue_is_marked(place: Path) -> None:
    store = build_store(open_raw(profile("synthetic"), None), place)
    assert store.synthetic
    assert store.manifest["synthetic"] is True
    assert len(store.manifest["slides"]) == 6
    assert len(np.unique(store.groups)) == 6


def test_fingerprint_follows_the_data(lab: RawCompetition, tmp_path: Path) -> None:
    base = build_store(lab, tmp_path / "a")
    again = build_store(lab, tmp_path / "b")
    changed = build_store(other(lab), tmp_path / "c")
    assert base.fingerprint == again.fingerprint
    assert base.split_hash == again.split_hash == changed.split_hash
    assert base.fingerprint != changed.fingerprint


def test_split_is_cut_by_slide_where_slides_are_known(tmp_path: Path, place: Path) -> None:
    raw = open_raw(
        profile("pcam_h5"), write_pcam(tmp_path / "raw", packed=False, valid=False, slides=True)
    )
    store = build_store(raw, place, seed=1)
    assert store.manifest["split"] == {"method": "slides", "seed": 1, "fraction": 0.25}
    assert not set(store.groups[store.rows("train")]) & set(store.groups[store.rows("valid")])
    assert 4 <= store.splits["valid"].n <= 8
    assert not any("optimistic" in note for note in store.notes)


def test_split_keeps_copies_together_where_slides_are_unknown(tmp_path: Path, place: Path) -> None:
    images = patches(24, 1)
    images[1::2] = images[::2]
    write_lab(tmp_path / "raw", valid=False)
    write_h5(tmp_path / "raw/patchcam/train.h5", x=images, y=labels(24))
    raw = open_raw(profile("lab_h5"), tmp_path / "raw")
    store = build_store(raw, place, seed=1)
    valid = {int(name) // 2 for name in store.ids[store.rows("valid")]}
    train = {int(name) // 2 for name in store.ids[store.rows("train")]}
    assert valid
    assert not valid & train
    assert store.manifest["split"]["method"] == "duplicates"
    assert any("optimistic" in note for note in store.notes)
    seeds = {build_store(raw, tmp_path / f"s{seed}", seed=seed).split_hash for seed in (1, 2, 3)}
    assert len(seeds) > 1
    assert store.split_hash in seeds


def test_copies_across_given_parts_are_told(tmp_path: Path, place: Path) -> None:
    write_lab(tmp_path / "raw")
    valid = patches(8, 2)
    valid[:2] = patches(24, 1)[:2]
    write_h5(tmp_path / "raw/patchcam/valid.h5", x=valid, y=labels(8))
    store = build_store(open_raw(profile("lab_h5"), tmp_path / "raw"), place)
    assert "of the valid patches 2 are exact and 0 near copies of train patches" in store.notes


def edit(place: Path, **changes: object) -> None:
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    (place / "manifest.json").write_text(json.dumps(manifest | changes), encoding="utf-8")


def refused(place: Path, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        verify_store(open_store(place))
    assert caught.value.hint == "pcam fetch tiny"


@pytest.fixture
def built(lab: RawCompetition, place: Path) -> Store:
    return build_store(lab, place)


def test_no_store_and_half_a_store(place: Path, built: Store) -> None:
    refused(place.parent / "elsewhere" / ".." / "tiny", "does not exist")
    (place / "manifest.json").unlink()
    refused(place, "half-built store")


@pytest.mark.parametrize("name", ["images.npy", "index.npz"])
def test_missing_cut_and_changed_files(name: str, place: Path, lab: RawCompetition) -> None:
    build_store(lab, place)
    flip(place / name, (place / name).stat().st_size // 2)
    refused(place, "damaged")
    os.truncate(place / name, 700)
    with pytest.raises(DataError, match=r"expected [\d,]+ bytes, found 700"):
        open_store(place)
    gc.collect()  # the tracebacks hold the store open, and Windows deletes no open file
    (place / name).unlink()
    with pytest.raises(DataError, match="found no file"):
        open_store(place)


def test_a_flipped_pixel_of_a_small_store_shows_at_once(place: Path, built: Store) -> None:
    flip(place / "images.npy", 10_000)
    with pytest.raises(DataError, match=r"images\.npy is damaged: the .* bytes from 0 on changed"):
        open_store(place)


def test_a_flipped_pixel_of_a_large_store_shows_in_the_end(
    place: Path, built: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some blocks are looked at, drawn anew each time; all of them when it is verified."""
    for module in (store_files, store_reader):
        monkeypatch.setattr(module, "BLOCK_BYTES", 4096)
    sums = store_files.BlockSums()
    data = (place / "images.npy").read_bytes()
    for start in range(0, len(data), 1000):
        sums.update(data[start : start + 1000])
    assert len(sums.sums()) == -(-len(data) // 4096) == 29
    edit(place, blocks=sums.sums())
    verify_store(open_store(place))
    flip(place / "images.npy", 10_000)
    opened = []
    for _ in range(100):
        with suppress(DataError):
            opened.append(open_store(place))
    assert 50 < len(opened) < 100
    with pytest.raises(DataError, match="SHA-256"):
        verify_store(opened[0])


def test_a_store_of_an_earlier_version_gets_its_sums(place: Path, lab: RawCompetition) -> None:
    build_store(lab, place)
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    sums = manifest.pop("blocks")
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    verify_store(open_store(place))
    assert build_store(lab, place).manifest["blocks"] == sums


def test_an_index_with_another_label_is_refused_at_once(place: Path, built: Store) -> None:
    labels = built.labels.copy()
    labels[3] = 1 - labels[3]
    packed = pack_index(replace(built.index, labels=labels))
    assert len(packed) == (place / "index.npz").stat().st_size
    (place / "index.npz").write_bytes(packed)
    with pytest.raises(DataError, match=r"index\.npz is damaged: its SHA-256 is not the one"):
        open_store(place)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"schema_version": SCHEMA - 1},
            f"schema {SCHEMA - 1}: this version reads schema {SCHEMA}",
        ),
        ({"schema_version": None}, "schema None"),
        ({"profile": {"slug": "tiny"}}, "profile in the manifest does not fit"),
        ({"files": {}}, "manifest is damaged"),
        ({"fingerprint": "0" * 64}, "fingerprint and its manifest differ"),
        ({"split_hash": "0" * 64}, "split hash and its manifest differ"),
        ({"splits": {"train": {"n": 1, "positive": 1}}}, "counts and its manifest differ"),
        ({"synthetic": "no"}, "manifest is damaged"),
        ({"notes": "none"}, "manifest is damaged: no usable 'notes'"),
        ({"notes": [3]}, "no usable 'notes'"),
        ({"slides": {}}, "no usable 'slides'"),
        ({"split": {}}, "manifest is damaged: it has no 'method'"),
        ({"split": []}, "no usable 'split'"),
        ({"stain": "reinhard"}, "manifest is damaged"),
        ({"copies": [3]}, "manifest is damaged"),
        ({"copies": [{"here": "a", "there": "b", "exact": 1, "near": 0, "rows": []}]}, "copies"),
        ({"files": {"images.npy": {"bytes": 1.5}}}, "damaged"),
        ({"files": {"images.npy": 3}}, "damaged"),
        ({"blocks": [1, 2]}, "no usable 'blocks'"),
        ({"blocks": ["x"]}, "no usable 'blocks'"),
        ({"profile": []}, "profile in the manifest does not fit"),
    ],
)
def test_manifests_that_do_not_fit(
    changes: dict[str, object], words: str, place: Path, built: Store
) -> None:
    edit(place, **changes)
    refused(place, words)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "NaN"])
def test_manifests_that_are_none(text: str, place: Path, built: Store) -> None:
    (place / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        open_store(place)


def test_opening_a_large_index_is_instant(place: Path, built: Store) -> None:
    n = 277_483
    index = Index(
        encode_ids([f"{i:040x}" for i in range(n)]),
        np.zeros(n, np.int8),
        np.full(n, -1, np.int32),
        (np.arange(n) % 2).astype(np.uint8),
        np.zeros(n, np.uint8),
    )
    packed = pack_index(index)
    (place / "index.npz").write_bytes(packed)
    np.lib.format.open_memmap(place / "images.npy", "w+", np.uint8, (n, 32, 32, 3))  # sparse
    sums = ["0" * 64, hashlib.sha256(packed).hexdigest()]
    files = {
        name: {"bytes": (place / name).stat().st_size, "sha256": sha256}
        for name, sha256 in zip(("images.npy", "index.npz"), sums, strict=True)
    }
    zeros = zlib.crc32(bytes(store_files.BLOCK_BYTES))
    blocks = [zeros] * -(-files["images.npy"]["bytes"] // store_files.BLOCK_BYTES)
    head = (place / "images.npy").open("rb").read(store_files.BLOCK_BYTES)
    blocks[0], blocks[-1] = (
        zlib.crc32(head),
        zlib.crc32(bytes(files["images.npy"]["bytes"] % len(head))),
    )
    edit(place, files=files, blocks=blocks, fingerprint=data_fingerprint("tiny", *sums))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        store = open_store(place)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.15  # 0.02 s measured
    assert store.ids[-1] == f"{n - 1:040x}"


@pytest.mark.parametrize("name", ["manifest.json", "index.npz", "images.npy"])
def test_stores_with_any_byte_changed(name: str, place: Path, built: Store) -> None:
    """An error that names the store, or the very same store; never anything else."""
    whole, dice = (place / name).read_bytes(), random.Random(2)
    fingerprint, refused = built.fingerprint, 0
    for _ in range(200):
        data = bytearray(whole)
        reach = min(len(data), dice.choice([200, len(data)]))  # headers more often
        for _ in range(dice.choice([1, 1, 4])):
            data[dice.randrange(reach)] = dice.randrange(256)
        if dice.random() < 0.1:
            data = data[: dice.randrange(len(data))]
        (place / name).write_bytes(data)
        try:
            store = open_store(place)
            verify_store(store)
            assert store.fingerprint == fingerprint
            assert (store.notes, store.copies, store.synthetic) is not None
        except DataError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "header",
    [
        {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32, 3)},
        {"descr": "|u1", "fortran_order": True, "shape": (38, 32, 32, 3)},
        {"descr": "|i1", "fortran_order": False, "shape": (38, 32, 32, 3)},
        {"descr": "|O", "fortran_order": False, "shape": (38, 32, 32, 3)},
    ],
)
def test_pixels_that_declare_something_else(
    header: dict[str, object], place: Path, built: Store
) -> None:
    new = io.BytesIO()
    np.lib.format.write_array_header_1_0(new, header)
    data = (place / "images.npy").read_bytes()
    assert len(new.getvalue()) == 128
    (place / "images.npy").write_bytes(new.getvalue() + data[128:])
    with pytest.raises(DataError, match=r"images\.npy"):
        open_store(place)


def test_repeat_of_tifs_from_folder_gives_the_same_store(tmp_path: Path) -> None:
    write_tifs(tmp_path / "raw")
    first, second = (
        build_store(open_raw(profile("tif_folders"), tmp_path / "raw"), tmp_path / name)
        for name in ("a", "b")
    )
    assert first.fingerprint == second.fingerprint
    assert first.splits["valid"].n == 6
    write_csv(
        tmp_path / "raw/train_labels.csv",
        ("id", "label"),
        [(f"train{i:03d}", 1 - label) for i, label in enumerate(labels(24).tolist())],
    )
    assert (
        build_store(open_raw(profile("tif_folders"), tmp_path / "raw"), tmp_path / "c").fingerprint
        != first.fingerprint
    )
