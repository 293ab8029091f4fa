"""Batches from processes: those that threads make, their errors, and nothing left behind."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcam_kit import synthetic, train
from pcam_kit.config.schema import Augment, Stain, Transform
from pcam_kit.errors import ConfigError, TrainingError
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches, Workers
from pcam_kit.training.hardware import Accelerator, Hardware
from pcam_kit.workflows import compute

from .conftest import Patches, image_workers

EVERYTHING = Augment(
    stain=Stain(strength=0.1, shift=0.1),
    transforms=[
        Transform(name="Affine", p=0.7, options={"translate_px": [-3, 3]}),
        Transform(name="GaussianBlur", p=0.5),  # of albumentations
    ],
)
QUICK = """\
competition: synthetic
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 1, batch_size: 16}
evaluation: {tta: none}
"""
WRONG_SIZE = Augment(transforms=[Transform(name="RandomResizedCrop", options={"size": [8, 8]})])


def from_processes(patches: Patches, folder: Path, config: Augment) -> Batches:
    path = folder / "images.npy"
    np.save(path, patches.images)
    images = np.load(path, mmap_mode="r")  # does not begin where the file begins
    augmenter, workers = Augmenter(config, seed=3), Workers(2, processes=True)
    return Batches(images, patches.labels, patches.train, 16, 14, augmenter, 3, workers)


def test_they_make_the_batches_that_threads_make(patches: Patches, tmp_path: Path):
    batches = from_processes(patches, tmp_path, EVERYTHING)
    threads = replace(batches, workers=Workers(1))
    with batches.started() as started:
        for epoch in (1, 2):  # the same processes serve both
            running = {process.pid for process in image_workers()}
            assert len(running) == 2
            pairs = zip(started.epoch(epoch), threads.epoch(epoch), strict=True)
            for (images, labels), (expected, expected_labels) in pairs:
                np.testing.assert_array_equal(images, expected)
                np.testing.assert_array_equal(labels, expected_labels)
            assert {process.pid for process in image_workers()} == running
    assert image_workers() == []


def test_an_augmentation_that_fails_says_so(patches: Patches, tmp_path: Path):
    batches = from_processes(patches, tmp_path, WRONG_SIZE)
    with (
        pytest.raises(ConfigError, match=r"transforms\.0 \(RandomResizedCrop\).*\[14, 14\]"),
        batches.started() as started,
    ):
        list(started.epoch(1))
    assert image_workers() == []


def test_a_process_that_is_killed_ends_the_epoch(patches: Patches, tmp_path: Path):
    with from_processes(patches, tmp_path, EVERYTHING).started() as started:
        next(started.epoch(1))
        for process in image_workers():
            process.kill()
        with pytest.raises(TrainingError, match="a process that prepares batches ended") as error:
            list(started.epoch(2))
    assert "--resume" in error.value.hint
    assert image_workers() == []


def test_they_serve_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    gpu = Hardware("tensorflow", (Accelerator("gpu", "a GPU"),))
    monkeypatch.setattr(compute, "read_hardware", lambda: gpu)
    (tmp_path / "quick.yaml").write_text(QUICK, encoding="utf-8")
    synthetic(train=64, valid=40, test=20, workspace=tmp_path)
    with caplog.at_level(logging.INFO):
        train(tmp_path / "quick.yaml", workers=2, workspace=tmp_path)
    assert "computing on a GPU in " in caplog.text
    assert "; batches from 2 processes" in caplog.text
    assert image_workers() == []
