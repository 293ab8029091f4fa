"""One contract for every model of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest

from pcam_kit import symmetry
from pcam_kit.config.schema import (
    Custom,
    External,
    GroupResNet,
    LabCnn,
    P4MDenseNet,
    ReportCnn,
    ResNet,
    Trainable,
    Transfer,
)
from pcam_kit.errors import ConfigError
from pcam_kit.models import build_model, builder_of, with_probability
from pcam_kit.models.task import Task, add_pooling

# Every class of the union is tested with its defaults. Here are the arguments of those that have
# no defaults, and further variants worth a test.
EXAMPLES: dict[type, list[dict[str, Any]]] = {
    ReportCnn: [{"batch_norm": True}],
    LabCnn: [{"units": None}],
    ResNet: [{"widths": [8, 16], "blocks": 2, "stem_stride": 2, "pool": "centre"}],
    GroupResNet: [
        {"widths": [2, 3]},
        {"group": "p4", "widths": [2, 4], "blocks": 2, "stem_pool": 2, "pool": "centre"},
    ],
    P4MDenseNet: [{"growth": 2, "blocks": 3, "layers": 2}],
    Transfer: [{"backbone": "MobileNetV3Small", "weights": None, "input_size": 32}],
    Custom: [{"builder": "framework.own_network:build"}],
}


def tag(kind: Any) -> str:
    """The `name` by which a config chooses this class."""
    return get_args(kind.model_fields["name"].annotation)[0]


def required_arguments(kind: Any) -> list[str]:
    """What a config of this class must give besides its `name`."""
    fields = kind.model_fields.items()
    return [name for name, field in fields if name != "name" and field.is_required()]


def examples(kind: Any) -> list[dict[str, Any]]:
    """The arguments to test a class with: its defaults where it has them, and its EXAMPLES."""
    defaults = [] if required_arguments(kind) else [{}]
    return defaults + EXAMPLES.get(kind, [])


CONFIGS: list[Any] = [
    kind(name=tag(kind), **arguments)
    for kind in get_args(Trainable)
    for arguments in examples(kind)
]
# one size for the large network: each takes seconds to build and trace
CASES = [
    pytest.param(config, size, id=f"{config.name}-{i}-{size}")
    for i, config in enumerate(CONFIGS)
    for size in ((96,) if isinstance(config, Transfer) else (32, 96))
]


@pytest.mark.parametrize("kind", get_args(Trainable), ids=tag)
def test_every_model_of_the_schema_is_covered_and_has_a_builder(kind: Any):
    configs = [config for config in CONFIGS if type(config) is kind]
    assert configs, (
        f"{kind.__name__} has no defaults for {', '.join(required_arguments(kind))}: "
        "give it an entry in EXAMPLES"
    )
    assert callable(builder_of(configs[0]))


def test_imported_predictions_have_no_network():
    with pytest.raises(ConfigError, match="it has no network"):
        build_model(External(name="external"), Task(32))


@pytest.mark.parametrize(("config", "size"), CASES)
def test_uint8_pixels_in_one_finite_logit_out_and_the_saved_model_is_its_sigmoid(
    config: Any, size: int, tmp_path: Path
):
    keras.utils.set_random_seed(1)
    model = build_model(config, Task(size))
    assert model.input_shape == (None, size, size, 3)
    assert model.output_shape == (None, 1)
    pixels = np.random.default_rng(0).integers(256, size=(5, size, size, 3), dtype=np.uint8)
    logits = model.predict_on_batch(pixels)
    assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0  # it depends on the pixels
    with_probability(model).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(
        loaded.predict_on_batch(pixels), 1 / (1 + np.exp(-logits.astype(np.float64))), atol=1e-6
    )


@pytest.mark.parametrize(("config", "size"), CASES)
def test_every_weight_gets_a_gradient(config: Any, size: int):
    model = build_model(config, Task(size))
    before = [np.array(weight) for weight in model.trainable_weights]
    eager = isinstance(config, Transfer)  # three steps are done sooner than traced
    model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=eager,
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        pixels = rng.integers(256, size=(8, size, size, 3), dtype=np.uint8)
        model.train_on_batch(pixels, rng.integers(2, size=(8, 1)).astype(np.float32))
    still = [
        weight.path
        for weight, old in zip(model.trainable_weights, before, strict=True)
        if np.array_equal(np.array(weight), old)
    ]
    assert still == []


@pytest.mark.parametrize(
    "config",
    # a network of the user's own has one input shape and one logit
    [config for config in CONFIGS if not isinstance(config, Custom)],
    ids=lambda config: config.name,
)
def test_ten_classes_in_grey_get_ten_logits_and_the_saved_model_is_their_softmax(config: Any):
    model = build_model(config, Task(28, channels=1, outputs=10))
    pixels = np.random.default_rng(0).integers(256, size=(3, 28, 28, 1), dtype=np.uint8)
    logits = model.predict_on_batch(pixels).astype(np.float64)
    assert logits.shape == (3, 10)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(with_probability(model).predict_on_batch(pixels), shares, atol=1e-6)


def test_the_scale_of_pixels_is_handled_inside():
    model = build_model(LabCnn(name="lab_cnn"), Task(32))
    normalised = keras.Model(model.inputs, model.get_layer("normalise").output)
    out = np.asarray(
        normalised.predict_on_batch(
            np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
        )
    )
    np.testing.assert_allclose([out.min(), out.max()], [-1, 1], atol=1e-6)


def test_the_report_network_has_the_dropout_and_l2_it_names():
    model = build_model(ReportCnn(name="report_cnn"), Task(32))
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [
        0.2,
        0.2,
        0.2,
        0.5,
    ]
    regularised = [
        layer for layer in model.layers if getattr(layer, "kernel_regularizer", None) is not None
    ]
    assert len(regularised) == 7
    assert len(model.losses) == 7


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (GroupResNet(name="group_resnet"), 32),
        (GroupResNet(name="group_resnet", stem_pool=2), 96),
        (P4MDenseNet(name="p4m_densenet", blocks=4), 32),
        (P4MDenseNet(name="p4m_densenet"), 96),
    ],
)
def test_an_equivariant_network_gives_all_eight_forms_of_a_patch_the_same_answer(
    config: Any, size: int
):
    keras.utils.set_random_seed(3)
    model = build_model(config, Task(size))
    images = np.random.default_rng(0).integers(256, size=(6, size, size, 3), dtype=np.uint8)
    logits = np.stack(
        [
            model.predict_on_batch(np.ascontiguousarray(view))[:, 0]
            for view in symmetry.all_views(images)
        ]
    )
    # the same for all views of a patch, different for different patches
    assert np.ptp(logits, axis=0).max() < 1e-4 * np.ptp(logits[0])


def test_the_p4m_densenet_is_about_as_large_as_its_paper_says():
    # there 119,000
    assert build_model(P4MDenseNet(name="p4m_densenet"), Task(96)).count_params() == 124_030


def test_pooling_with_the_centre_looks_at_the_middle_third_beside_the_whole():
    inputs = keras.Input((6, 6, 2))
    maps = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype(np.float32)
    found = keras.Model(inputs, add_pooling(inputs, "centre")).predict_on_batch(maps)
    np.testing.assert_allclose(
        found,
        np.concatenate([maps.mean((1, 2)), maps[:, 2:4, 2:4].mean((1, 2))], axis=1),
        atol=1e-6,
    )
