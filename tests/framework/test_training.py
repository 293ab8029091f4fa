"""The loop: schedules, averages, checkpoints, exact resume, clear stops."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pcam_kit.config.schema import (
    Augment,
    Experiment,
    GroupResNet,
    LabCnn,
    Model,
    Precision,
    ReportCnn,
    ResNet,
    Training,
    Transform,
)
from pcam_kit.errors import Interrupted, RunError, TrainingError
from pcam_kit.inference import load_model, predict
from pcam_kit.metrics import accuracy, log_loss, roc_auc
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches, Workers
from pcam_kit.run_folders.epochs import Epoch
from pcam_kit.training.fit import TrainingFiles, fit, is_finished
from pcam_kit.training.networks import compile_model
from pcam_kit.training.schedule import build_optimizer, build_schedule
from pcam_kit.training.state import TrainingState, WeightAverage, load_state, weights_of
from pcam_kit.training.validation import Validation, score_logits
from pcam_kit.views import VIEWS

from .conftest import Patches, image_workers

NET = ResNet(name="resnet", widths=[8, 8], dropout=0.3)


class Silent:
    """A reporter that can end the training like a killed process at a given step."""

    def __init__(
        self, stop_at: tuple[int, int] | None = None, error: type[BaseException] = KeyboardInterrupt
    ) -> None:
        self.steps: list[float] = []
        self.epochs: list[dict[str, Any]] = []
        self.done_before = -1
        self._stop_at, self._error = stop_at, error

    def started(self, epochs: int, steps: int, done: int) -> None:
        self.done_before = done

    def step(self, epoch: int, step: int, loss: float) -> None:
        self.steps.append(loss)
        if self._stop_at == (epoch, step):
            raise self._error

    def epoch(self, metrics: dict[str, Any]) -> None:
        self.epochs.append(metrics)


def experiment(model: Model = NET, **training: Any) -> Experiment:
    augment = Augment(transforms=[Transform(name="RandomBrightnessContrast")])
    values: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
    } | training
    return Experiment(
        name="test", seed=5, model=model, training=Training(**values), augment=augment
    )


def run(
    patches: Patches,
    folder: Path,
    config: Experiment,
    reporter: Silent | None = None,
    workers: Workers | None = None,
    **options: Any,
) -> TrainingState:
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", patches.images)
    batches = Batches(
        np.load(folder / "images.npy", mmap_mode="r"),
        patches.labels,
        patches.train,
        config.training.batch_size,
        16,
        Augmenter(config.augment, seed=config.seed),
        config.seed,
        workers,
    )

    def validate(model: keras.Model) -> Validation:
        return score_logits(
            patches.labels[patches.valid],
            predict(model, patches.images, patches.valid, crop=16)[:, 0],
        )

    files = TrainingFiles(folder / "state.npz", folder / "model.keras", folder / "metrics.jsonl")
    return fit(config, batches, validate, files, reporter or Silent(), **options)


def end_state(folder: Path, config: Experiment) -> tuple[list[np.ndarray[Any, Any]], TrainingState]:
    model = compile_model(config, 16, 18)
    average = WeightAverage(model, config.training.ema) if config.training.ema else None
    progress = load_state(folder / "state.npz", model, average)
    arrays = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]] + (
        average.values if average else []
    )
    return arrays, progress


def test_it_learns_and_keeps_the_best_epoch(patches: Patches, tmp_path: Path):
    progress = run(patches, tmp_path, experiment(epochs=6))
    aucs = [line["valid_auc"] for line in progress.history]
    assert progress.best_auc == max(aucs) > 0.85
    assert progress.best_epoch == 1 + int(np.argmax(aucs))
    kept = predict(load_model(tmp_path / "model.keras"), patches.images, patches.valid, crop=16)
    assert roc_auc(patches.labels[patches.valid], kept[:, 0]) == pytest.approx(
        progress.best_auc, abs=1e-9
    )
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").count("\n") == 6


@pytest.fixture(scope="module")
def whole(
    patches: Patches, tmp_path_factory: pytest.TempPathFactory
) -> dict[float | None, tuple[Path, TrainingState]]:
    """Trainings that nothing stopped, without and with averaged weights."""
    folders = {ema: tmp_path_factory.mktemp("whole") for ema in (None, 0.9)}
    return {
        ema: (folder, run(patches, folder, experiment(ema=ema))) for ema, folder in folders.items()
    }


def test_processes_that_make_the_batches_change_no_weight(
    patches: Patches, tmp_path: Path, whole: dict[float | None, tuple[Path, TrainingState]]
):
    config = experiment(ema=None)
    run(patches, tmp_path, config, workers=Workers(2, processes=True))
    found, expected = end_state(tmp_path, config)[0], end_state(whole[None][0], config)[0]
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)
    assert image_workers() == []


@pytest.mark.parametrize(
    ("stop_at", "ema"),
    [((1, 1), 0.9), ((1, 4), None), ((2, 1), 0.9), ((2, 6), 0.9), ((3, 5), None)],
)
def test_a_killed_training_resumes_to_the_very_same_weights(
    patches: Patches,
    tmp_path: Path,
    whole: dict[float | None, tuple[Path, TrainingState]],
    stop_at: tuple[int, int],
    ema: float | None,
):
    config = experiment(ema=ema)
    folder, expected = whole[ema]
    # stands for SIGKILL: nothing of the loop's own handling of Ctrl-C runs
    with pytest.raises(SystemError):
        run(patches, tmp_path, config, Silent(stop_at, SystemError), checkpoint_seconds=0.0)
    again = Silent()
    progress = run(patches, tmp_path, config, again)
    assert again.done_before + len(again.steps) == 18
    for a, b in zip(end_state(folder, config)[0], end_state(tmp_path, config)[0], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(
        *(weights_of(load_model(path / "model.keras")) for path in (folder, tmp_path)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in p.history]
        for p in (progress, expected)
    ]
    assert timeless[0] == timeless[1]


def test_without_a_checkpoint_inside_the_epoch_it_resumes_from_the_last_epoch(
    patches: Patches, tmp_path: Path, whole: dict[float | None, tuple[Path, TrainingState]]
):
    config = experiment()
    with pytest.raises(SystemError):
        run(patches, tmp_path, config, Silent((2, 3), SystemError))
    again = Silent()
    run(patches, tmp_path, config, again)
    assert (again.done_before, len(again.steps)) == (6, 12)
    for a, b in zip(
        end_state(whole[None][0], config)[0], end_state(tmp_path, config)[0], strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_ctrl_c_ends_after_the_step_with_a_checkpoint_of_it(patches: Patches, tmp_path: Path):
    import signal

    class Interrupting(Silent):
        def step(self, epoch: int, step: int, loss: float) -> None:
            super().step(epoch, step, loss)
            if (epoch, step) == (2, 2):
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="epoch 2 after step 2 of 6"):
        run(patches, tmp_path, experiment(), Interrupting())
    assert signal.getsignal(signal.SIGINT) is before
    again = Silent()
    run(patches, tmp_path, experiment(), again)
    assert len(again.steps) == 4 + 6


def test_a_loss_that_is_not_finite_names_epoch_and_step(patches: Patches, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) in epoch 1, step \d of 6"):
        run(
            patches,
            tmp_path,
            experiment(
                LabCnn(name="lab_cnn"),
                optimizer="sgd",
                learning_rate=1e20,
                weight_decay=0.0,
                schedule="constant",
            ),
        )
    assert not (tmp_path / "model.keras").exists()


def test_early_stopping_waits_for_its_patience():
    config = Training(epochs=50, early_stopping=3)
    assert not is_finished(TrainingState(epoch=5, best_epoch=3), config)
    assert is_finished(TrainingState(epoch=6, best_epoch=3), config)
    assert is_finished(TrainingState(epoch=50, best_epoch=49), config)
    assert not is_finished(TrainingState(epoch=49, best_epoch=1), Training(epochs=50))


def test_a_checkpoint_of_another_network_is_refused(patches: Patches, tmp_path: Path):
    run(patches, tmp_path, experiment(epochs=1))
    with pytest.raises(RunError, match="does not fit this model"):
        run(patches, tmp_path, experiment(ResNet(name="resnet", widths=[8, 12])))


def test_a_damaged_checkpoint_is_named(patches: Patches, tmp_path: Path):
    run(patches, tmp_path, experiment(epochs=1))
    state = tmp_path / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot read the checkpoint"):
        run(patches, tmp_path, experiment(epochs=1))


def test_cosine_rises_linearly_and_falls_to_zero():
    rate = build_schedule(Training(schedule="cosine", learning_rate=0.1, warmup=0.1), 100)
    values = [float(rate(step)) for step in range(100)]
    np.testing.assert_allclose(values[:10], 0.1 * np.arange(1, 11) / 10, rtol=1e-5)
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[54] == pytest.approx(0.05, rel=1e-3)
    assert values[-1] == pytest.approx(0, abs=1e-8)


def test_one_cycle_rises_over_three_tenths_from_a_25th():
    rate = build_schedule(Training(schedule="one_cycle", learning_rate=1.0), 100)
    values = [float(rate(step)) for step in range(100)]
    assert int(np.argmax(values)) == 29
    assert values[29] == pytest.approx(1.0)
    assert values[0] == pytest.approx(1 / 25 + 24 / 25 / 30, rel=1e-5)
    assert values[-1] == pytest.approx(1e-4, rel=1e-3)


def test_weight_decay_spares_biases_and_normalisation(patches: Patches):
    config = experiment(weight_decay=0.5, learning_rate=1e-2, schedule="constant")
    model = compile_model(config, 16, 10)
    before = {weight.path: np.array(weight) for weight in model.trainable_weights}
    model.optimizer.apply(
        [keras.ops.zeros(weight.shape) for weight in model.trainable_weights],
        model.trainable_weights,
    )
    for weight in model.trainable_weights:
        decayed = weight.path.endswith("kernel")
        np.testing.assert_allclose(
            np.array(weight), before[weight.path] * (1 - 0.5 * 1e-2 if decayed else 1), rtol=1e-5
        )


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_every_optimiser_is_built_with_its_schedule_and_clipping(name: Any):
    optimizer = build_optimizer(
        Training(optimizer=name, clip_norm=1.0, learning_rate=0.5, schedule="constant"), 10
    )
    assert float(np.asarray(optimizer.learning_rate)) == 0.5
    assert optimizer.global_clipnorm == 1.0


def test_the_average_follows_its_formula(patches: Patches):
    model = compile_model(experiment(), 16, 10)
    average = WeightAverage(model, 0.9)
    expected = weights_of(model)
    rng = np.random.default_rng(0)
    for step in range(1, 13):
        new = [rng.normal(size=value.shape).astype(np.float32) for value in expected]
        model.set_weights(new)
        average.update(step)
        if step % WeightAverage.EVERY == 0:
            t = step // WeightAverage.EVERY
            m = min(0.9**WeightAverage.EVERY, (1 + t) / (10 + t))
            expected = [m * old + (1 - m) * value for old, value in zip(expected, new, strict=True)]
    for a, b in zip(average.values, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_model_kept_has_the_averaged_weights_and_training_goes_on_with_its_own(
    patches: Patches, tmp_path: Path
):
    config = experiment(ema=0.9, epochs=1)
    run(patches, tmp_path, config)
    model = compile_model(config, 16, 6)
    average = WeightAverage(model, 0.9)
    load_state(tmp_path / "state.npz", model, average)
    kept = weights_of(load_model(tmp_path / "model.keras"))
    for a, b in zip(kept, average.values, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(kept, weights_of(model), strict=True))


@pytest.mark.parametrize(
    ("precision", "ema"), [("bfloat16", None), ("bfloat16", 0.9), ("float16", None)]
)
def test_in_half_precision_it_learns_resumes_exactly_and_the_model_kept_is_float32(
    patches: Patches, tmp_path: Path, precision: Precision, ema: float | None
):
    # three epochs end anywhere between AUC 0.4 and 0.98 with other seeds, or another backend
    config = experiment(epochs=8, ema=ema)
    model = compile_model(config, 16, 18, precision=precision)
    assert {layer.compute_dtype for layer in model.layers[2:-1]} == {precision}
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        precision == "float16"
    )
    assert keras.config.dtype_policy().name == "float32"  # as it was for everybody else
    whole = run(patches, tmp_path / "whole", config, precision=precision)
    assert whole.best_auc > 0.8
    stopped = Silent((2, 2), SystemError)
    with pytest.raises(SystemError):
        run(patches, tmp_path / "cut", config, stopped, precision=precision, checkpoint_seconds=0.0)
    again = run(patches, tmp_path / "cut", config, precision=precision)
    assert [line["valid_auc"] for line in again.history] == [
        line["valid_auc"] for line in whole.history
    ]
    kept = load_model(tmp_path / "whole" / "model.keras")
    assert {layer.compute_dtype for layer in kept.layers} == {"float32"}
    scores = predict(kept, patches.images, patches.valid, crop=16)[:, 0]
    assert roc_auc(patches.labels[patches.valid], scores) == pytest.approx(whole.best_auc, abs=1e-9)


def test_the_accuracy_of_a_step_is_that_of_its_logits_against_targets_at_half(patches: Patches):
    model = compile_model(experiment(LabCnn(name="lab_cnn")), 16, 10)  # no dropout
    rng = np.random.default_rng(0)
    images = patches.images[:20]
    for _ in range(2):  # the second step forgets the first
        soft = rng.uniform(size=(20, 1)).astype(np.float32)
        soft[0] = 0.5  # counts as positive
        logits = np.asarray(model.predict_on_batch(images))
        scores = model.train_on_batch(images, soft, return_dict=True)
        expected = float(((logits >= 0) == (soft >= 0.5)).mean())
        assert float(scores["accuracy"]) == pytest.approx(expected, abs=1e-6)


def test_an_equivariant_network_is_kept_in_plain_layers_and_float32(
    patches: Patches, tmp_path: Path
):
    """Keras clones it with what it was compiled with."""
    config = experiment(GroupResNet(name="group_resnet", widths=[2, 2]), epochs=1)
    run(patches, tmp_path, config)
    kept = load_model(tmp_path / "model.keras")
    assert not any("Group" in type(layer).__name__ for layer in kept.layers)


def test_an_epoch_has_the_curves_of_training_and_validation(patches: Patches, tmp_path: Path):
    history = run(patches, tmp_path, experiment(epochs=6)).history
    last = history[-1]
    assert list(last) == list(Epoch.model_fields)
    assert last["accuracy"] > history[0]["accuracy"]
    assert last["accuracy"] > 0.6
    assert (6 * 16 * last["accuracy"]) == pytest.approx(round(6 * 16 * last["accuracy"]), abs=1e-3)
    best = max(history, key=lambda line: line["valid_auc"])
    labels = patches.labels[patches.valid]
    kept = predict(load_model(tmp_path / "model.keras"), patches.images, patches.valid, crop=16)
    assert best["valid_accuracy"] == accuracy(labels, kept[:, 0], 0.5)
    assert best["valid_loss"] == pytest.approx(log_loss(labels, kept[:, 0]), rel=1e-5)


def test_a_checkpoint_without_accuracy_goes_on_with_that_of_the_other_steps(
    patches: Patches, tmp_path: Path
):
    """As version 0.1 wrote it, in the middle of an epoch."""
    config = experiment(epochs=2)
    with pytest.raises(SystemError):
        run(patches, tmp_path, config, Silent((2, 4), SystemError), checkpoint_seconds=0.0)
    state = tmp_path / "state.npz"
    with np.load(state) as file:
        arrays = {name: array for name, array in file.items() if name != "seal"}
    progress = json.loads(str(arrays["progress"]))
    for key in ("accuracy_sum", "accuracy_steps"):
        del progress[key]
    for line in progress["history"]:
        for key in ("accuracy", "valid_loss", "valid_accuracy"):
            del line[key]
    arrays["progress"] = np.array(json.dumps(progress))
    np.savez(state, **arrays)
    first, second = run(patches, tmp_path, config).history
    assert "accuracy" not in first
    # the checkpoint is of step 3; three of six steps have an accuracy
    assert 48 * second["accuracy"] == pytest.approx(round(48 * second["accuracy"]), abs=1e-3)
    assert 0.3 < second["accuracy"] <= 1


def test_label_smoothing_is_in_the_loss():
    logits, labels = np.array([[2.0], [-1.0]], np.float32), np.array([[1.0], [0.0]], np.float32)
    loss = float(
        np.asarray(
            compile_model(experiment(label_smoothing=0.2), 16, 10).compute_loss(
                y=labels, y_pred=logits
            )
        )
    )
    p, y = 1 / (1 + np.exp(-logits)), labels * 0.8 + 0.1
    assert loss == pytest.approx(float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()), rel=1e-5)


def test_l2_is_in_the_loss_of_the_report_network(patches: Patches, tmp_path: Path):
    plain = Silent()
    strong = Silent()
    base = ReportCnn(
        name="report_cnn", filters=[4], units=4, block_dropout=0.0, dropout=0.0, l2=0.0
    )
    run(patches, tmp_path / "a", experiment(base, epochs=1, learning_rate=1e-6), plain)
    run(
        patches,
        tmp_path / "b",
        experiment(base.model_copy(update={"l2": 0.1}), epochs=1, learning_rate=1e-6),
        strong,
    )
    assert strong.steps[0] > plain.steps[0] + 0.1


def test_a_symmetric_average_is_the_same_for_every_orientation_of_a_patch(patches: Patches):
    model = compile_model(experiment(), 16, 10)
    turned = replace(patches, images=np.ascontiguousarray(np.rot90(patches.images, axes=(1, 2))))
    means = [
        predict(model, p.images, p.valid, crop=16, views=VIEWS["d4"]).mean(axis=1)
        for p in (patches, turned)
    ]
    np.testing.assert_allclose(*means, atol=1e-5)


def test_a_patch_has_the_same_result_in_any_company(
    patches: Patches, monkeypatch: pytest.MonkeyPatch
):
    model = compile_model(experiment(), 16, 10)
    told: list[int] = []
    monkeypatch.setattr("pcam_kit.inference.BATCH", 16)
    whole = predict(model, patches.images, patches.valid, crop=16, progress=told.append)
    assert whole.shape == (56, 1)
    assert told == [16, 32, 48, 56]
    np.testing.assert_allclose(
        whole[50:53], predict(model, patches.images, patches.valid[50:53], crop=16), atol=1e-5
    )


class Hangup(Silent):
    """A lost connection after the second step: the signal twice, and nothing can be shown."""

    def step(self, epoch: int, step: int, loss: float) -> None:
        super().step(epoch, step, loss)
        if step == 2:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            raise OSError(5, "Input/output error")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_lost_connection_saves_a_checkpoint(patches: Patches, tmp_path: Path):
    with pytest.raises(Interrupted):
        run(patches, tmp_path, experiment(epochs=1), Hangup())
    _, state = end_state(tmp_path, experiment(epochs=1))
    assert state.step == 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_under_nohup_it_goes_on(patches: Patches, tmp_path: Path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="Input/output"):
            run(patches, tmp_path, experiment(epochs=1), Hangup())
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
