"""Every network of the schema in every format of export, and what the checks find."""

from __future__ import annotations

import dataclasses
import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import h5py
import keras
import numpy as np
import pytest
from command_line import PATCHES, Layout
from keras import layers

from framework.test_models import CONFIGS, examples, tag
from pcam_kit.config.schema import (
    GroupResNet,
    P4MDenseNet,
    ReportCnn,
    ResNet,
    Trainable,
    Transfer,
)
from pcam_kit.errors import UsageError
from pcam_kit.exports import FORMATS, Network
from pcam_kit.exports.check import TOLERANCE, Check, answers, compare
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.layers.plain import without_3d_pooling
from pcam_kit.models.task import Task

SIZE = 32
# The smallest of each class: conversion takes seconds. Transfer takes 10 to 30 s a format; that it
# can be exported in all of them was tried by hand.
SMALL: dict[type, dict[str, Any]] = {
    ReportCnn: {"filters": [4, 8], "units": 8, "batch_norm": True},
    ResNet: {"widths": [4, 8], "blocks": 1, "stem_stride": 2, "pool": "centre"},
    GroupResNet: {"group": "p4", "widths": [2, 4], "stem_pool": 2, "pool": "centre"},
    P4MDenseNet: {"growth": 2, "blocks": 2, "layers": 1},
}
NETWORKS = {
    tag(kind): kind(name=tag(kind), **SMALL.get(kind, examples(kind)[-1]))
    for kind in get_args(Trainable)
}
CASES = [
    pytest.param(name, form, id=f"{name}-{form}", marks=pytest.mark.slow if big else ())
    for name, config in NETWORKS.items()
    for form in FORMATS
    if not (big := isinstance(config, Transfer)) or form == "onnx"
]


def need(form: str) -> None:
    """Skip where the packages of a format are absent."""
    missing = [name for name in FORMATS[form].modules if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install pcam-kit[{FORMATS[form].extra}]")


@functools.cache
def network(name: str) -> keras.Model:
    """The network with random weights, as a run saves it."""
    keras.utils.set_random_seed(1)
    model = with_probability(build_model(NETWORKS[name], Task(SIZE)))
    gain = 3.0 if name == "transfer" else 1.5  # else a deep network answers 0.5 for all
    for weight in model.weights:
        if weight.path.endswith("/gamma"):
            weight.assign(gain * weight)
    return model


@pytest.fixture(scope="module")
def patches(request: pytest.FixtureRequest) -> np.ndarray:
    """Random ones, and real ones where there are some."""
    if not (PATCHES / "layouts.py").is_file():
        return random_patches(7)
    layout: Layout = request.getfixturevalue("real_patches")
    raw, _ = layout("tnm112", "--train", "8", "--valid", "40", "--test", "8")
    with h5py.File(raw / "patchcam" / "valid.h5") as file:
        return np.concatenate([random_patches(7), np.asarray(file["x"])])


def random_patches(n: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, size, size, 3), dtype=np.uint8)


def exported(model: keras.Model, form: str, folder: Path) -> Any:
    """What the model, exported, predicts with."""
    model.save(folder / "saved.keras")
    path = folder / FORMATS[form].file
    FORMATS[form].write(Network(model, folder / "saved.keras", SIZE), path)
    return FORMATS[form].load(path)


def test_every_class_of_the_schema_is_here() -> None:
    assert {type(config) for config in NETWORKS.values()} == {type(config) for config in CONFIGS}


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_exported_network_answers_as_the_one_of_the_run(
    name: str, form: str, patches: np.ndarray, tmp_path: Path
) -> None:
    need(form)
    model = network(name)
    expected = np.asarray(model.predict_on_batch(patches))[:, 0]
    assert np.ptp(expected) > 0, "it depends on the pixels"
    predict = exported(model, form, tmp_path)
    np.testing.assert_allclose(predict(patches), expected, atol=2e-6)
    # a batch of another size
    np.testing.assert_allclose(predict(patches[:2]), expected[:2], atol=2e-6)


def test_pixels_that_were_scaled_to_0_1_are_refused(tmp_path: Path) -> None:
    need("onnx")
    predict = exported(network("lab_cnn"), "onnx", tmp_path)
    with pytest.raises(Exception, match="uint8"):
        predict(random_patches(2).astype(np.float32) / 255)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_models_of_before_pool_in_2d_when_exported(reduce: str, tmp_path: Path) -> None:
    config = GroupResNet(name="group_resnet", group="p4", widths=[2, 3])
    new = with_probability(build_model(config, Task(16)))
    pooling = next(layer for layer in new.layers if isinstance(layer, keras.Sequential))
    pool = layers.AveragePooling3D if reduce == "mean" else layers.MaxPooling3D

    def as_version_0_1(layer: Any) -> Any:
        if layer is not pooling:
            return layer.__class__.from_config(layer.get_config())
        *_, height, width, channels = layer.output_shape
        parts = [
            keras.Input(layer.input_shape[1:]),
            layers.Reshape((height, width, 4, channels)),
            pool((1, 1, 4)),
            layers.Reshape((height, width, channels)),
        ]
        return keras.Sequential(parts, name=layer.name)

    old = keras.models.clone_model(new, clone_function=as_version_0_1)
    old.set_weights(new.get_weights())
    old.save(tmp_path / "old.keras")
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    rewritten = without_3d_pooling(loaded)
    kinds = {type(inner).__name__ for x in rewritten.layers for inner in getattr(x, "layers", [])}
    assert {"Reshape", f"{'Average' if reduce == 'mean' else 'Max'}Pooling2D"} == kinds - {
        "InputLayer"
    }
    patches = random_patches(5, 16)
    expected = loaded.predict_on_batch(patches)
    np.testing.assert_array_equal(rewritten.predict_on_batch(patches), expected)
    if reduce == "mean":
        np.testing.assert_array_equal(new.predict_on_batch(patches), expected)
    assert without_3d_pooling(new) is new


class TestCheck:
    labels = np.array([0, 1] * 50, np.int8)
    expected = np.linspace(0.1, 0.9, 100).astype(np.float32)

    def compared(self, found: np.ndarray) -> Check:
        return compare("patches", self.labels, self.expected, found.astype(np.float32))

    def test_the_same(self) -> None:
        check = self.compared(self.expected)
        assert (check.fault, check.max_difference) == ("", 0)
        assert check.auc_run == check.auc_export is not None

    @pytest.mark.parametrize("value", [0.5, np.nan])
    def test_one_patch_that_differs(self, value: float) -> None:
        found = self.expected.copy()
        found[3] = value
        assert "probabilities differ by up to" in self.compared(found).fault

    def test_another_order_within_the_tolerance(self) -> None:
        close = Check("patches", 100, 0.9 * TOLERANCE, 0.95, 0.9502)
        assert close.fault == "AUC 0.95020, expected 0.95000"
        assert dataclasses.replace(close, max_difference=1e-6).fault == "", "near ties"

    def test_one_class_has_no_auc(self) -> None:
        check = compare("patches", np.ones(100, np.int8), self.expected, self.expected)
        assert (check.auc_run, check.fault) == (None, "")

    def test_all_patches_are_predicted_in_batches(self) -> None:
        patches, done = random_patches(600, 1), []
        found = answers(lambda batch: batch[:, 0, 0, 0] / np.float32(255), patches, done.append)
        np.testing.assert_array_equal(found, patches[:, 0, 0, 0] / np.float32(255))
        assert done == [256, 512, 600]
        with pytest.raises(ValueError, match="expected 256 probabilities"):
            answers(lambda batch: batch[:, 0, 0], patches, done.append)


def test_a_missing_package_is_one_line_with_its_command() -> None:
    form = dataclasses.replace(FORMATS["onnx"], modules=("keras", "no_such_package"))
    with pytest.raises(UsageError, match="needs no_such_package, not installed here") as caught:
        form.check_installed()
    assert caught.value.hint == 'pip install "pcam-kit[onnx]"'
