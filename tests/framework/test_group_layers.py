"""Group-equivariant layers: turn the image and the features turn, exactly; and the plain form of a
model answers the same.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.models.layers import (
    GroupBatchNormalization,
    GroupConcatenate,
    GroupConv2D,
    GroupPooling,
    LiftingConv2D,
    order_of,
    to_plain,
)

GROUPS = ["p4", "p4m"]
ELEMENTS = [(group, element) for group in GROUPS for element in range(order_of(group))]


def shake(model: keras.Model, seed: int = 0) -> keras.Model:
    """Weights that are neither zero nor one, moving averages included."""
    dice = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (
            (0.5, 2.0) if "variance" in weight.path or "gamma" in weight.path else (-0.4, 0.4)
        )
        weight.assign(dice.uniform(low, high, weight.shape))
    return model


def network(group: str, *, reduce: str | None = None) -> keras.Model:
    """Every layer once: lifting, group convolution with and without border, normalisation,
    addition, concatenation, pooling.
    """
    inputs = keras.Input((12, 12, 3))
    x = LiftingConv2D(3, 3, group=group)(inputs)
    x = layers.ReLU()(GroupBatchNormalization(group=group)(x))
    x = layers.Add()([x, GroupConv2D(3, 3, group=group, use_bias=False)(x)])
    x = layers.AveragePooling2D(2)(x)
    x = GroupConcatenate(group=group)([x, GroupConv2D(2, 3, group=group)(x)])
    x = GroupConv2D(4, 2, group=group, padding="valid")(x)
    if reduce is not None:
        x = layers.GlobalAveragePooling2D()(GroupPooling(group=group, reduce=reduce)(x))
    return shake(keras.Model(inputs, x))


def maps(model: keras.Model, images: NDArray[Any], group: str) -> NDArray[Any]:
    """The features with the group as an axis: [n, h, w, order, channels]."""
    found = np.asarray(model.predict_on_batch(images))
    return found.reshape(*found.shape[:3], order_of(group), -1)


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)


@pytest.mark.parametrize(("group", "element"), ELEMENTS)
def test_features_move_with_the_image(group: str, element: int, images: NDArray[np.float32]):
    model = network(group)
    still = maps(model, images, group)
    moved = maps(model, symmetry.apply(images, element).copy(), group)
    back = symmetry.inverse(element)
    for g in range(order_of(group)):
        expected = symmetry.apply(still[:, :, :, symmetry.compose(g, back)], element)
        np.testing.assert_allclose(moved[:, :, :, g], expected, atol=1e-5 * np.abs(still).max())
    assert element == 0 or np.abs(moved - still).max() > 0.1 * np.abs(still).max(), (
        "else it could not fail"
    )


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("group", GROUPS)
def test_pooled_over_group_and_space_nothing_moves(
    group: str, reduce: str, images: NDArray[np.float32]
):
    model = network(group, reduce=reduce)
    still = np.asarray(model.predict_on_batch(images))
    for element in range(order_of(group)):
        moved = np.asarray(model.predict_on_batch(symmetry.apply(images, element).copy()))
        np.testing.assert_allclose(moved, still, atol=1e-5 * np.abs(still).max())


def test_p4_does_not_know_mirror_images(images: NDArray[np.float32]):
    model = network("p4", reduce="mean")
    still, mirrored = (
        np.asarray(model.predict_on_batch(symmetry.apply(images, element).copy()))
        for element in (0, 4)
    )
    assert np.abs(mirrored - still).max() > 0.01 * np.abs(still).max()


@pytest.mark.parametrize("group", GROUPS)
def test_the_first_map_of_a_lifting_convolution_is_the_plain_one(
    group: str, images: NDArray[np.float32]
):
    layer = LiftingConv2D(5, 3, group=group)
    found = np.asarray(layer(images))
    expected = keras.ops.convert_to_numpy(
        keras.ops.conv(images, np.asarray(layer.kernel)[:, :, 0], padding="same")
    )
    np.testing.assert_allclose(found[..., :5], expected, atol=1e-5)
    assert (
        found.shape
        == (2, 12, 12, 5 * order_of(group))
        == tuple(layer.compute_output_shape(images.shape))
    )


@pytest.mark.parametrize("group", GROUPS)
def test_the_plain_form_answers_the_same_and_needs_no_code_of_ours(
    group: str, images: NDArray[np.float32], tmp_path: Path
):
    model = network(group, reduce="max")
    expected = np.asarray(model.predict_on_batch(images))
    written = to_plain(model)
    np.testing.assert_allclose(
        np.asarray(written.predict_on_batch(images)), expected, atol=1e-5 * np.abs(expected).max()
    )
    written.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(
        np.asarray(loaded.predict_on_batch(images)), expected, atol=1e-5 * np.abs(expected).max()
    )
    kinds = {type(layer).__module__.partition(".")[0] for layer in loaded.layers}
    assert kinds == {"keras"}
    assert to_plain(written) is written


@pytest.mark.parametrize("group", GROUPS)
def test_saved_with_its_own_layers_it_comes_back(
    group: str, images: NDArray[np.float32], tmp_path: Path
):
    model = network(group, reduce="max")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(
        np.asarray(loaded.predict_on_batch(images)), np.asarray(model.predict_on_batch(images))
    )


def test_gradients_are_those_of_finite_differences(images: NDArray[np.float32]):
    """Of a few weights of each kind, by training steps of plain gradient descent: the step is the
    gradient.
    """
    model = network("p4m", reduce="mean")
    target = np.zeros((2, model.output_shape[-1]), np.float32)

    def loss() -> float:
        return float(
            np.mean((np.asarray(model.predict_on_batch(images), np.float64) - target) ** 2)
        )

    before = [np.array(weight) for weight in model.trainable_weights]
    for layer in model.layers:
        # else training sees other statistics than `loss`
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    places = {weight.path: np.array(weight) for weight in model.trainable_weights}
    model.train_on_batch(images, target)
    steps = {
        weight.path: places[weight.path] - np.array(weight) for weight in model.trainable_weights
    }
    for weight in model.weights:
        if weight.path in places:
            weight.assign(places[weight.path])
    dice = np.random.default_rng(2)
    for weight in model.trainable_weights:
        for _ in range(3):
            at = tuple(dice.integers(side) for side in weight.shape)
            losses = []
            for change in (1e-2, -1e-2):
                value = places[weight.path].copy()
                value[at] += change
                weight.assign(value)
                losses.append(loss())
            weight.assign(places[weight.path])
            expected = (losses[0] - losses[1]) / 2e-2
            assert steps[weight.path][at] == pytest.approx(
                expected, rel=0.03, abs=float(2e-3 * np.abs(steps[weight.path]).max())
            )
    assert len(before) > len(places)


def test_statistics_are_shared_by_the_group():
    layer = GroupBatchNormalization(group="p4m")
    x = np.random.default_rng(3).normal(2.0, 3.0, size=(6, 4, 4, 8 * 2)).astype(np.float32)
    found = np.asarray(layer(x, training=True)).reshape(6, 4, 4, 8, 2)
    np.testing.assert_allclose(found.mean((0, 1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((0, 1, 2, 3)), 1, atol=1e-3)
    assert [tuple(weight.shape) for weight in layer.weights] == [(2,)] * 4


@pytest.mark.parametrize(
    "options", [{}, {"center": False, "scale": False}, {"momentum": 0.5, "epsilon": 0.1}]
)
def test_normalisation_is_that_of_keras_with_the_group_as_an_axis_of_space(options: dict[str, Any]):
    ours, theirs = (
        GroupBatchNormalization(group="p4", **options),
        layers.BatchNormalization(**options),
    )
    x = np.random.default_rng(4).normal(2.0, 3.0, size=(6, 4, 4, 4 * 2)).astype(np.float32)
    for training in (True, True, False):
        found = np.asarray(ours(x, training=training))
        expected = np.asarray(theirs(x.reshape(6, 4, 16, 2), training=training)).reshape(x.shape)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for mine, its in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5)
    frozen = [np.array(weight) for weight in ours.weights]
    ours.trainable = False
    ours(x + 5, training=True)
    assert all(
        np.array_equal(np.array(weight), old)
        for weight, old in zip(ours.weights, frozen, strict=True)
    )


def test_parameters_do_not_grow_with_the_expanded_width():
    model = network("p4m")
    kernels = [weight for weight in model.weights if "kernel" in weight.path]
    assert [tuple(kernel.shape) for kernel in kernels] == [
        (3, 3, 1, 3, 3),
        (3, 3, 8, 3, 3),
        (3, 3, 8, 3, 2),
        (2, 2, 8, 5, 4),
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LiftingConv2D(3, 3, group="p6"), "group must be one of p4, p4m"),
        (lambda: LiftingConv2D(3, 4), "even kernel"),
        (lambda: GroupConv2D(3, 3)(np.zeros((1, 4, 4, 12), np.float32)), "multiple of 8 channels"),
        (lambda: GroupPooling(reduce="median"), "max or mean"),
    ],
)
def test_what_cannot_be_is_told(make: Any, words: str):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_group_table_is_a_group():
    """compose and inverse, which the layers take their order from, on the subgroup of rotations
    too.
    """
    for order in (4, 8):
        for g in range(order):
            assert symmetry.compose(g, symmetry.inverse(g)) == 0
            row = [symmetry.compose(k, g) for k in range(order)]
            assert sorted(row) == list(range(order))
            assert all(a != b for a, b in pairwise(row))
