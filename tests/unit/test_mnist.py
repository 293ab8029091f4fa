"""Digits: from files, from scikit-learn, and what is refused. No test downloads anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit.config import load
from pcam_kit.config.schema import FewDigits, LabCnn, Training, Transform
from pcam_kit.errors import ConfigError, DataError
from pcam_kit.lab import ablation, mnist


def arrays(**changes: Any) -> dict[str, Any]:
    """A synthetic MNIST of 6 + 3 images, with some parts changed; None leaves a part out."""
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "x_train": rng.integers(256, size=(6, 28, 28), dtype=np.uint8),
        "y_train": np.arange(6, dtype=np.uint8),
        "x_test": rng.integers(256, size=(3, 28, 28), dtype=np.uint8),
        "y_test": np.array([9, 0, 4], np.uint8),
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


@pytest.fixture
def no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist.log, "warning", pytest.fail)


@pytest.mark.usefixtures("no_warning")
def test_a_file_in_keras_layout(tmp_path: Path):
    np.savez(tmp_path / "mnist.npz", **arrays())
    digits = mnist.load_digits(str(tmp_path / "mnist.npz"))
    assert digits.name == "MNIST"
    assert digits.train_images.shape == (6, 28, 28, 1)
    np.testing.assert_array_equal(digits.train_images[..., 0], arrays()["x_train"])
    assert digits.test_labels.tolist() == [9, 0, 4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "has no y_test; it has x_train, y_train, x_test"),
        (
            {"x_train": np.zeros((6, 8, 8), np.uint8)},
            r"x_train must be uint8 \[n, 28, 28\], found uint8 \[6, 8, 8\]",
        ),
        ({"x_test": np.zeros((3, 28, 28), np.float32)}, "x_test must be uint8 .* found float32"),
        ({"y_train": np.arange(5)}, r"y_train must be whole numbers \[6\], found int64 \[5\]"),
        ({"y_train": np.arange(6.0)}, "found float64"),
        ({"y_test": np.array([0, 1, 10])}, r"y_test must lie in 0\.\.9, found 0 to 10"),
        (
            {"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)},
            "y_test must be whole numbers",
        ),
        ({"x_train": np.array([None] * 6, object)}, "cannot read"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], words: str):
    np.savez(tmp_path / "mnist.npz", **arrays(**changes))
    with pytest.raises(DataError, match=words) as caught:
        mnist.from_npz(tmp_path / "mnist.npz")
    assert "--from digits" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short", b"\x93NUMPY"])
def test_files_that_are_no_npz(tmp_path: Path, content: bytes):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot read"):
        mnist.from_npz(tmp_path / "mnist.npz")


def test_a_single_array_and_a_missing_file(tmp_path: Path):
    np.save(tmp_path / "mnist.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"no \.npz file"):
        mnist.from_npz(tmp_path / "mnist.npy")
    with pytest.raises(DataError, match="no file"):
        mnist.from_npz(tmp_path / "gone.npz")
    (tmp_path / "page.npz").write_text("<html><title>404</title></html>", encoding="utf-8")
    with pytest.raises(DataError, match=r"no \.npz file.*found a web page: '404'") as caught:
        mnist.from_npz(tmp_path / "page.npz")
    assert "pickle" not in str(caught.value) + caught.value.hint


@pytest.mark.usefixtures("no_warning")
def test_the_small_digits_are_named_and_look_like_mnist():
    digits = mnist.load_digits("digits")
    assert digits.name == "scikit-learn digits"
    assert (len(digits.train_labels), len(digits.test_labels)) == (1297, 500)
    for images in (digits.train_images, digits.test_images):
        assert images.shape[1:] == (28, 28, 1)
        assert images.dtype == np.uint8
        assert images[:, :4].max() == images[:, 24:].max() == 0  # a dark border, as MNIST has
        assert images.max() == 255
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))


CONFIG = FewDigits(name="a", model=LabCnn(name="lab_cnn"))
SHIPPED = load.list_configs(kind="mnist")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_round_trip_and_begin_with_command_time_and_score(
    name: str, tmp_path: Path
):
    config = load.load_few_digits(name)
    assert (config.name, config.images, config.runs) == (name, 128, 5)
    (tmp_path / "printed.yaml").write_text(load.dump_yaml(config), encoding="utf-8")
    assert load.load_few_digits(str(tmp_path / "printed.yaml")) == config
    head = "".join(
        line
        for line in load.find_config(name, kind="mnist")
        .read_text(encoding="utf-8")
        .splitlines(keepends=True)
        if line.startswith("#")
    )
    assert "pcam lab mnist" in head
    assert "minutes" in head
    assert "±" in head


def test_the_two_recipes_are_there():
    assert SHIPPED == ["lab-mnist", "lab-mnist-report"]


def test_digits_and_patches_have_separate_configs():
    with pytest.raises(ConfigError, match="few digits") as caught:
        load.load_experiment("lab-mnist")
    assert "pcam lab mnist lab-mnist" in caught.value.hint
    with pytest.raises(ConfigError, match="no config called 'lab'"):
        load.load_few_digits("lab")


def test_faults_of_a_digit_config_name_its_command():
    with pytest.raises(
        ConfigError,
        match=r"training: training\.early_stopping needs a validation split|early_stopping needs",
    ):
        load.load_few_digits("lab-mnist", ["training.early_stopping=3"])
    with pytest.raises(ConfigError, match=r"image: unknown key; did you mean 'images'\?") as caught:
        load.load_few_digits("lab-mnist", ["image=3"])
    assert "pcam lab mnist --print-config" in caught.value.hint


def test_the_ablation_has_every_regulariser_once_alone():
    report = load.load_few_digits("lab-mnist-report")
    bare = ablation.without_any(report).config
    assert bare.model.l2 == bare.model.dropout == bare.model.block_dropout == 0  # type: ignore[union-attr]
    assert bare.augment.transforms == []
    assert (bare.training, bare.images, bare.seed) == (report.training, report.images, report.seed)
    variants = ablation.alone(report)
    assert [variant.name.split(" (")[0] for variant in variants] == [
        *("only L2", "only dropout", "only RandomResizedCrop", "only Affine", "only Affine"),
    ]
    assert (
        len({load.dump_yaml(variant.config) for variant in variants} | {load.dump_yaml(bare)})
        == len(variants) + 1
    )
    assert variants[0].config.model.l2 == report.model.l2  # type: ignore[union-attr]
    assert variants[0].config.model.dropout == 0  # type: ignore[union-attr]
    assert variants[1].config.model.block_dropout == 0.2  # type: ignore[union-attr]
    assert variants[2].config.augment.transforms == report.augment.transforms[:1]


def test_the_ablation_of_training_and_of_the_plain_network():
    config = CONFIG.model_copy(
        update={"training": Training(ema=0.9, weight_decay=0.1, label_smoothing=0.1)}
    )
    assert [variant.name for variant in ablation.alone(config)] == [
        "only weight decay",
        "only label smoothing",
        "only averaged weights",
    ]
    assert ablation.without_any(config).config.training == Training()


def test_what_hurts_digits_comes_on_top():
    config = CONFIG.model_copy(
        update={
            "augment": CONFIG.augment.model_copy(update={"transforms": [Transform(name="Blur")]})
        }
    )
    flips, turns = ablation.harmful(config)
    assert [t.name for t in flips.config.augment.transforms] == [
        "HorizontalFlip",
        "VerticalFlip",
        "Blur",
    ]
    assert [t.name for t in turns.config.augment.transforms] == ["Affine", "Blur"]
