"""`.keras` files: what older versions of Keras read, and what is refused before Keras sees it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from framework.test_models import CASES
from pcam_kit.config.schema import GroupResNet, LabCnn, Transfer
from pcam_kit.errors import RunError
from pcam_kit.inference import load_model
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.saved import CONFIG, METADATA, WEIGHTS, find_code, save_model
from pcam_kit.models.task import Task
from pcam_kit.models.weights import arrays_of

# a Python with Keras 3.5, e.g. from: pip install keras==3.5.0 jax
OLDEST = os.environ.get("PCAM_OLDEST_KERAS", "")
# What the constructors of Keras 3.5 take, of the classes in shipped models, beside `name`,
# `trainable` and `dtype`.
KNOWN_IN_3_5 = {
    "Activation": {"activation"},
    "Add": set(),
    "AveragePooling2D": {"pool_size", "padding", "strides", "data_format"},
    "BatchNormalization": {
        "axis", "momentum", "epsilon", "center", "scale", "beta_initializer", "gamma_initializer",
        "moving_mean_initializer", "moving_variance_initializer", "synchronized",
    },
    "Concatenate": {"axis"},
    "Conv2D": {
        "filters", "kernel_size", "strides", "padding", "data_format", "groups", "activation",
        "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer",
    },
    "Cropping2D": {"cropping", "data_format"},
    "DTypePolicy": {"name"},
    "Dense": {"units", "activation", "use_bias", "kernel_initializer", "bias_initializer",
              "kernel_regularizer"},
    "DepthwiseConv2D": {
        "kernel_size", "strides", "padding", "data_format", "activation", "use_bias",
        "depthwise_initializer", "bias_initializer",
    },
    "Dropout": {"rate", "seed", "noise_shape"},
    "Flatten": {"data_format"},
    "Flip": {"axis"},
    "GlobalAveragePooling2D": {"data_format", "keepdims"},
    "GlorotUniform": {"seed"},
    "InputLayer": {"batch_shape", "sparse"},
    "L2": {"l2"},
    "MaxPooling2D": {"pool_size", "padding", "strides", "data_format"},
    "Multiply": set(),
    "Normalization": {"axis", "mean", "variance", "invert"},
    "Ones": set(),
    "ReLU": {"max_value", "negative_slope", "threshold"},
    "Rescaling": {"scale", "offset"},
    "Reshape": {"target_shape"},
    "Resizing": {"height", "width", "interpolation", "data_format"},
    "ZeroPadding2D": {"padding", "data_format"},
    "Zeros": set(),
}  # fmt: skip
ALWAYS = {"name", "trainable", "dtype"}
# of the constructor of InputLayer in 3.5, `**kwargs`
IGNORED = {"InputLayer": {"ragged", "optional"}}
BACKBONES = ["MobileNetV3Small", "ResNet50"]


def small() -> keras.Model:
    """A network of two convolutions for patches of 16 pixels."""
    keras.utils.set_random_seed(0)
    return with_probability(build_model(LabCnn(name="lab_cnn", filters=[2, 3]), Task(16)))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def entries(config: Any) -> list[dict[str, Any]]:
    """All serialised objects in a config."""
    found = [config] if isinstance(config, dict) and "class_name" in config else []
    inside = config.values() if isinstance(config, dict) else config
    if isinstance(config, dict | list):
        found += [entry for value in inside for entry in entries(value)]
    return found


@pytest.mark.parametrize(
    ("config", "size"),
    [
        *(case for case in CASES if case.values[1] == 32),  # type: ignore[union-attr]
        *(
            (Transfer(name="transfer", backbone=name, weights=None, input_size=32), 48)
            for name in BACKBONES
        ),
    ],
)
def test_no_shipped_model_is_saved_with_options_that_keras_3_5_does_not_know(
    config: Any, size: int, tmp_path: Path
) -> None:
    model = with_probability(build_model(config, Task(size)))
    save_model(model, tmp_path / "model.keras")
    written = json.loads(members(tmp_path / "model.keras")[CONFIG])
    whole = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    assert len(entries(written)) == len(entries(whole))
    for entry in entries(written):
        kind = entry["class_name"]
        if kind in ("Functional", "Sequential", "__keras_tensor__"):
            continue
        known = KNOWN_IN_3_5[kind] | ALWAYS | IGNORED.get(kind, set())
        assert entry["config"].keys() <= known, kind
        if entry["module"].startswith("keras.src.ops."):
            assert "name" not in entry["config"]  # 3.5 has operations without names
    again = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(model.layers, again.layers, strict=True):
        if not isinstance(before, keras.Model | keras.Operation):
            assert after.get_config() == before.get_config()


def test_options_that_are_not_the_default_stay(tmp_path: Path) -> None:
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, dilation_rate=2)(inputs)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, center=False)(x)
    x = layers.Rescaling(1.0, offset=0.5)(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D(keepdims=True)(x))
    save_model(model, tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert [layer.get_config() for layer in again.layers] == [
        layer.get_config() for layer in model.layers
    ]


@pytest.mark.skipif(not OLDEST, reason="PCAM_OLDEST_KERAS names no Python with Keras 3.5")
def test_the_oldest_keras_reads_a_saved_model_and_predicts_the_same(tmp_path: Path) -> None:
    config = GroupResNet(name="group_resnet", group="p4", widths=[2, 3])
    model = with_probability(build_model(config, Task(16)))
    save_model(model, tmp_path / "model.keras", owner="ab")
    pixels = np.random.default_rng(0).integers(256, size=(3, 16, 16, 3)).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    script = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "print(keras.__version__, *model.predict_on_batch(np.load(sys.argv[2]))[:, 0])\n"
    )
    done = subprocess.run(
        [OLDEST, "-c", script, tmp_path / "model.keras", tmp_path / "pixels.npy"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"KERAS_BACKEND": "jax"},
    )
    version, *values = done.stdout.split()
    assert version.startswith("3.5.")
    np.testing.assert_allclose(
        np.array(values, float), model.predict_on_batch(pixels)[:, 0], atol=1e-6
    )


def test_every_flipped_bit_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    save_model(small(), path, owner="ab")
    whole = path.read_bytes()
    expected = load_model(path, owner="ab").get_weights()
    rng = np.random.default_rng(0)
    outcomes = set()
    for place in rng.integers(len(whole), size=40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            weights = load_model(path, owner="ab").get_weights()
        except RunError as error:
            outcomes.add((str(path) in error.message, "expected a .keras file" in error.hint))
        else:  # a bit that nobody reads, as in a date of the zip
            for one, other in zip(weights, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert outcomes == {(True, True)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: {**parts, CONFIG: b"[" * 100_000}, "nested too deeply"),
        (lambda parts: {**parts, CONFIG: b'"text"'}, "describes no model"),
        (lambda parts: {name: parts[name] for name in (CONFIG, METADATA)}, "no model.weights.h5"),
        (lambda parts: {**parts, WEIGHTS: b"not HDF5"}, "signature"),
        (lambda parts: {**parts, "extra": bytes(50_000_000)}, "unpack to"),
    ],
    ids=["deep", "text", "lost", "no HDF5", "bomb"],
)
def test_damaged_archives_are_refused(
    change: Callable[[dict[str, bytes]], dict[str, bytes]], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.keras"
    save_model(small(), path)
    write(path, change(members(path)), zipfile.ZIP_DEFLATED)
    with pytest.raises(RunError, match=words):
        load_model(path)


def hdf5(fill: Callable[[h5py.File], Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda file: file.update(x=h5py.ExternalLink("/etc/other.h5", "x")), "is a link"),
        (lambda file: file.update(x=h5py.SoftLink("/y")), "is a link"),
        (
            lambda file: file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
            "stored otherwise",
        ),
        (virtual, "stored otherwise"),
        (lambda file: file.create_dataset("x", (10**9,), "f4"), "fewer values"),
        (lambda file: file.create_dataset("x", data=np.zeros(9), compression="lzf"), "otherwise"),
        (lambda file: file.create_dataset("x", data=["text"]), "no numbers"),
    ],
    ids=["external link", "soft link", "external", "virtual", "unwritten", "filter", "text"],
)
def test_weights_that_reach_outside_or_declare_too_much_are_refused(
    fill: Callable[[h5py.File], Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.keras"
    save_model(small(), path)
    write(path, {**members(path), WEIGHTS: hdf5(fill)})
    with pytest.raises(RunError, match=words):
        load_model(path)


def test_layers_that_need_more_memory_than_the_file_has_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8, name="wide")])
    save_model(model, path)
    parts = members(path)
    config = parts[CONFIG].replace(b'"units": 8', b'"units": 80000000000')
    assert config != parts[CONFIG]
    write(path, {**parts, CONFIG: config})
    with pytest.raises(RunError, match="need 1,3"):
        load_model(path)


class TestCode:
    @pytest.mark.parametrize("unsafe", [False, True])
    def test_a_lambda_is_refused_and_named(self, unsafe: bool, tmp_path: Path) -> None:
        path = tmp_path / "model.keras"
        run = keras.layers.Lambda(lambda x: x * 2, name="twice")
        keras.Sequential([keras.Input((4,)), run, keras.layers.Dense(1)]).save(path)
        if unsafe:
            keras.config.enable_unsafe_deserialization()
        try:
            with pytest.raises(RunError, match=r"layer 'twice' \(Lambda\)") as caught:
                load_model(path, custom=True)
        finally:
            keras.src.backend.common.global_state.set_global_attribute("safe_mode_saving", None)
        assert "safe_mode" not in f"{caught.value}{caught.value.hint}"

    @pytest.mark.parametrize(
        ("module", "kind"),
        [
            ("os", "system"),
            ("keras.utils", "get_file"),
            ("keras", "utils"),
            ("keras.layers", "TFSMLayer"),
            ("keras.layers", "StringLookup"),
            ("pcam_kit.files", "sha256_file"),
            (None, "system"),
            ("builtins", "exec"),
            (3, "Dense"),
            ("keras.layers", ["Dense"]),
        ],
    )
    def test_classes_and_functions_from_elsewhere_are_refused(self, module: Any, kind: Any) -> None:
        inner = {"class_name": kind, "module": module, "config": {"name": "mine"}}
        config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [inner]}}
        assert find_code(config) != ""
        assert find_code(config, custom=True) != ""
        function = {"class_name": "function", "module": module, "config": kind}
        assert find_code({**config, "config": {"layers": [function]}}) != ""

    def test_a_layer_of_the_callers_own_only_where_it_may_be(self, tmp_path: Path) -> None:
        path = tmp_path / "model.keras"
        keras.Sequential([keras.Input((4,)), Twice(name="mine"), keras.layers.Dense(1)]).save(path)
        with pytest.raises(RunError, match=r"layer 'mine' \(Twice\) is no part of Keras"):
            load_model(path)
        assert load_model(path, custom=True).count_params() == 5


@keras.saving.register_keras_serializable("tests")
class Twice(keras.layers.Layer):
    """A layer as people write them."""

    def call(self, inputs: Any) -> Any:
        return 2 * inputs


class TestOwner:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        save_model(small(), tmp_path / "model.keras", owner="ab")
        return tmp_path / "model.keras"

    def test_its_own(self, path: Path) -> None:
        assert load_model(path, owner="ab").count_params() == small().count_params()

    def test_another_runs(self, path: Path) -> None:
        with pytest.raises(RunError, match="not the model that this run wrote"):
            load_model(path, owner="cd")

    def test_other_weights_in_it(self, path: Path) -> None:
        other = path.with_name("other.keras")
        model = small()
        model.set_weights([weight + 1 for weight in model.get_weights()])
        save_model(model, other)
        write(path, {**members(path), WEIGHTS: members(other)[WEIGHTS]})
        with pytest.raises(RunError, match="changed since this run wrote it"):
            load_model(path, owner="ab")


def test_weights_that_hold_themselves_are_looked_through_once() -> None:
    def loop(file: h5py.File) -> None:
        file.create_dataset("x", data=np.zeros(3))
        file["a/b"] = file["/"]
        file["a/y"] = file["x"]

    with h5py.File(io.BytesIO(hdf5(loop)), "r") as file:
        assert [shape for _, shape in arrays_of(file)] == [(3,)]
