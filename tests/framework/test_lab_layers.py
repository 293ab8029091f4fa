"""NumPy against Keras: random chains of every supported layer, and the models that are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from keras import layers

from pcam_kit.config.schema import LabCnn, ReportCnn
from pcam_kit.errors import UsageError
from pcam_kit.lab import compare, numpy_cnn
from pcam_kit.lab.convert import to_numpy
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.task import Task

ACTIVATIONS = ["linear", "relu", "sigmoid", "softmax"]


def random_model(draw: Callable[[st.SearchStrategy[Any]], Any]) -> keras.Model:
    """A chain of random layers with random weights, batch-norm statistics included."""
    rows, columns, channels = draw(
        st.tuples(st.integers(4, 14), st.integers(4, 14), st.integers(1, 4))
    )
    x = inputs = keras.Input((rows, columns, channels))
    if draw(st.booleans()):
        x = layers.Rescaling(1 / 127.5, offset=draw(st.sampled_from([-1.0, 0.0])))(x)
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(image_layers(min(x.shape[1:3])))()
        assume(not wrong_in_tensorflow(layer, x))
        x = layer(x)
    x = draw(st.sampled_from([layers.Flatten, layers.GlobalAveragePooling2D]))()(x)
    for _ in range(draw(st.integers(0, 2))):
        x = draw(st.one_of(DENSE, *vector_layers()))()(x)
    x = layers.Dense(draw(st.integers(1, 5)), activation=draw(st.sampled_from(ACTIVATIONS)))(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for weight in model.weights:
        positive = weight.name == "moving_variance"
        values = (
            rng.uniform(0.2, 2, weight.shape)
            if positive
            else rng.normal(scale=0.5, size=weight.shape)
        )
        weight.assign(values.astype(np.float32))
    return model


def wrong_in_tensorflow(layer: Any, x: Any) -> bool:
    """Where TensorFlow 2.21 on CPU takes memory that is not the image's: found by this test, see
    EXPERIMENTS.md.

    One input channel, row stride 1, column stride above 1, one column of output. Right with
    TF_ENABLE_ONEDNN_OPTS=0.
    """
    if (
        not isinstance(layer, layers.Conv2D)
        or x.shape[-1] != 1
        or layer.strides[0] != 1
        or layer.strides[1] == 1
    ):
        return False
    return layer.compute_output_shape(x.shape)[2] == 1


def image_layers(smallest: int) -> st.SearchStrategy[Any]:
    """Makers of layers for images; nothing of Keras is built while hypothesis draws."""
    side, step = st.integers(1, min(5, smallest)), st.integers(1, 3)
    window, strides, padding = (
        st.tuples(side, side),
        st.tuples(step, step),
        st.sampled_from(["same", "valid"]),
    )
    activation = st.sampled_from(ACTIVATIONS)
    convolution = partial(
        st.builds, partial, st.just(layers.Conv2D), activation=activation, use_bias=st.booleans()
    )
    return st.one_of(
        convolution(st.integers(1, 6), window, strides, padding),
        st.builds(
            partial, st.just(layers.MaxPooling2D), window, st.one_of(st.none(), strides), padding
        ),
        st.just(partial(layers.MaxPooling2D, 2, padding="same")),
        st.builds(
            partial, st.just(layers.BatchNormalization), scale=st.booleans(), center=st.booleans()
        ),
        *vector_layers(),
    )


def vector_layers() -> list[st.SearchStrategy[Any]]:
    """Makers of layers for anything."""
    plain = st.sampled_from([partial(layers.Dropout, 0.5), layers.ReLU, layers.Softmax])
    return [plain, st.builds(partial, st.just(layers.Activation), st.sampled_from(ACTIVATIONS))]


DENSE = st.builds(
    partial,
    st.just(layers.Dense),
    st.integers(1, 6),
    st.sampled_from(ACTIVATIONS),
    use_bias=st.booleans(),
)


# of a single value; fine here
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
@given(st.data())
# shrinking builds networks for minutes
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_any_chain_gives_what_keras_gives(data: st.DataObject):
    model = random_model(data.draw)
    pixels = np.random.default_rng(0).integers(
        256, size=(3, *model.input_shape[1:]), dtype=np.uint8
    )
    if not compare.scales_pixels(model):
        pixels = (pixels / np.float32(255)).astype(np.float32)
    converted = to_numpy(model)
    differences = compare.layer_by_layer(model, converted, pixels[0])
    assert [d.name for d in differences] == [layer.name for layer in model.layers[1:]]
    too_large = [
        (d.kind, d.max_abs_diff, d.max_loop_diff) for d in differences if not d.within(1e-5)
    ]
    assert too_large == []
    outputs, expected = converted.predict(pixels), compare.predict_with_keras(model, pixels)
    np.testing.assert_allclose(
        outputs, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(expected).max()))
    )
    assert converted.parameters == model.count_params()


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (LabCnn(name="lab_cnn"), Task(32)),
        (LabCnn(name="lab_cnn", units=None, filters=[4, 8]), Task(28, 1, 10)),
        (ReportCnn(name="report_cnn", filters=[8, 16], units=16, batch_norm=True), Task(32)),
    ],
)
def test_our_plain_networks_as_they_are_saved(config: Any, task: Task):
    model = with_probability(build_model(config, task))
    pixels = np.random.default_rng(0).integers(
        256, size=(300, task.size, task.size, task.channels), dtype=np.uint8
    )
    converted = to_numpy(model)
    done: list[int] = []
    outputs = converted.predict(pixels, done.append)
    np.testing.assert_allclose(outputs, model.predict_on_batch(pixels), atol=1e-5)
    assert done[-1] == 300
    assert done == sorted(done)
    # they are probabilities already
    np.testing.assert_array_equal(compare.probabilities(outputs, model), outputs)


def test_layers_that_stand_in_two_places():
    relu = layers.ReLU()
    inputs = keras.Input((8, 8, 1))
    first = keras.Sequential([inputs, layers.Conv2D(3, 3), relu, layers.Flatten(), layers.Dense(4)])
    x = relu(layers.Conv2D(2, 3)(relu(layers.Conv2D(3, 3)(inputs))))
    second = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    third = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            *first.layers[:2],
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    image = np.random.default_rng(0).normal(size=(8, 8, 1))
    for model in (first, second, third):
        assert all(d.within(1e-5) for d in compare.layer_by_layer(model, to_numpy(model), image))


def test_a_wrong_layer_is_out_of_tolerance(monkeypatch: pytest.MonkeyPatch):
    model = with_probability(build_model(LabCnn(name="lab_cnn", filters=[4], units=4), Task(32)))
    right = numpy_cnn.conv2d
    monkeypatch.setattr(
        numpy_cnn, "conv2d", lambda x, kernels, *rest: right(x, numpy_cnn.flipped(kernels), *rest)
    )
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    differences = compare.layer_by_layer(model, to_numpy(model), pixels)
    # its own fault, not that of the layers after it
    assert [d.kind for d in differences if not d.within(1e-3)] == ["Conv2D relu"]


def test_nan_is_never_within_tolerance():
    d = compare.LayerDifference("a", "Dense", (1,), 1, 1.0, 1.0, float("nan"), float("nan"), None)
    assert not d.within(1e9)


def test_the_outputs_of_a_model_without_softmax_are_taken_as_logits():
    inputs = keras.Input((4, 4, 1))
    two = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    one = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    np.testing.assert_allclose(
        compare.probabilities(np.array([[0.0, np.log(3)]]), two), [[0.25, 0.75]]
    )
    np.testing.assert_allclose(compare.probabilities(np.array([[np.log(3)]]), one), [[0.75]])


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda x: layers.AveragePooling2D(2, name="odd")(x),
        r"'odd' \(AveragePooling2D\).*supported are Conv2D",
    ),
    (
        lambda x: layers.Conv2D(2, 3, dilation_rate=2, name="odd")(x),
        r"'odd' \(Conv2D\).*dilation_rate must be \(1, 1\), found \(2, 2\)",
    ),
    (lambda x: layers.Conv2D(2, 3, groups=2, name="odd")(x), r"groups must be 1, found 2"),
    (
        lambda x: layers.Conv2D(2, 3, activation="tanh", name="odd")(x),
        r"'odd'.*activation must be .* found tanh",
    ),
    (lambda x: layers.Activation("gelu", name="odd")(x), r"'odd'.*found gelu"),
    (lambda x: layers.ReLU(max_value=6, name="odd")(x), r"max_value must be None, found 6"),
    (lambda x: layers.BatchNormalization(axis=1, name="odd")(x), r"axis must be the last, found 1"),
    (lambda x: layers.GlobalAveragePooling2D(keepdims=True, name="odd")(x), r"keepdims"),
    (lambda x: layers.Dense(3, name="odd")(x), r"'odd' \(Dense\).*flatten or pool"),
    (lambda x: layers.Add(name="odd")([x, x]), r"'odd' \(Add\).*2 inputs"),
    (lambda x: keras.Model(x, layers.ReLU()(x), name="odd")(x), r"odd is a model inside"),
]


@pytest.mark.parametrize(("layer", "words"), REFUSED)
def test_what_is_not_supported_is_named(layer: Callable[[Any], Any], words: str):
    inputs = keras.Input((8, 8, 2))
    with pytest.raises(UsageError, match=words):
        to_numpy(keras.Model(inputs, layers.Flatten()(layer(inputs))))


def test_one_input_and_one_output():
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    with pytest.raises(UsageError, match="found 2 and 1"):
        to_numpy(keras.Model([a, b], layers.Add()([a, b])))
