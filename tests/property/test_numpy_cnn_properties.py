"""The NumPy layers: plain loop against vectorised form, both against independent definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from sklearn.metrics import accuracy_score, log_loss

from pcam_kit.errors import DataError
from pcam_kit.lab import numpy_cnn as cnn

SIDES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32 - 1)
PADDINGS: Any = st.sampled_from(["same", "valid"])
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def image_and_window(
    rng: np.random.Generator, rows: int, columns: int, channels: int
) -> tuple[np.ndarray, tuple[int, int]]:
    window = int(rng.integers(1, rows + 1)), int(rng.integers(1, columns + 1))
    return rng.normal(size=(3, rows, columns, channels)), window


@given(SIDES, SIDES, st.integers(1, 3), st.integers(1, 4), STRIDES, PADDINGS, SEEDS)
@settings(max_examples=60, deadline=None)
def test_convolution_loop_and_matrix_product_agree(
    rows, columns, channels, filters, strides, padding, seed
):
    rng = np.random.default_rng(seed)
    images, window = image_and_window(rng, rows, columns, channels)
    kernels, bias = rng.normal(size=(*window, channels, filters)), rng.normal(size=filters)
    whole = cnn.conv2d(images, kernels, bias, strides, padding)
    each = np.stack([cnn.conv2d_loop(image, kernels, bias, strides, padding) for image in images])
    np.testing.assert_allclose(whole, each, rtol=1e-10, atol=1e-10)
    if padding == "same":
        assert whole.shape[1:3] == (-(-rows // strides[0]), -(-columns // strides[1]))


@given(st.integers(3, 12), st.integers(3, 12), st.sampled_from([1, 3, 5]), SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_layer_is_the_sum_of_convolutions_with_flipped_kernels(rows, columns, side, seed):
    rng = np.random.default_rng(seed)
    image, kernels, bias = (
        rng.normal(size=(rows, columns, 2)),
        rng.normal(size=(side, side, 2, 3)),
        rng.normal(size=3),
    )
    expected = np.stack(
        [
            sum(
                convolve2d(image[:, :, c], kernels[::-1, ::-1, c, f], mode="same") for c in range(2)
            )
            + bias[f]
            for f in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(
        cnn.conv2d(image[None], kernels, bias)[0], expected, rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(
        cnn.conv2d_loop(image, kernels, bias), expected, rtol=1e-10, atol=1e-10
    )


@given(SIDES, SIDES, st.integers(1, 3), STRIDES, PADDINGS, SEEDS)
@settings(max_examples=60, deadline=None)
def test_pooling_loop_and_vectorised_are_equal(rows, columns, channels, strides, padding, seed):
    rng = np.random.default_rng(seed)
    images, window = image_and_window(rng, rows, columns, channels)
    images -= 10  # below the zeros of a border that would be wrong here
    whole = cnn.max_pool(images, window, strides, padding)
    np.testing.assert_array_equal(
        whole, [cnn.max_pool_loop(image, window, strides, padding) for image in images]
    )
    assert np.isin(whole, images).all()


@given(SIDES, SIDES, st.integers(1, 3), st.integers(1, 5), SEEDS)
@settings(max_examples=30, deadline=None)
def test_flatten_and_dense_loops_agree_with_the_vectorised_forms(
    rows, columns, channels, outputs, seed
):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(3, rows, columns, channels))
    vectors = cnn.flatten(images)
    np.testing.assert_array_equal(vectors, [cnn.flatten_loop(image) for image in images])
    weights, bias = rng.normal(size=(vectors.shape[1], outputs)), rng.normal(size=outputs)
    np.testing.assert_allclose(
        cnn.dense(vectors, weights, bias),
        [cnn.dense_loop(vector, weights, bias) for vector in vectors],
        rtol=1e-10,
        atol=1e-10,
    )


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8))
def test_activations_are_stable_and_bounded(values):
    x = np.array([values])
    with np.errstate(all="raise", under="ignore"):
        shares, sigmoid = cnn.activate(x, "softmax"), cnn.activate(x, "sigmoid")
    assert shares.sum() == pytest.approx(1)
    assert shares[0, x.argmax()] == shares.max()
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()
    np.testing.assert_allclose(sigmoid + cnn.sigmoid(-x), 1)
    np.testing.assert_array_equal(cnn.activate(x, "relu"), np.where(x > 0, x, 0))
    np.testing.assert_array_equal(cnn.activate(x, "linear"), x)


def test_sigmoid_and_softmax_have_the_values_they_are_known_for():
    np.testing.assert_allclose(cnn.sigmoid(np.array([0.0, np.log(3)])), [0.5, 0.75])
    np.testing.assert_allclose(
        cnn.softmax(np.log(np.array([[1.0, 3.0, 4.0]]))), [[1 / 8, 3 / 8, 4 / 8]]
    )


def test_float32_stays_float32():
    x = np.ones((1, 4, 4, 1), np.float32)
    for out in (
        cnn.conv2d(x, np.ones((3, 3, 1, 2), np.float32), np.zeros(2, np.float32)),
        cnn.max_pool(x),
        cnn.softmax(x),
        cnn.sigmoid(x),
    ):
        assert out.dtype == np.float32


@given(st.integers(1, 30), st.integers(2, 5), SEEDS)
@settings(max_examples=40, deadline=None)
def test_scores_agree_with_scikit_learn(n, classes, seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(classes), n), rng.integers(classes, size=n)
    assert cnn.cross_entropy(probabilities, labels) == pytest.approx(
        log_loss(labels, np.clip(probabilities, 1e-7, 1), labels=range(classes)), rel=1e-5
    )
    assert cnn.accuracy(probabilities, labels) == accuracy_score(
        labels, probabilities.argmax(axis=1)
    )


def test_scores_of_one_output_are_those_of_two_classes():
    p, y = np.array([[0.9], [0.2], [0.6]]), np.array([1, 0, 0])
    assert cnn.accuracy(p, y) == pytest.approx(2 / 3)
    assert cnn.cross_entropy(p, y) == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean())
    assert np.isfinite(cnn.cross_entropy(np.array([[1.0]]), np.array([0])))


@pytest.mark.parametrize(
    ("shape", "labels"),
    [
        ((3, 2), [0, 1]),
        ((3,), [0, 1, 0]),
        ((2, 2), [0, 2]),
        ((2, 2), [-1, 0]),
        ((2, 2), [0.0, 1.0]),
        ((0, 2), []),
    ],
)
def test_scores_refuse_what_does_not_fit(shape, labels):
    for score in (cnn.accuracy, cnn.cross_entropy):
        with pytest.raises(DataError, match="labels"):
            score(np.full(shape, 0.5), np.array(labels))
