"""Transfer learning: pixels as each backbone wants them, weights that are the right ones, the head
first and then all of it.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import applications, layers

from pcam_kit.config.schema import Experiment, Training, Transfer
from pcam_kit.errors import ConfigError
from pcam_kit.models import build_model
from pcam_kit.models.efficientnet_lite import SCALES
from pcam_kit.models.pretrained import check_normalisation, load_pretrained, read_pretrained
from pcam_kit.models.task import Task
from pcam_kit.models.transfer import (
    DEVIATION,
    FAMILIES,
    MEAN,
    build_application,
    preprocess,
    rate_factors,
    stage_numbers,
)
from pcam_kit.training.schedule import Phases, build_optimizer
from pcam_kit.workflows.initial_weights import check_config

SMALL = "MobileNetV3Small"
PIXELS = np.random.default_rng(0).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
# where Keras has `preprocess_input` of each backbone of its own
MODULES: dict[str, Any] = {
    "EfficientNetB0": applications.efficientnet,
    "EfficientNetV2B0": applications.efficientnet_v2,
    "DenseNet121": applications.densenet,
    "ResNet50": applications.resnet,
    "ResNet50V2": applications.resnet_v2,
    "ConvNeXtTiny": applications.convnext,
    "MobileNetV3Small": applications.mobilenet_v3,
}


def test_every_backbone_is_of_keras_or_efficientnet_lite():
    assert set(FAMILIES) == set(MODULES) | set(SCALES)


def config(**values: Any) -> Transfer:
    return Transfer(**{"name": "transfer", "backbone": SMALL, "weights": None} | values)


@functools.cache
def whole(backbone: str) -> keras.Model:
    """A model of keras.applications at 32 px whose weights are all different."""
    model = build_application(backbone, 32)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "variance" in weight.path or len(weight.shape) < 2:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape).astype(weight.dtype))
    return model


@functools.cache
def enlarging() -> keras.Model:
    """For 32 px, with its smallest backbone at 72 px."""
    return build_model(config(input_size=72), Task(32))


def features(model: keras.Model) -> Any:
    """What a transferred model's backbone makes of PIXELS."""
    dropout = next(layer for layer in model.layers if isinstance(layer, layers.Dropout))
    return np.asarray(keras.Model(model.input, dropout.input)(PIXELS.astype(np.float32)))


# Pixels


@pytest.mark.parametrize("backbone", MODULES)
def test_pixels_become_what_keras_own_preprocessing_makes_of_them(backbone: str, tmp_path: Path):
    family = FAMILIES[backbone]
    inputs = keras.Input((32, 32, 3))
    # Keras before 3.15 builds no model whose output is its input
    outputs = layers.Identity()(preprocess(inputs, family.mode))
    model = keras.Model(inputs, outputs)
    ours = np.asarray(model(PIXELS.astype(np.float32)))
    model.save(tmp_path / "saved.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "saved.keras")(PIXELS.astype(np.float32)), ours
    )
    expected = MODULES[backbone].preprocess_input(PIXELS.astype(np.float32))
    # preprocess_input leaves it to layers of the network, which ours replaces
    if backbone == "EfficientNetB0":
        expected = keras.applications.imagenet_utils.preprocess_input(
            PIXELS.astype(np.float32), mode="torch"
        )
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_the_patch_is_resized_inside():
    import cv2

    model = enlarging()
    resized = keras.Model(model.input, model.get_layer("resize").output)(PIXELS.astype(np.float32))
    expected = np.stack(
        [
            cv2.resize(image.astype(np.float32), (72, 72), interpolation=cv2.INTER_LINEAR)
            for image in PIXELS
        ]
    )
    np.testing.assert_allclose(np.asarray(resized), expected, atol=1e-2)
    assert model.input_shape == (None, 32, 32, 3)


def test_too_few_pixels_or_other_channels_are_refused():
    with pytest.raises(
        ConfigError, match="MobileNetV3Small needs 32 pixels a side, the patches have 16"
    ):
        build_model(config(), Task(16))
    with pytest.raises(ConfigError, match="1 or 3 channels, found 4"):
        build_model(config(), Task(32, channels=4))


# Weights


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One backbone's weights in each form; the newer ones from a compiled model, so with an
    optimizer beside them.
    """
    paths = {
        suffix: tmp_path_factory.mktemp("weights") / f"small{suffix}"
        for suffix in (".h5", ".weights.h5", ".keras")
    }
    model = whole(SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that .h5 is old
        model.save(paths[".h5"])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save_weights(paths[".weights.h5"])
    model.save(paths[".keras"])
    return paths


def test_a_file_s_weights_give_the_features_that_keras_gives(files: dict[str, Path]):
    model = build_model(config(weights="a file"), Task(32))
    assert load_pretrained(model, config(weights=str(files[".keras"])))
    np.testing.assert_allclose(
        features(model), np.asarray(whole(SMALL)(PIXELS.astype(np.float32))), rtol=1e-4, atol=1e-5
    )
    assert not load_pretrained(model, config())


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_other_files_give_the_same_weights(files: dict[str, Path], suffix: str):
    for a, b in zip(
        read_pretrained(config(weights=str(files[suffix]))), whole(SMALL).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_imagenet_s_weights_give_the_features_that_keras_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """EfficientNetB0, whose normalisation is among its weights, and wrong without the layer that
    Keras adds for imagenet.
    """
    model = whole("EfficientNetB0")
    with pytest.raises(
        ConfigError, match=r"own.h5: the Normalization layer.*deviation \[0.229.*found \[0.0"
    ):
        check_normalisation("own.h5", "EfficientNetB0", model)
    layer = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
    # as in the published file
    layer.set_weights([np.array(MEAN), np.array(DEVIATION), np.array(0)])
    model.save_weights(tmp_path / "published.weights.h5")
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file",
        lambda *_, **__: str(tmp_path / "published.weights.h5"),
    )
    ours = build_model(config(backbone="EfficientNetB0", weights="imagenet"), Task(32))
    load_pretrained(ours, config(backbone="EfficientNetB0", weights="imagenet"))
    expected = np.asarray(
        build_application("EfficientNetB0", 32, "imagenet")(PIXELS.astype(np.float32))
    )
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(features(ours), expected, rtol=1e-3, atol=1e-5)


def test_files_that_do_not_fit_are_refused_with_what_was_expected_and_found(
    files: dict[str, Path], tmp_path: Path
):
    def refused(path: Path, words: str, backbone: str = SMALL) -> None:
        with pytest.raises(ConfigError, match=words) as caught:
            read_pretrained(config(weights=str(path), backbone=backbone))
        assert str(path) in caught.value.message
        assert caught.value.hint

    refused(
        files[".weights.h5"],
        r"weights of ResNet50V2 .*expected 270 arrays, found 206 \(missing: .*too many: ",
        "ResNet50V2",
    )
    cut = tmp_path / "cut.weights.h5"
    cut.write_bytes(files[".weights.h5"].read_bytes()[:100_000])
    refused(cut, "cannot be read")
    text = tmp_path / "text.keras"
    text.write_text("no zip", encoding="utf-8")
    refused(text, "cannot be read: File is not a zip file")
    linked = tmp_path / "linked.weights.h5"
    with h5py.File(linked, "w") as file:
        file["layers"] = h5py.ExternalLink(files[".weights.h5"], "/layers")
    refused(linked, "layers in its weights is a link")
    with h5py.File(linked, "w") as file:
        file["again"] = file["/"]
    refused(linked, "expected 206 arrays, found 0")
    inner = keras.Model(whole(SMALL).input, layers.Dense(7)(whole(SMALL).output))
    inner.save_weights(tmp_path / "top.weights.h5")
    refused(
        tmp_path / "top.weights.h5",
        r"expected 206 arrays, found 208 \(too many: 1 x \[576, 7\], 1 x \[7\]\)",
    )


def test_a_download_that_fails_says_so_and_what_else_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(
        "keras.src.applications.mobilenet_v3.BASE_WEIGHT_PATH", "http://127.0.0.1:1/"
    )
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(
        ConfigError,
        match=r"could not download ImageNet's weights of MobileNetV3Small: .*127\.0\.0\.1:1",
    ) as caught:
        read_pretrained(config(weights="imagenet"))
    for words in ("model.weights=PATH", "model.weights=null", f"{tmp_path}/models"):
        assert words in caught.value.hint
    assert capsys.readouterr().out == ""


def test_missing_files_and_small_patches_are_found_without_keras(tmp_path: Path):
    def whole_config(**values: Any) -> Experiment:
        return Experiment(name="a", model=config(**values))

    check_config(whole_config(), 32)
    check_config(whole_config(weights="imagenet", input_size=64), 16)
    with pytest.raises(ConfigError, match="needs at least 32x32 pixels, the patches have 31x31"):
        check_config(whole_config(), 31)
    with pytest.raises(ConfigError, match=r"model.weights: no file .*gone.weights.h5") as caught:
        check_config(whole_config(weights=str(tmp_path / "gone.weights.h5")), 32)
    assert "imagenet" in caught.value.hint
    (tmp_path / "a.npz").touch()
    with pytest.raises(
        ConfigError, match=r"expected a file that ends in \.h5 or \.keras, found .*a\.npz"
    ):
        check_config(whole_config(weights=str(tmp_path / "a.npz")), 32)


# Rates


@pytest.mark.parametrize(
    ("backbone", "last"),
    [
        ("EfficientNetB0", 7),
        ("ResNet50V2", 4),
        ("ConvNeXtTiny", 4),
        (SMALL, 10),
        ("EfficientNetLite0", 7),
    ],
)
def test_every_stage_of_a_backbone_has_weights_and_they_come_in_order(backbone: str, last: int):
    model = whole(backbone)
    places = [
        place
        for layer, place in zip(model.layers, stage_numbers(backbone, model), strict=True)
        if layer.trainable_weights
    ]
    assert places == sorted(places)
    assert set(places) == set(range(last + 1))


def test_the_factors_are_the_configs():
    model = enlarging()
    before, after = rate_factors(model, config(backbone_rate=0.5, layer_decay=0.8))
    factor = {
        v.path: (a, b) for v, a, b in zip(model.trainable_variables, before, after, strict=True)
    }
    assert [pair for path, pair in factor.items() if path.startswith("logit")] == [(1.0, 1.0)] * 2
    assert factor["conv_1/kernel"] == factor["expanded_conv_10_project/kernel"] == (0.0, 0.5)
    assert factor["expanded_conv_9_project/kernel"] == (0.0, pytest.approx(0.5 * 0.8))
    assert factor["conv/kernel"] == (0.0, pytest.approx(0.5 * 0.8**10))
    assert sum(before) == 2


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_each_variable_moves_as_under_a_plain_optimizer_with_its_rate(name: Any, schedule: Any):
    values: dict[str, Any] = {
        "optimizer": name,
        "schedule": schedule,
        "weight_decay": 0.0 if name == "adam" else 0.3,
    }
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3,))]

    def variables() -> list[Any]:
        return [
            keras.Variable(value, name=label)
            for value, label in zip(start, ("kernel", "bias"), strict=True)
        ]

    together = [*variables(), *variables()]
    phased = build_optimizer(
        Training(learning_rate=0.1, **values), 8, Phases(0, (0.0,) * 4, (1.0, 1.0, 0.3, 0.3))
    )
    plain = [
        (build_optimizer(Training(learning_rate=rate, **values), 8), variables())
        for rate in (0.1, 0.03)
    ]
    phased.build(together)
    for _ in range(8):
        gradients = [
            keras.ops.convert_to_tensor(rng.normal(size=v.shape).astype(np.float32))
            for v in together
        ]
        phased.apply(gradients)
        for (optimizer, own), part in zip(plain, (gradients[:2], gradients[2:]), strict=True):
            optimizer.apply(part, own)
    expected = [v for _, own in plain for v in own]
    for a, b in zip(together, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-6, atol=1e-7)
    # a factor of 1 changes nothing at all
    for a, b in zip(together[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
