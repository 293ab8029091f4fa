"""What is fuzzed: for each kind of file good ones, how they are changed, and who reads them."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import tifffile
from data_factories import labels, patches, write_lab, write_pcam, write_tifs, zip_folder
from mutators import (
    Mutator,
    deep_json,
    hdf5_features,
    outside_names,
    some_bytes,
    some_json,
    some_json_lines,
    some_text,
    zip_flags,
    zip_members,
)

from pcam_kit import Workspace, downloads, open_store
from pcam_kit.competitions import read_profile
from pcam_kit.parsing import parsing
from pcam_kit.progress import SILENT, silent
from pcam_kit.tissue.inputs import find_images
from pcam_kit.tissue.pictures import damaged
from pcam_kit.tissue.survey import Question, survey
from pcam_kit.tissue.tifs import has_imagecodecs
from pcam_kit.tissue.tiles import cut

PROFILE = """\
# a competition like Kaggle's, with few patches
slug: tiny
title: Tiny tissue
aliases: [very-small]
layout: {layout}
image_size: 32
target_column: label
target: probability
metric: roc_auc
counts: {{train: 24, valid: 8, test: 6}}
default_config: quick
valid_fraction: 0.25
"""
CONFIG = """\
# pcam train quick
#
# What for: a look whether everything works.
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 1, batch_size: 8, learning_rate: 1e-2}
augment:
  d4: true
  transforms:
    - {name: ColorJitter, p: 0.5, options: {brightness: 0.2}}
evaluation: {tta: none}
"""


@dataclass(frozen=True)
class Target:
    """One kind of file and who reads it.

    build: writes good files into an empty working directory. files: patterns of those that are
    changed. mutators: each with True when a checksum covers what it changes, so that nothing else
    may be read without a word. commands: run one after the other. result: what was read, called
    with the working directory and the file with their stdout. preloaded: modules that save time.
    quick, full: how many inputs in `make check` and in `make fuzz`.
    """

    name: str
    build: Callable[[Path], None]
    files: tuple[str, ...]
    mutators: tuple[tuple[Mutator, bool], ...]
    commands: tuple[tuple[str, ...], ...] = ()
    result: Callable[[Path, Path], Any] | None = None
    preloaded: tuple[str, ...] = ()
    quick: int = 12
    full: int = 250


def profile(work: Path, layout: str) -> None:
    folder = work / "configs" / "competitions"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(PROFILE.format(layout=layout), encoding="utf-8")
    (work / "configs" / "quick.yaml").write_text(CONFIG, encoding="utf-8")


def with_raw(work: Path, layout: str, write: Callable[[Path], object]) -> None:
    profile(work, layout)
    write(work / "raw")


def pcam_in(work: Path, *arguments: str) -> None:
    """Run a command that must end well, in another process."""
    child = os.fork()
    if child == 0:
        os.chdir(work)
        log = work.with_suffix(".log")
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(2, 1)
        from pcam_kit.__main__ import main

        try:
            main(list(arguments))
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0, work.with_suffix(".log").read_text(encoding="utf-8")


def with_store(work: Path) -> None:
    with_raw(work, "tif_folders", write_tifs)
    pcam_in(work, "fetch", "tiny", "--from", "raw")


def with_run(work: Path) -> None:
    """A store, and a run whose predictions came from elsewhere."""
    with_store(work)
    store = open_store("tiny", workspace=Workspace(data=work / "data"))
    for split in ("valid", "test"):
        ids = store.ids[store.rows(split)]
        rows = [(id, round(0.1 + 0.8 * i / len(ids), 4)) for i, id in enumerate(ids)]
        with open(work / f"{split}.csv", "w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([("id", "label"), *rows])
    pcam_in(work, "import", "--valid", "valid.csv", "--test", "test.csv")


def with_trained_run(work: Path) -> None:
    with_store(work)
    pcam_in(work, "train", "quick", "--set", "training.precision=float32")
    (run,) = (work / "runs").iterdir()
    shutil.rmtree(run / "predictions")


def with_ledger(work: Path) -> None:
    with_run(work)
    pcam_in(work, "predict", "--out", "submissions/a.csv")
    ledger = work / "submissions" / "ledger.jsonl"
    written = json.loads(ledger.read_text(encoding="utf-8").splitlines()[0])
    base = {"time": written["time"], "schema_version": written.get("schema_version", 1)}
    intent = {
        "event": "intent",
        "id": "0123456789abcdef",
        "csv": written["csv"],
        "sha256": written["sha256"],
        "competition": "tiny",
        "message": "a try",
        "file_name": "a.csv",
        "size": 100,
        "again": False,
        "alike": [],
    }
    sent = {"event": "sent", "id": intent["id"], "ref": 1234567}
    scored = {
        "event": "scored",
        "id": intent["id"],
        "status": "complete",
        "public_score": 0.9,
        "private_score": None,
        "error": None,
    }
    with open(ledger, "a", encoding="utf-8", newline="") as handle:
        for event in (intent, sent, scored):
            handle.write(json.dumps(base | event) + "\n")


def with_compressed_tifs(work: Path) -> None:
    """Tifs as OpenCV writes them: plain, LZW, Deflate, PackBits, and in two strips."""
    with_raw(work, "tif_folders", write_tifs)
    kinds = (1, 5, 8, 32773)
    for i, path in enumerate(sorted((work / "raw" / "train").iterdir())):
        image = cv2.imread(str(path))
        options = [cv2.IMWRITE_TIFF_COMPRESSION, kinds[i % 4], cv2.IMWRITE_TIFF_ROWSPERSTRIP, 16]
        assert image is not None
        assert cv2.imwrite(str(path), image, options)


def with_packed_h5(work: Path) -> None:
    """The lab's files, with chunks, compressed and with checksums."""
    with_raw(work, "lab_h5", write_lab)
    with h5py.File(work / "raw" / "patchcam" / "train.h5", "w") as file:
        file.create_dataset(
            "x", data=patches(24, 1), chunks=(8, 32, 32, 3), compression="gzip", shuffle=True
        )
        file.create_dataset("y", data=labels(24), chunks=(24,), fletcher32=True)


def with_zip(work: Path) -> None:
    with_raw(work, "tif_folders", write_tifs)
    zip_folder(work / "raw", work / "raw.zip")


def with_record(work: Path) -> None:
    """A download that is complete, and its record."""
    with_raw(work, "tif_folders", write_tifs)
    home = work / "data" / "tiny"
    home.mkdir(parents=True)
    (work / "raw").rename(home / "raw")
    crcs = {
        path.relative_to(home / "raw").as_posix(): downloads.crc32c(path, lambda done, total: None)
        for path in sorted((home / "raw").rglob("*"))
        if path.is_file() and path.suffix == ".csv"
    }
    values = {"read": ".", "crcs": crcs, "unproven": []}
    (home / "raw.json").write_text(json.dumps(values), encoding="utf-8")


def with_tissue(work: Path) -> None:
    """Images as `pcam apply` takes them: of every kind that is read."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    (work / "new").mkdir()
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "tiles": {"tile": (64, 64), "compression": "deflate"},
        "strips": {"rowsperstrip": 16, "compression": "deflate", "predictor": 2},
    }
    if has_imagecodecs():
        options["jpeg"] = {"tile": (64, 64), "compression": "jpeg"}
        options["lzw"] = {"rowsperstrip": 16, "compression": "lzw"}
    for name, kinds in options.items():
        tifffile.imwrite(work / "new" / f"{name}.tif", pixels, photometric="rgb", **kinds)
    with tifffile.TiffWriter(work / "new" / "pyramid.tif") as writer:
        writer.write(pixels, photometric="rgb", tile=(64, 64), subifds=1)
        small = np.ascontiguousarray(pixels[::2, ::2])
        writer.write(small, photometric="rgb", tile=(64, 64), subfiletype=1)
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(work / "new" / name), pixels)


def tissue_digest(work: Path, _out: Path) -> str:
    """Hash of all tiles. Raises PcamError for an image that is refused."""
    digest = hashlib.sha256()
    found, _ = survey(find_images([str(work / "new")]).images, Question(96, 96), silent)
    for one in found:
        digest.update(one.name.encode())
        picture = one.source.open()
        try:
            for _, columns, rows in itertools.islice(one.grid.blocks(), 4):
                with parsing(partial(damaged, one.name)):
                    digest.update(cut(picture, one.grid, columns, rows).tobytes())
        finally:
            picture.close()
    return digest.hexdigest()


def with_mnist(work: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        work / "mnist.npz",
        x_train=rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        y_train=np.arange(20) % 10,
        x_test=rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        y_test=np.arange(20) % 10,
    )


def with_answers(work: Path) -> None:
    with_run(work)
    for split in ("valid", "test"):
        rows = list(csv.reader(io.StringIO((work / f"{split}.csv").read_text(encoding="utf-8"))))
        ids = np.array([row[0] for row in rows[1:]])
        values = np.array([float(row[1]) for row in rows[1:]])
        np.savez(work / f"{split}.npz", ids=ids, probabilities=values)


def with_weights(work: Path) -> None:
    """A model of somebody else, of the form that `pcam lab layers` reads."""
    code = (
        "import keras; from keras import layers as L; keras.Sequential([keras.Input((28, 28, 1)), "
        "L.Conv2D(2, 3), L.ReLU(), L.Flatten(), L.Dense(10, activation='softmax')])"
        ".save('model.keras')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=work, check=True, capture_output=True)
    with_mnist(work)


def with_key(work: Path) -> None:
    (work / "kaggle.json").write_text(
        '{"username": "tester", "key": "0123456789abcdef"}', encoding="utf-8"
    )


def with_submission(work: Path) -> None:
    with_store(work)


# --- what was read ----------------------------------------------------------------------------


def store_digest(work: Path, out: Path) -> str:
    """Of all patches with their ids, labels and splits."""
    store = open_store("tiny", workspace=Workspace(data=work / "data"))
    digest = hashlib.sha256(np.ascontiguousarray(store.images).tobytes())
    for column in (store.ids, store.labels, store.index.splits, store.index.parts):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def read_stdout(work: Path, out: Path) -> str:
    return out.read_text(encoding="utf-8")


def read_csv(work: Path, out: Path) -> str:
    return (work / "out.csv").read_text(encoding="utf-8")


def read_record(work: Path, out: Path) -> None:
    """The download is looked for as `pcam fetch` does before it asks Kaggle."""
    from pcam_kit.workflows.download_record import find_complete
    from pcam_kit.workflows.raw_source import source_of

    tiny = read_profile(work / "configs" / "competitions" / "tiny.yaml")
    with SILENT.work() as progress:
        find_complete(source_of(tiny, work / "data" / "tiny", {}), progress)


def read_mnist(work: Path, out: Path) -> str:
    from pcam_kit.lab import mnist

    digits = mnist.from_npz(work / "mnist.npz")
    return hashlib.sha256(digits.train_images.tobytes() + digits.test_labels.tobytes()).hexdigest()


def read_key(work: Path, out: Path) -> None:
    os.environ["KAGGLE_CONFIG_DIR"] = str(work)
    from pcam_kit.kaggle_client import credentials

    credentials.credentials_source()


TEXT: tuple[tuple[Mutator, bool], ...] = ((some_text, False),)
JSON: tuple[tuple[Mutator, bool], ...] = ((some_json, False),) * 9 + ((deep_json, False),)
FETCH = ("fetch", "tiny", "--from", "raw")
SHOW_CONFIG = ("train", "experiment.yaml", "--print-config")


def with_config(work: Path) -> None:
    with_store(work)
    (work / "experiment.yaml").write_text(CONFIG, encoding="utf-8")


ALL = (
    Target("config", with_config, ("experiment.yaml",), TEXT, (SHOW_CONFIG,)),
    Target(
        "competition",
        partial(with_raw, layout="tif_folders", write=write_tifs),
        ("configs/competitions/tiny.yaml",),
        TEXT,
        (("fetch", "configs/competitions/tiny.yaml", "--from", "raw"),),
    ),
    Target(
        "zip",
        with_zip,
        ("raw.zip",),
        ((some_bytes, True), (some_bytes, True), (zip_flags, True), (zip_members, False)),
        (("fetch", "tiny", "--from", "raw.zip"),),
        store_digest,
    ),
    Target(
        "hdf5",
        partial(with_raw, layout="lab_h5", write=write_lab),
        ("raw/patchcam/*.h5",),
        ((some_bytes, False),),
        (FETCH,),
        store_digest,
        full=400,
    ),
    Target(
        "hdf5-packed",
        with_packed_h5,
        ("raw/patchcam/train.h5",),
        ((some_bytes, False),),
        (FETCH,),
        store_digest,
        full=400,
    ),
    Target(
        "hdf5-features",
        partial(with_raw, layout="lab_h5", write=write_lab),
        ("raw/patchcam/train.h5",),
        ((hdf5_features, True),),
        (FETCH,),
        store_digest,
        full=100,
    ),
    Target(
        "hdf5-gz",
        partial(with_raw, layout="pcam_h5", write=write_pcam),
        ("raw/*.gz",),
        ((some_bytes, True),),
        (FETCH,),
        store_digest,
    ),
    Target(
        "tif",
        with_compressed_tifs,
        ("raw/train/train00[0-7].tif",),
        ((some_bytes, False),),
        (FETCH,),
        store_digest,
        full=400,
    ),
    Target(
        "tissue",
        with_tissue,
        ("new/*",),
        ((some_bytes, False),),
        result=tissue_digest,
        full=600,
    ),
    Target(
        "tables",
        partial(with_raw, layout="tif_folders", write=write_tifs),
        ("raw/train_labels.csv", "raw/sample_submission.csv"),
        TEXT,
        (FETCH,),
        store_digest,
        full=300,
    ),
    Target(
        "store",
        with_store,
        ("data/tiny/store/*", "data/tiny/fetched.json"),
        ((some_bytes, True),),
        (("shift", "--json"), ("leaks", "--json")),
        store_digest,
        ("pcam_kit.workflows.shift", "pcam_kit.workflows.copies"),
        full=300,
    ),
    Target(
        "store-manifest",
        with_store,
        ("data/tiny/store/manifest.json", "data/tiny/fetched.json"),
        JSON,
        (("shift",), ("leaks",)),
        store_digest,
        ("pcam_kit.workflows.shift", "pcam_kit.workflows.copies"),
        full=300,
    ),
    Target(
        "run",
        with_run,
        ("runs/*/meta.json", "runs/*/result.json"),
        JSON,
        (("runs",), ("runs", "--json"), ("evaluate",), ("predict", "--out", "out.csv")),
        read_csv,
        ("pcam_kit.workflows.evaluate", "pcam_kit.workflows.predict"),
        full=400,
    ),
    Target(
        "run-config",
        with_run,
        ("runs/*/config.yaml",),
        TEXT,
        (("runs", "--json"), ("evaluate", "--json")),
        read_stdout,
        ("pcam_kit.workflows.evaluate",),
    ),
    Target(
        "predictions",
        with_run,
        ("runs/*/predictions/*.npz",),
        ((some_bytes, True), (zip_flags, True), (zip_members, True)),
        (("evaluate",), ("predict", "--out", "out.csv")),
        read_csv,
        ("pcam_kit.workflows.evaluate", "pcam_kit.workflows.predict"),
        full=400,
    ),
    Target(
        "model",
        with_trained_run,
        ("runs/*/model.keras",),
        ((some_bytes, True), (zip_flags, True), (zip_members, True)),
        (("predict", "--out", "out.csv"),),
        read_csv,
        ("pcam_kit.inference", "pcam_kit.workflows.predict"),
        quick=8,
    ),
    Target(
        "foreign-model",
        with_weights,
        ("model.keras",),
        ((some_bytes, False), (zip_flags, False), (zip_members, False)),
        (("lab", "layers", "./model.keras", "--from", "mnist.npz", "--images", "10"),),
        None,
        ("pcam_kit.inference", "pcam_kit.workflows.lab.layers"),
        quick=6,
        full=150,
    ),
    Target(
        "ledger",
        with_ledger,
        ("submissions/ledger.jsonl",),
        ((some_json_lines, False),) * 9 + ((deep_json, False),),
        (("submissions",), ("submissions", "--json"), ("submissions", "--csv")),
        read_stdout,
        ("pcam_kit.submissions",),
        full=400,
    ),
    Target(
        "submission",
        with_submission,
        ("raw/sample_submission.csv",),
        TEXT,
        (("submit", "raw/sample_submission.csv", "--competition", "tiny", "--dry-run"),),
        None,
        ("pcam_kit.workflows.submit",),
        full=300,
    ),
    Target(
        "import",
        with_answers,
        ("valid.csv", "test.csv"),
        TEXT,
        (("import", "--valid", "valid.csv", "--test", "test.csv"),),
        None,
        ("pcam_kit.workflows.external",),
        full=300,
    ),
    Target(
        "import-npz",
        with_answers,
        ("valid.npz", "test.npz"),
        ((some_bytes, False), (zip_flags, False), (zip_members, False)),
        (("import", "--valid", "valid.npz", "--test", "test.npz"),),
        None,
        ("pcam_kit.workflows.external",),
    ),
    Target(
        "mnist",
        with_mnist,
        ("mnist.npz",),
        ((some_bytes, True), (zip_flags, True), (zip_members, False)),
        (),
        read_mnist,
        ("pcam_kit.lab.mnist",),
    ),
    Target(
        "record",
        with_record,
        ("data/tiny/raw.json",),
        (*JSON, *((outside_names, False),) * 10),
        (),
        read_record,
    ),
    Target("key", with_key, ("kaggle.json",), JSON, (), read_key),
)
TARGETS = {target.name: target for target in ALL}
