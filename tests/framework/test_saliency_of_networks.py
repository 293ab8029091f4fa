"""Occlusion maps of Keras networks: plain, saved, and with the symmetries built in."""

# pyright: basic

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from pcam_kit.config.schema import GroupResNet
from pcam_kit.inference import load_model
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.saved import save_model
from pcam_kit.models.task import Task
from pcam_kit.saliency import GRID, occlusion_map

SIDE = 32
STEP = SIDE // GRID


def patch_with_blob(row: int, column: int) -> np.ndarray:
    """Grey noise with a bright spot in a cell of the grid, uint8 [SIDE, SIDE, 3]."""
    patch = np.random.default_rng(0).integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    patch[row * STEP : (row + 1) * STEP, column * STEP : (column + 1) * STEP] = 255
    return patch


def bright_spots() -> keras.Model:
    """A network whose logit is the brightest 4x4 mean: 255 only where there is a bright spot."""
    pixels = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.AveragePooling2D(STEP, strides=1)(x)
    x = layers.GlobalMaxPooling2D()(x)
    dense = layers.Dense(1)
    model = keras.Model(pixels, dense(x))
    dense.set_weights([np.full((3, 1), 4.0), np.array([-8.0])])
    return model


@pytest.mark.parametrize("cell", [(1, 6), (4, 2)])
def test_a_saved_network_is_seen_to_look_at_the_bright_spot(
    cell: tuple[int, int], tmp_path: Path
) -> None:
    save_model(with_probability(bright_spots()), tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras")
    saliency = occlusion_map(
        lambda x: np.asarray(model.predict_on_batch(x))[:, 0], patch_with_blob(*cell)
    )
    assert np.unravel_index(saliency.argmax(), saliency.shape) == cell
    assert saliency.max() > 1


def test_of_an_equivariant_network_the_map_turns_with_the_patch() -> None:
    config = GroupResNet(name="group_resnet", widths=[2, 4], stem_pool=2)
    keras.utils.set_random_seed(1)
    model = with_probability(build_model(config, Task(SIDE)))

    def answer(patches: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict_on_batch(patches))[:, 0]

    patch = patch_with_blob(1, 6)
    straight = occlusion_map(answer, patch)
    turned = occlusion_map(answer, np.ascontiguousarray(np.rot90(patch)))
    assert np.ptp(straight) > 1e-3, "it looks at something"
    assert np.allclose(np.rot90(straight), turned, atol=0.02 * np.ptp(straight))
