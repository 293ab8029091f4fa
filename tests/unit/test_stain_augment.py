"""What scaling and shifting haematoxylin and eosin does to the pixels of a patch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Augment, Stain
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.stain import restain

HAEMATOXYLIN, EOSIN = (
    np.array(v) / np.linalg.norm(v) for v in ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
)
REST = np.cross(HAEMATOXYLIN, EOSIN) / np.linalg.norm(np.cross(HAEMATOXYLIN, EOSIN))
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 17, 17, 3), dtype=np.uint8)


def mixture(h: NDArray[np.float64], e: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Pixels of tissue that holds so much of the two."""
    density = h[..., None] * HAEMATOXYLIN + e[..., None] * EOSIN
    return np.rint(256 * np.exp(-density) - 1).clip(0, 255).astype(np.uint8)


def by_hand(
    image: NDArray[np.uint8], factors: NDArray[np.float32], shifts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Each step apart, in double precision."""
    density = -np.log((image.astype(np.float64) + 1) / 256)
    amounts = np.linalg.solve(np.stack([HAEMATOXYLIN, EOSIN, REST]).T, density.reshape(-1, 3).T).T
    changed = (amounts * factors + shifts) @ np.stack([HAEMATOXYLIN, EOSIN, REST])
    return (256 * np.exp(-changed) - 1).clip(0, 255).reshape(image.shape)


def test_factors_of_one_change_nothing() -> None:
    levels = np.arange(256, dtype=np.uint8)
    every = np.stack(np.meshgrid(levels[::5], levels[::5], levels[::5]), axis=-1).reshape(
        1, -1, 52, 3
    )
    out = restain(every, np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32))
    assert np.abs(out.astype(int) - every).max() <= 1
    zero = Augmenter(Augment(d4=False, stain=Stain(strength=0.0)), seed=0)(
        IMAGES, np.arange(24), 1, 24
    )
    assert np.abs(zero.astype(int) - IMAGES).max() <= 1


def test_it_is_what_the_steps_give_one_by_one() -> None:
    factors, shifts = (
        RNG.uniform(low, high, (24, 3)).astype(np.float32)
        for low, high in ((0.5, 1.5), (-0.3, 0.3))
    )
    out = restain(IMAGES, factors, shifts)
    for image, factor, shift, found in zip(IMAGES, factors, shifts, out, strict=True):
        np.testing.assert_allclose(found, by_hand(image, factor, shift), atol=0.51)


def test_more_haematoxylin_is_more_haematoxylin() -> None:
    h, e = RNG.uniform(0.1, 0.9, (2, 1, 32, 32))
    for factors, expected in (
        ((1.4, 1, 1), mixture(1.4 * h, e)),
        ((1, 0.6, 1), mixture(h, 0.6 * e)),
        ((1, 1, 3), mixture(h, e)),
    ):
        out = restain(mixture(h, e), np.array([factors], np.float32), np.zeros((1, 3), np.float32))
        assert np.abs(out.astype(int) - expected).max() <= 2, "rounding of the pixels, scaled"


def test_white_stays_white_and_black_stays_dark() -> None:
    ends = np.stack(
        [
            np.full((8, 8, 3), 255, np.uint8),
            np.full((8, 8, 3), 250, np.uint8),
            np.zeros((8, 8, 3), np.uint8),
        ]
    )
    white, bright, black = Augmenter(Augment(stain=Stain(strength=0.3)), seed=1)(
        ends.repeat(50, 0), np.arange(150), 1, 150
    ).reshape(3, 50, 8, 8, 3)
    assert white.min() >= 254
    assert bright.min() >= 245
    assert black.max() <= 10


@given(st.lists(st.integers(0, 23), min_size=1, max_size=24, unique=True), st.integers(1, 24))
@settings(max_examples=40, deadline=None)
def test_no_cut_of_the_batches_changes_a_patch(rows: list[int], size: int) -> None:
    config = Augment(stain=Stain(strength=0.3, shift=0.1))
    whole = Augmenter(config, seed=7)(IMAGES, np.arange(24), 3, 24)
    augmenter = Augmenter(config, seed=7)
    for start in range(0, len(rows), size):
        part = np.array(rows[start : start + size])
        np.testing.assert_array_equal(augmenter(IMAGES[part], part, 3, 24), whole[part])


def test_epochs_and_seeds_differ_and_the_symmetry_is_as_without() -> None:
    rows = np.arange(24)
    plain, stained = (Augment(stain=stain) for stain in (None, Stain(strength=0.2, shift=0.05)))
    first, second = (Augmenter(stained, seed=2)(IMAGES, rows, epoch, 24) for epoch in (1, 2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Augmenter(stained, seed=3)(IMAGES, rows, 1, 24))
    turned = Augmenter(plain, seed=2)(IMAGES, rows, 1, 24)
    for a, b, c in zip(IMAGES, turned, first, strict=True):
        distances = [np.abs(symmetry.apply(a, g).astype(int) - c).mean() for g in range(8)]
        np.testing.assert_array_equal(symmetry.apply(a, int(np.argmin(distances))), b)


def test_amounts_are_spread_evenly_over_their_range() -> None:
    h = np.full((4000, 2, 2), 0.6)
    out = Augmenter(Augment(d4=False, stain=Stain(strength=0.5)), seed=0)(
        mixture(h, h), np.arange(4000), 1, 4000
    )
    density = -np.log((out[:, 0, 0].astype(float) + 1) / 256)
    found = np.linalg.solve(np.stack([HAEMATOXYLIN, EOSIN, REST]).T, density.T)[0] / 0.6
    assert found.min() == pytest.approx(0.5, abs=0.03)
    assert found.max() == pytest.approx(1.5, abs=0.03)
    assert np.quantile(found, [0.25, 0.5, 0.75]) == pytest.approx([0.75, 1.0, 1.25], abs=0.04)


def test_in_a_config(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {name: lab_cnn}\naugment: {stain: {strength: 0.2}}\n", encoding="utf-8")
    assert load_experiment(str(path)).augment.stain == Stain(strength=0.2, shift=0.0)
    path.write_text("model: {name: lab_cnn}\naugment: {stain: {strenght: 0.2}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"augment\.stain\.strenght"):
        load_experiment(str(path))
    path.write_text("model: {name: lab_cnn}\naugment: {stain: {strength: 1.0}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"augment\.stain\.strength"):
        load_experiment(str(path))
    path.write_text("model: {name: lab_cnn}\n", encoding="utf-8")
    assert load_experiment(str(path)).augment.stain is None
