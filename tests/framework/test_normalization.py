"""The fused batch normalisation gives what Keras' own operations give, and the same gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.typing import NDArray

from pcam_kit.models import policy_of
from pcam_kit.models.layers import BatchNormalization, GroupBatchNormalization, fused

tf = pytest.importorskip("tensorflow")
# of the largest value; bfloat16 has 8 binary digits
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2}
MAKE = {
    "plain": BatchNormalization,
    "p4": lambda **options: GroupBatchNormalization(group="p4", **options),
    "p4m": lambda **options: GroupBatchNormalization(group="p4m", **options),
}


class Unfused(BatchNormalization):
    """The same by Keras' operations."""

    call = BatchNormalization._call_unfused


class UnfusedGroup(GroupBatchNormalization):
    """The same by Keras' operations."""

    call = GroupBatchNormalization._call_unfused


def run(layer: Any, x: NDArray[Any], dtype: str, *, training: bool) -> list[NDArray[Any]]:
    """Output, gradients to input and weights of a weighted sum of it, and moving averages."""
    x = ops.cast(x, dtype)
    layer.build(x.shape)
    for weight in layer.trainable_weights:
        weight.assign(np.linspace(0.5, 1.5, weight.shape[0]))
    weights = np.random.default_rng(5).normal(size=x.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer.call(x, training, None)
        loss = ops.sum(ops.cast(y, "float32") * weights)
    variables = [weight.value for weight in layer.trainable_weights]
    gradients = tape.gradient(loss, [x, *variables])
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    moving = [layer.moving_mean, layer.moving_variance]
    return [ops.convert_to_numpy(ops.cast(a, "float32")) for a in (y, *gradients, *moving)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", MAKE)
def test_values_gradients_and_averages_are_those_of_keras(kind: str, dtype: str, training: bool):
    # few values, so that the divisors n and n - 1 of the variance differ
    x = np.random.default_rng(3).normal(2.0, 3.0, size=(3, 4, 2, 8 * 2)).astype(np.float32)
    options: Any = {"momentum": 0.5, "epsilon": 1e-3, "dtype": policy_of(dtype)}
    found = run(MAKE[kind](**options), x, dtype, training=training)
    other = Unfused(**options) if kind == "plain" else UnfusedGroup(group=kind, **options)
    expected = run(other, x, dtype, training=training)
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, its, atol=TOLERANCES[dtype] * np.abs(its).max())


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}])
def test_without_scale_or_shift(options: dict[str, Any]):
    x = np.random.default_rng(3).normal(2.0, 3.0, size=(3, 4, 2, 5)).astype(np.float32)
    for training in (True, False):
        found = run(BatchNormalization(**options), x, "float32", training=training)
        expected = run(Unfused(**options), x, "float32", training=training)
        for mine, its in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, its, atol=1e-5 * np.abs(its).max())


@pytest.mark.parametrize("kind", ["plain", "p4m"])
def test_frozen_it_normalises_with_the_moving_averages(kind: str):
    x = np.random.default_rng(3).normal(2.0, 3.0, size=(3, 4, 2, 8)).astype(np.float32)
    layer = MAKE[kind]()
    layer.trainable = False
    layer.build(x.shape)
    before = [np.array(weight) for weight in layer.weights]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    for weight, old in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(np.array(weight), old)


def test_vectors_and_other_precisions_are_left_to_keras():
    vectors = np.random.default_rng(3).normal(2.0, 3.0, size=(64, 5)).astype(np.float32)
    assert not fused.is_available(vectors)
    found = BatchNormalization()(vectors, training=True)
    expected = layers.BatchNormalization()(vectors, training=True)
    np.testing.assert_array_equal(found, expected)
    assert not fused.is_available(np.zeros((1, 2, 2, 3)))  # float64
