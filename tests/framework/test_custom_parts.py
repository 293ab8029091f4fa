"""Networks and augmentations of the caller's own: trained, saved, resumed, refused."""

from __future__ import annotations

import importlib
import json
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import pcam_kit as pcam
from pcam_kit.errors import ConfigError, Interrupted, UsageError
from pcam_kit.inference import load_model
from pcam_kit.progress import SILENT
from pcam_kit.run_folders import Run, open_run

MODULE = """
import keras

calls = []


def build(size, filters=4):
    pixels = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(pixels, keras.layers.Dense(1)(x))


def mirror(patches, rng):
    calls.append(len(patches))
    flip = rng.random(len(patches)) < 0.5
    patches[flip] = patches[flip, :, ::-1]
    return patches


def floats(patches, rng):
    return patches / 255
"""
CONFIG = """
data: {crop: 16}
augment: {d4: false}
model: {name: lab_cnn, filters: [4], units: null}
training: {epochs: 2, batch_size: 32, learning_rate: 1e-2, schedule: constant, ema: 0.9}
evaluation: {tta: none}
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with synthetic patches, a config and a module of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"own_{tmp_path.name.replace('-', '_')}"  # a module is imported once a process
    Path(f"{name}.py").write_text(MODULE, encoding="utf-8")
    Path("module").write_text(name, encoding="utf-8")
    Path("quick.yaml").write_text(CONFIG, encoding="utf-8")
    pcam.synthetic(train=128, valid=64, test=32, display=SILENT)
    return tmp_path


def module() -> str:
    return Path("module").read_text(encoding="utf-8")


def network(outputs: int = 1, activation: str | None = None, size: int = 16) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(outputs, activation=activation)(x))


def train(**options: Any) -> Run:
    return pcam.train("quick.yaml", display=SILENT, **options)


def weights(run: Run) -> list[np.ndarray]:
    return load_model(run.model_file).get_weights()


def weights_equal(first: Run, second: Run) -> bool:
    return all(map(np.array_equal, weights(first), weights(second)))


class Stopping:
    """A display whose training stops after so many steps, as by Ctrl-C."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    work = SILENT.work

    def training(self) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def started(self, epochs: int, steps: int, done: int) -> None: ...

    def step(self, epoch: int, step: int, loss: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def epoch(self, metrics: dict[str, Any]) -> None: ...


def test_a_builder_named_in_the_config(work: Path) -> None:
    model = {"name": "custom", "builder": f"{module()}:build", "options": {"filters": 3}}
    run = train(overrides={"model": model})
    assert run.experiment.model.model_dump() == model
    assert load_model(run.model_file).count_params() == 3 * 3 * 3 * 3 + 3 + 7 * 7 * 3 + 1
    assert pcam.predict(run, display=SILENT).csv.rows == 32


def test_a_function_of_a_module_is_recorded_by_its_name(work: Path) -> None:
    own = importlib.import_module(module())
    run = train(model=own.build)
    assert run.experiment.model.model_dump()["builder"] == f"{module()}:build"
    assert not (run.path / "untrained.keras").exists()


def test_a_model_is_saved_and_resumed_exactly(work: Path) -> None:
    keras.utils.set_random_seed(5)
    own = network()
    begin = own.get_weights()
    whole = train(model=own)
    assert (whole.path / "untrained.keras").is_file()
    own.set_weights(begin)
    with pytest.raises(Interrupted, match="nothing is lost") as stopped:
        pcam.train("quick.yaml", model=own, display=Stopping(6))
    name = stopped.value.hint.split()[-1]
    resumed = pcam.train(resume=name, display=SILENT)
    assert resumed.name == name
    assert open_run(resumed.path).experiment.model.model_dump()["builder"] == str(
        resumed.path.resolve() / "untrained.keras"
    )
    for expected, found in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_a_function_of_a_notebook_is_called_once_and_saved(work: Path) -> None:
    run = train(model=lambda size: network(size=size))
    assert (run.path / "untrained.keras").is_file()
    keras.utils.set_random_seed(7)  # whatever the notebook drew in between
    again = train(model=lambda size: network(size=size))
    other = train(model=lambda size: network(size=size), seed=1)
    assert weights_equal(run, again)
    assert not weights_equal(run, other), "its initial weights depend on the seed"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: network(outputs=2), r"logits \[None, 1\] out, found .* \[None, 2\] out"),
        (lambda: network(size=32), r"pixels \[None, 16, 16, 3\] in"),
        (lambda: network(activation="sigmoid"), "expected logits out, found probabilities"),
        (lambda: lambda size: "a model", "found str"),
        (lambda: lambda: network(), "failed: .*argument"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_a_folder_is_made(
    work: Path, model: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        train(model=model())
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ("nothing", "expected module:function, found 'nothing'"),
        ("no_such_module:build", "cannot import no_such_module:build"),
        ("{module}:no_such", "has no attribute 'no_such'"),
        ("gone.keras", "no file gone.keras"),
        ("quick.keras", "cannot read"),
    ],
)
def test_builders_that_cannot_be_used(work: Path, builder: str, words: str) -> None:
    Path("quick.keras").write_text("no model", encoding="utf-8")
    builder = builder.format(module=module())
    with pytest.raises(ConfigError, match=words):
        train(overrides={"model": {"name": "custom", "builder": builder}})
    assert not Path("runs").exists()


def test_a_network_without_parts_of_its_own_takes_no_model_when_resumed(work: Path) -> None:
    run = train()
    with pytest.raises(UsageError, match="--resume continues a run with its own config"):
        pcam.train(resume=run, model=network(), display=SILENT)


def test_an_augmentation_of_a_module_repeats_and_resumes_exactly(work: Path) -> None:
    own = importlib.import_module(module())
    whole = train(augmentation=own.mirror)
    assert whole.experiment.augment.custom == f"{module()}:mirror"
    assert own.calls
    with pytest.raises(Interrupted) as stopped:
        pcam.train("quick.yaml", augmentation=own.mirror, display=Stopping(6))
    resumed = pcam.train(resume=stopped.value.hint.split()[-1], display=SILENT)
    plain = train()
    for expected, found in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(weights(whole), weights(plain), strict=True)
    )


def test_an_augmentation_of_a_notebook_is_asked_for_when_resumed(work: Path) -> None:
    def brighter(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.minimum(patches, 254) + np.uint8(1)

    with pytest.raises(Interrupted) as stopped:
        pcam.train("quick.yaml", augmentation=brighter, display=Stopping(2))
    name = stopped.value.hint.split()[-1]
    with pytest.raises(ConfigError, match="with the function brighter") as refused:
        pcam.train(resume=name, display=SILENT)
    assert "augmentation=" in refused.value.hint
    assert pcam.train(resume=name, augmentation=brighter, display=SILENT).result is not None


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda patches, rng: patches / 255, r"found float64 \[4, 16, 16, 3\]"),
        (lambda patches, rng: patches[:, :8], r"found uint8 \[4, 8, 16, 3\]"),
        (lambda patches, rng: None, "found NoneType"),
    ],
)
def test_augmentations_that_return_something_else_are_refused(
    work: Path, function: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(augmentation=function)
    assert not Path("runs").exists()


def test_floats_are_refused_in_a_config_too(work: Path) -> None:
    with pytest.raises(ConfigError, match="expected patches uint8"):
        train(overrides={"augment.custom": f"{module()}:floats"})


def external(path: Path, ids: Any, p: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, ids=ids, probabilities=p)
    else:
        rows = "\n".join(f"{i},{x}" for i, x in zip(ids, p, strict=True))
        path.write_text(f"id,p\n{rows}\n", encoding="utf-8")
    return path


def test_predictions_from_elsewhere_are_evaluated_combined_and_submitted(work: Path) -> None:
    store = pcam.open_store()
    rng = np.random.default_rng(0)
    answers = {}
    for split, suffix in (("valid", ".npz"), ("test", ".csv")):
        rows = store.rows(split)
        p = np.clip(0.3 * store.labels[rows] + 0.6 * rng.random(len(rows)), 0, 1)
        order = rng.permutation(len(rows))
        answers[split] = p
        external(Path(split + suffix), store.ids[rows][order], p[order])
    run = pcam.import_predictions("valid.npz", "test.csv", name="torch")
    evaluation = pcam.evaluate(run)
    labels = store.labels[store.rows("valid")]
    above = answers["valid"][labels == 1][:, None] > answers["valid"][labels == 0]
    assert evaluation.scores.auc == pytest.approx(above.mean(), abs=1e-6)
    kept = run.load_predictions("test")
    assert kept is not None
    np.testing.assert_allclose(kept.probability("none"), answers["test"], atol=1e-6)
    trained = train()
    prediction = pcam.predict([trained, run], weights="fitted", display=SILENT)
    assert {member["run"] for member in prediction.to_dict()["members"]} == {
        str(trained.path),
        str(run.path),
    }
    assert pcam.submit(pcam.predict(run).csv.path, dry_run=True).status == "dry-run"
    assert json.loads((run.path / "meta.json").read_text(encoding="utf-8"))["sources"]["valid"][
        "file"
    ] == ("valid.npz")
    with pytest.raises(pcam.PcamError, match="holds predictions from elsewhere"):
        pcam.predict(run, tta="d4", display=SILENT)
    with pytest.raises(pcam.PcamError, match="holds predictions from elsewhere"):
        pcam.evaluate(run, "train", display=SILENT)


def test_predictions_that_do_not_fit_are_refused(work: Path) -> None:
    store = pcam.open_store()
    ids = store.ids[store.rows("valid")]
    p = np.linspace(0, 1, len(ids))
    cases = {
        f"missing: {ids[0]}": (ids[1:], p[1:]),
        "repeats 1 ids": ([*ids, ids[0]], [*p, 0.5]),
        "unknown: other": ([*ids[1:], "other"], p),
        r"must lie within \[0, 1\]: found 3.0 in row 2": (ids, [0.5, 3.0, *p[2:]]),
        "found nan in row 1": (ids, [float("nan"), *p[1:]]),
    }
    for words, (names, values) in cases.items():
        for suffix in (".csv", ".npz"):
            with pytest.raises(pcam.PcamError, match=words):
                pcam.import_predictions(external(Path("x" + suffix), names, values))
    np.savez("bare.npz", p=p)
    Path("odd.csv").write_text(textwrap.dedent("a,b,c\n1,2,3\n"), encoding="utf-8")
    for name, words in {
        "bare.npz": "has no array ids and no array probabilities",
        "odd.csv": "two columns",
        "gone.csv": "no file gone.csv",
    }.items():
        with pytest.raises(pcam.PcamError, match=words):
            pcam.import_predictions(name)
    with pytest.raises(ConfigError, match="the name 'a b' does not fit"):
        pcam.import_predictions(external(Path("y.csv"), ids, p), name="a b")
    assert not Path("runs").exists()
    assert pcam.import_predictions(dict(zip(ids.tolist(), p, strict=True))).outcome.valid_n == 64
