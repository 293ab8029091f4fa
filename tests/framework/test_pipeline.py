"""Batches and augmentation: complete, repeatable, the same whatever the number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pcam_kit import symmetry
from pcam_kit.config.schema import Augment, Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches, Workers
from pcam_kit.pipeline.images import take
from pcam_kit.pipeline.transforms import others

from .conftest import Patches

NOTHING = Augment(d4=False)
JITTER = Augment(
    transforms=[
        Transform(name="ColorJitter", p=0.8, options={"hue": [-0.1, 0.1]}),
        Transform(name="Affine", p=0.7, options={"translate_px": [-3, 3]}),
    ]
)


def batches(patches: Patches, config: Augment = JITTER, **changes: Any) -> Batches:
    values: dict[str, Any] = {"batch_size": 16, "crop": 16, "seed": 3} | changes
    return Batches(
        patches.images,
        patches.labels,
        patches.train,
        augmenter=Augmenter(config, seed=values["seed"]),
        **values,
    )


def test_an_epoch_has_each_row_at_most_once_with_its_own_label(patches: Patches):
    one = batches(patches, NOTHING)
    seen: list[int] = []
    for images, labels in one.epoch(1):
        assert images.dtype == np.uint8
        assert labels.shape == (16, 1)
        for image, label in zip(images, labels, strict=True):
            row = int(np.flatnonzero((patches.images == image).all((1, 2, 3)))[0])
            assert patches.labels[row] == label[0]
            seen.append(row)
    assert len(seen) == len(set(seen)) == one.steps * 16 == 96
    assert set(seen) <= set(patches.train.tolist())


def test_epochs_differ_and_repeat_whatever_the_number_of_threads(patches: Patches):
    first = [images for images, _ in batches(patches, workers=Workers(1)).epoch(1)]
    again = [images for images, _ in batches(patches, workers=Workers(4)).epoch(1)]
    second = [images for images, _ in batches(patches, workers=Workers(4)).epoch(2)]
    other_seed = [images for images, _ in batches(patches, seed=4).epoch(1)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other_seed)


def test_starting_in_the_middle_of_an_epoch_gives_its_remaining_batches(patches: Patches):
    whole = list(batches(patches).epoch(5))
    rest = list(batches(patches).epoch(5, start=4))
    assert len(rest) == len(whole) - 4
    for (a, la), (b, lb) in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(la, lb)


def test_an_epoch_of_several_passes_is_as_several_epochs(patches: Patches):
    plain, several = batches(patches), batches(patches, passes=3)
    assert several.steps == 3 * plain.steps
    expected = [batch for epoch in (4, 5, 6) for batch in plain.epoch(epoch)]
    found = list(several.epoch(2))
    later = list(several.epoch(2, start=plain.steps + 2))
    for want, have in ((expected, found), (expected[plain.steps + 2 :], later)):
        assert len(want) == len(have)
        for (a, la), (b, lb) in zip(want, have, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(la, lb)


def test_what_happens_to_a_patch_does_not_depend_on_its_batch(patches: Patches):
    augmenter = Augmenter(JITTER, seed=1)
    together = augmenter(patches.images[:20], np.arange(20), 1, 160)
    alone = augmenter(patches.images[7:8], np.array([7]), 1, 160)
    np.testing.assert_array_equal(together[7], alone[0])


def test_symmetries_alone_are_one_of_the_eight_and_all_occur(patches: Patches):
    out = Augmenter(Augment(), seed=0)(patches.images, np.arange(160), 1, 160)
    found = [
        next(g for g in range(8) if np.array_equal(symmetry.apply(a, g), b))
        for a, b in zip(patches.images, out, strict=True)
    ]
    assert set(found) == set(range(8))


def test_transforms_change_pixels_and_keep_them_uint8(patches: Patches):
    out = Augmenter(Augment(d4=False, transforms=JITTER.transforms), seed=0)(
        patches.images, np.arange(160), 1, 160
    )
    assert out.dtype == np.uint8
    assert out.shape == patches.images.shape
    changed = (out != patches.images).any((1, 2, 3)).mean()
    assert 0.8 < changed < 1.0  # neither happens with probability 0.2 x 0.3


def test_an_error_in_a_worker_reaches_the_training(patches: Patches):
    broken = Batches(
        patches.images, patches.labels, np.array([0, 10_000]), 2, 16, Augmenter(NOTHING, seed=0), 0
    )
    with pytest.raises(IndexError):
        list(broken.epoch(1))


def test_fewer_patches_than_a_batch_make_one_smaller_batch(patches: Patches):
    one = Batches(
        patches.images, patches.labels, np.arange(5), 16, 16, Augmenter(NOTHING, seed=0), 0
    )
    assert [len(labels) for _, labels in one.epoch(1)] == [5]


def test_the_crop_is_the_centre():
    images = np.arange(96 * 96 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 96, 96, 3)
    np.testing.assert_array_equal(take(images, np.array([0]), 32), images[:, 32:64, 32:64])


def test_all_faults_of_the_transforms_are_told_at_once():
    faults = [
        Transform(name="ColourJitter"),
        Transform(name="GaussianBlur", options={"blur_limits": [3, 5]}),
        Transform(name="ColorJitter", options={"hue": "red"}),
    ]
    with pytest.raises(ConfigError) as error:
        Augmenter(Augment(transforms=faults), seed=0)
    assert "did you mean 'ColorJitter'" in error.value.message
    assert "blur_limits" in error.value.message
    assert "transforms.2" in error.value.message


def test_the_agpl_namesake_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(others.metadata, "version", lambda name: "2.1.0")
    with pytest.raises(ConfigError, match=r"albumentationsx 2\.1\.0"):
        others.import_albumentations()
