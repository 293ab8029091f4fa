"""Transferred networks in the loop, with a backbone of three layers in place of a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pcam_kit.competitions import find_competition
from pcam_kit.config.schema import Transfer
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.files import sha256_file
from pcam_kit.inference import load_model
from pcam_kit.models import build_model, transfer
from pcam_kit.models.pretrained import load_pretrained
from pcam_kit.models.task import Task
from pcam_kit.models.transfer import BACKBONE, build_application
from pcam_kit.run_folders import Run, create_run
from pcam_kit.workflows import fetch
from pcam_kit.workflows.initial_weights import check_unchanged, check_weights
from pcam_kit.workflows.train import TrainRequest, train
from pcam_kit.workspace import Workspace

from .conftest import Patches
from .test_training import Silent, end_state, experiment, run

TRAINING: dict[str, Any] = {
    "epochs": 2,
    "ema": 0.9,
    "schedule": "one_cycle",
    "clip_norm": 1.0,
    "weight_decay": 0.1,
}


def tiny(
    *, include_top: bool, weights: str | None, input_shape: tuple[int, int, int], pooling: str
) -> keras.Model:
    """Has what the real ones have: its own scaling, stages, batch norm, dropout."""
    assert (include_top, weights, pooling) == (False, None, "avg")
    x = inputs = keras.Input(input_shape)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    for stage in (1, 2):
        x = layers.Conv2D(8, 3, strides=2, use_bias=False, name=f"expanded_conv_{stage}_project")(x)
        x = layers.ReLU()(
            layers.BatchNormalization(momentum=0.5, name=f"expanded_conv_{stage}_bn")(x)
        )
        x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def config(**values: Any) -> Transfer:
    return Transfer(
        **{"name": "transfer", "backbone": "MobileNetV3Small", "input_size": 32, "layer_decay": 0.5}
        | values
    )


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with the weights of `tiny`, which stands in for a backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "applications", SimpleNamespace(MobileNetV3Small=tiny))
        keras.utils.set_random_seed(9)
        path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
        build_application("MobileNetV3Small", 32).save_weights(path)
        yield path


@pytest.fixture(scope="module")
def whole(weights: Path, patches: Patches, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing stopped: an epoch of the head, one of everything."""
    folder = tmp_path_factory.mktemp("whole")
    run(patches, folder, experiment(config(weights=str(weights)), **TRAINING))
    return folder


def moved(folder: Path, weights: Path) -> set[str]:
    """Paths of the weights in a folder's checkpoint that are not, to the last bit, what a training
    begins with.
    """
    what = experiment(config(weights=str(weights)), **TRAINING)
    keras.utils.set_random_seed(what.seed)
    model = build_model(what.model, Task(16))
    load_pretrained(model, what.model)
    # the model's variables come first, states of dropout among them
    now = end_state(folder, what)[0]
    changed = [
        v.path
        for v, new in zip(model.variables, now, strict=False)
        if not np.array_equal(np.asarray(v), new)
    ]
    return {path for path in changed if "seed" not in path}


HEAD = {"logit/kernel", "logit/bias"}
KERNELS = {"expanded_conv_1_project/kernel", "expanded_conv_2_project/kernel"}


def test_everything_moves_in_the_end_but_the_batch_norms(whole: Path, weights: Path):
    assert moved(whole, weights) == HEAD | KERNELS


@pytest.mark.parametrize(("stop_at", "so_far"), [((1, 6), set[str]()), ((2, 1), HEAD)])
def test_a_killed_training_goes_on_to_the_same_weights_without_their_file(
    whole: Path,
    weights: Path,
    patches: Patches,
    tmp_path: Path,
    stop_at: tuple[int, int],
    so_far: set[str],
):
    """In the first epoch only what it began with is kept; after it the backbone has not moved."""
    copy = tmp_path / "copy.weights.h5"
    copy.write_bytes(weights.read_bytes())
    what = experiment(config(weights=str(copy)), **TRAINING)
    with pytest.raises(SystemError):  # stands for SIGKILL
        run(patches, tmp_path / "cut", what, Silent(stop_at, SystemError))
    assert moved(tmp_path / "cut", weights) == so_far
    copy.unlink()
    run(patches, tmp_path / "cut", what)
    for a, b in zip(
        *(end_state(folder, what)[0] for folder in (whole, tmp_path / "cut")), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    models = [
        load_model(folder / "model.keras").get_layer(BACKBONE).get_weights()
        for folder in (whole, tmp_path / "cut")
    ]
    for a, b in zip(*models, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("values", "frozen"),
    [
        ({"weights": None}, False),
        ({"weights": None, "freeze_batch_norm": True}, True),
        ({"weights": "a file"}, True),
        ({"weights": "a file", "freeze_batch_norm": False}, False),
    ],
)
def test_batch_norms_are_frozen_with_pretrained_weights_unless_told_otherwise(
    values: dict[str, Any], frozen: bool, patches: Patches
):
    model = build_model(config(**values), Task(16))
    norms = [w for w in model.weights if "_bn/" in w.path]
    model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    before = [np.asarray(w).copy() for w in norms]
    model.train_on_batch(patches.images[:32], patches.labels[:32, None].astype(np.float32))
    assert len(norms) == 8
    assert [np.array_equal(old, np.asarray(w)) for old, w in zip(before, norms, strict=True)] == [
        frozen
    ] * 8


def test_meta_remembers_the_file_and_a_run_without_a_checkpoint_refuses_another(
    weights: Path, tmp_path: Path
):
    copy = tmp_path / "copy.weights.h5"
    copy.write_bytes(weights.read_bytes())
    what = experiment(config(weights=str(copy)))
    described = check_weights(what)
    assert described == {"weights": {"source": str(copy), "sha256": sha256_file(weights)}}
    assert check_weights(experiment(config(weights=None))) == {}
    profile = find_competition("synthetic").model_dump(mode="json")
    meta = {
        "started": "",
        "backend": "",
        "seed": 0,
        "competition": profile,
        "store_fingerprint": "",
        "split_hash": "",
    }
    begun: Run = create_run(tmp_path / "runs", what, meta | described)
    check_unchanged(begun)
    copy.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(RunError, match="changed since"):
        check_unchanged(begun)
    begun.state_file.touch()
    check_unchanged(begun)


TISSUE = """\
{slug: few, title: Few, layout: synthetic, image_size: 32, target_column: class,
 target: class, metric: accuracy,
 counts: {train: 96, valid: 64, test: 20}, default_config: demo}
"""
RECIPE = """\
model: {name: transfer, backbone: MobileNetV3Small, weights: tiny.weights.h5}
training: {epochs: 2, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: none}
"""
TAUGHT = """\
model: {name: lab_cnn}
training: {epochs: 1, teachers: {configs: [recipes/mine.yaml]}}
"""


def test_the_command_refuses_wrong_weights_before_it_makes_a_run_and_then_trains(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("few.yaml").write_text(TISSUE, encoding="utf-8")
    Path("recipes").mkdir()
    Path("recipes/mine.yaml").write_text(RECIPE, encoding="utf-8")
    workspace = Workspace()
    fetch.fetch(fetch.FetchRequest("few.yaml"), workspace)
    with pytest.raises(ConfigError, match=r"no file tiny\.weights\.h5"):
        train(TrainRequest("recipes/mine.yaml"), workspace)
    file = Path("recipes/tiny.weights.h5")
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save_weights(file)
    with pytest.raises(
        ConfigError,
        match=r"tiny.weights.h5 does not hold the weights of .*Small .* 10 arrays, found 2 ",
    ):
        train(TrainRequest("recipes/mine.yaml"), workspace)
    assert not workspace.runs.exists()
    file.write_bytes(weights.read_bytes())
    run = train(TrainRequest("recipes/mine.yaml"), workspace)
    assert run.result is not None
    assert run.meta["weights"] == {"source": str(file.resolve()), "sha256": sha256_file(weights)}
    file.unlink()
    assert load_model(run.model_file).count_params() > 0
    Path("recipes/mine.yaml").write_text(
        RECIPE.replace("tiny.weights.h5", str(file.resolve())), encoding="utf-8"
    )
    Path("recipes/taught.yaml").write_text(TAUGHT, encoding="utf-8")
    taught = train(TrainRequest("recipes/taught.yaml"), workspace)
    assert [teacher["run"] for teacher in taught.meta["teachers"]] == [run.name], (
        "a finished teacher does without the file"
    )
