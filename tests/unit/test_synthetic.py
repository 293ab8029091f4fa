"""Made-up tissue: repeatable, from separate slides, learnable but not by colour alone."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from data_factories import profile
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pcam_kit.data import synthetic
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.raw import Part
from pcam_kit.data.synthetic import synthetic_parts
from pcam_kit.errors import DataError


def pixels(part: Part) -> np.ndarray:
    return np.concatenate(list(part.blocks()))


@pytest.fixture(scope="module")
def tissue() -> dict[str, tuple[np.ndarray, Part]]:
    parts = synthetic_parts({"train": 2400, "valid": 1000}, 32, seed=0)
    return {part.split: (pixels(part), part) for part in parts}


def test_parts_are_as_asked(tissue: dict[str, tuple[np.ndarray, Part]]) -> None:
    for split, n in (("train", 2400), ("valid", 1000)):
        images, part = tissue[split]
        assert images.shape == (n, 32, 32, 3)
        assert images.dtype == np.uint8
        assert part.ids == [str(i) for i in range(n)]
        assert 0.4 < part.labels.mean() < 0.6
        assert len(np.unique(images.reshape(n, -1), axis=0)) == n
    slides = [set(part.slides or ()) for _, part in tissue.values()]
    assert len(slides[0]) >= 10
    assert not slides[0] & slides[1]


def test_same_seed_same_pixels_other_seed_others() -> None:
    first, again, other = (
        synthetic_parts({"train": 60, "test": 20}, 32, seed=seed) for seed in (5, 5, 6)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(pixels(a), pixels(b))
        np.testing.assert_array_equal(pixels(a), pixels(a))  # blocks can be read again
        np.testing.assert_array_equal(a.labels, b.labels)
        assert (pixels(a) != pixels(c)).any(axis=(1, 2, 3)).mean() > 0.99


def test_slides_differ_in_stain(tissue: dict[str, tuple[np.ndarray, Part]]) -> None:
    images, part = tissue["train"]
    colour = images.mean(axis=(1, 2))
    slides = np.array(part.slides)
    means = np.stack([colour[slides == name].mean(axis=0) for name in np.unique(slides)])
    assert means.std(axis=0).min() > 4


@pytest.mark.parametrize("size", [64, 96])
def test_tumour_lies_in_the_centre_or_does_not_count(size: int) -> None:
    rng = np.random.default_rng(0)
    low, high = (size - 32) // 2, (size + 32) // 2
    outside = 0
    for _ in range(300):
        nuclei = np.zeros((size, size), np.float32)
        synthetic._draw_tumour(nuclei, False, rng)
        assert not nuclei[low:high, low:high].any()
        outside += bool(nuclei.any())
        nuclei[:] = 0
        synthetic._draw_tumour(nuclei, True, rng)
        assert (nuclei[low:high, low:high] > 0).sum() >= 25
    assert 60 < outside < 180  # some negatives hold tumour beside the centre


def test_small_negatives_hold_no_tumour() -> None:
    nuclei = np.zeros((32, 32), np.float32)
    synthetic._draw_tumour(nuclei, False, np.random.default_rng(0))
    assert not nuclei.any()


def test_mean_colour_tells_something_but_not_much(
    tissue: dict[str, tuple[np.ndarray, Part]],
) -> None:
    (train, train_part), (valid, valid_part) = tissue["train"], tissue["valid"]
    model = LogisticRegression(max_iter=2000).fit(train.mean(axis=(1, 2)) / 20, train_part.labels)
    auc = roc_auc_score(valid_part.labels, model.decision_function(valid.mean(axis=(1, 2)) / 20))
    assert 0.55 < auc < 0.78


def test_the_size_of_nuclei_tells_more(tissue: dict[str, tuple[np.ndarray, Part]]) -> None:
    images, part = tissue["valid"]
    widest = [
        cv2.distanceTransform(
            cv2.threshold(image[..., 0], 0, 255, cv2.THRESH_OTSU | cv2.THRESH_BINARY_INV)[1],
            cv2.DIST_L2,
            5,
        ).max()
        for image in images
    ]
    assert roc_auc_score(part.labels, widest) > 0.8


def test_it_is_fast_enough_for_a_demo() -> None:
    start = time.process_time()
    for part in synthetic_parts({"train": 1000}, 32, seed=1):
        pixels(part)
    assert time.process_time() - start < 4  # 0.3 s measured on one core


def test_the_source_needs_no_path_and_says_what_it_is() -> None:
    raw = open_raw(profile("synthetic"), None, seed=4)
    assert {part.split: part.n for part in raw.parts} == {"train": 24, "valid": 8, "test": 6}
    assert any("synthetic tissue" in note for note in raw.notes)
    assert (
        open_raw(profile("synthetic"), None, seed=5).parts[0].labels != raw.parts[0].labels
    ).any()
    with pytest.raises(DataError, match="at least 32"):
        open_raw(profile("synthetic", image_size=16), None)
    with pytest.raises(DataError, match="no test patches"):
        open_raw(profile("synthetic", counts={"train": 5}), None)
