"""The training loop: one batch per step, validation and a checkpoint each epoch, exact resume.

Not `Model.fit`: resuming in the middle of an epoch, stopping at the step whose loss is not finite
and writing a checkpoint on Ctrl-C all need control over the single step. `fit` may also hold its
last batch for seconds (tf.data's autotune).
"""

# pyright: basic

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Experiment, Precision, Training, Transfer
from pcam_kit.errors import Interrupted, RunError, TrainingError
from pcam_kit.files import write_bytes, writing
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.pretrained import load_pretrained
from pcam_kit.models.saved import check_saved, save_model
from pcam_kit.models.task import Task
from pcam_kit.models.transfer import rate_factors
from pcam_kit.pipeline.batches import Batches
from pcam_kit.progress import TrainingMonitor
from pcam_kit.training.backend import quiet_import
from pcam_kit.training.devices import data_parallel
from pcam_kit.training.schedule import Phases, build_optimizer
from pcam_kit.training.state import (
    TrainingState,
    WeightAverage,
    load_state,
    save_state,
    using_weights,
    weights_of,
)

CHECKPOINT_SECONDS = 60.0  # between two checkpoints inside an epoch
# a lost connection sends SIGHUP; Ctrl-Break is what consoles of Windows have besides Ctrl-C
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@dataclass(frozen=True)
class TrainingFiles:
    """The files that a training writes.

    state: the checkpoint, read back on resume. model: the best model so far. metrics: one line per
    epoch. owner: the id of the run, which checkpoint and model carry.
    """

    state: Path
    model: Path
    metrics: Path
    owner: str = ""


# a model with logit output -> AUC on the whole validation split
Validate = Callable[[keras.Model], float]


def fit(
    experiment: Experiment,
    batches: Batches,
    validate: Validate,
    files: TrainingFiles,
    monitor: TrainingMonitor,
    *,
    precision: Precision = "float32",
    devices: int = 1,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainingState:
    """Train until the last epoch or early stopping; `files.model` then has the best weights.

    The best weights are those of the highest validation AUC. Training resumes from `files.state`
    when it exists, and ends with the weights that an uninterrupted training would have (same
    machine, same backend, as many devices). `devices` share each batch. Raises TrainingError when
    the loss is not finite, Interrupted after a signal to stop, with a fresh checkpoint on disk.
    """
    config = experiment.training
    with quiet_import():  # on JAX Keras imports TensorFlow to seed it, too
        keras.utils.set_random_seed(experiment.seed)
    new = not files.state.is_file()
    with data_parallel(devices), _stop_requests() as stop:
        networks = _build_networks(experiment, batches, precision, new=new)
        state = TrainingState()
        if not new:
            state = load_state(files.state, networks.trained, networks.average, files.owner)
            if state.best_epoch > 0:
                _check_best(files)
        elif isinstance(experiment.model, Transfer) and experiment.model.weights is not None:
            # so that a resume never needs the pretrained weights, or their download, again
            networks.save_state(files, state)
        monitor.started(config.epochs, batches.steps, state.epoch * batches.steps + state.step)
        while not is_finished(state, config):
            _run_epoch(networks, batches, state, files, monitor, stop, checkpoint_seconds)
            _finish_epoch(networks, validate, state, files, monitor)
    return state


def _check_best(files: TrainingFiles) -> None:
    """Check the best model so far before more time is spent. Raises RunError."""

    def unusable(reason: str) -> RunError:
        hint = "bring it back from a copy, or start a new training"
        return RunError(f"cannot read the model {files.model}: {reason}", hint=hint)

    check_saved(files.model, unusable, files.owner)


@dataclass(frozen=True)
class _Networks:
    """The network that is trained, the one that is validated and saved, and the weight average.

    eval_model: always float32; the same object as `trained` when that is float32, too.
    """

    trained: keras.Model
    eval_model: keras.Model
    average: WeightAverage | None

    def eval_weights(self) -> list[NDArray[np.float32]] | None:
        """The weights to validate; None when `eval_model` has them already."""
        if self.average is not None:
            return self.average.values
        if self.eval_model is self.trained:
            return None
        return weights_of(self.trained)

    def save_state(self, files: TrainingFiles, state: TrainingState) -> None:
        save_state(files.state, self.trained, self.average, state, files.owner)


def _build_networks(
    experiment: Experiment, batches: Batches, precision: Precision, *, new: bool
) -> _Networks:
    config = experiment.training
    steps = config.epochs * batches.steps
    model = compile_model(experiment, batches.crop, steps, precision=precision)
    if new:
        load_pretrained(model, experiment.model)
    eval_model = model
    if precision != "float32":
        eval_model = build_model(experiment.model, Task(batches.crop))
    average = WeightAverage(model, config.ema) if config.ema is not None else None
    return _Networks(model, eval_model, average)


def is_finished(state: TrainingState, config: Training) -> bool:
    """Whether the last epoch is done, or `early_stopping` epochs brought no better AUC."""
    if state.epoch >= config.epochs:
        return True
    patience = config.early_stopping
    return patience is not None and state.epoch - state.best_epoch >= patience


def compile_model(
    experiment: Experiment, size: int, steps: int, *, precision: Precision = "float32"
) -> keras.Model:
    """The untrained model with its loss and its optimiser.

    size: side of the patches in pixels. steps: of the whole training. In float16 the loss is
    scaled, so that small gradients do not become zero.
    """
    config = experiment.training
    model = build_model(experiment.model, Task(size), precision=precision)
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    optimizer = build_optimizer(config, steps, _phases(model, experiment, steps))
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, loss)
    model.optimizer.build(model.trainable_variables)
    return model


def _phases(model: keras.Model, experiment: Experiment, steps: int) -> Phases | None:
    """Transfer learning: first the head alone, then all variables, each at its own rate."""
    config = experiment.model
    if not isinstance(config, Transfer):
        return None
    before, after = rate_factors(model, config)
    switch = config.head_epochs * steps // experiment.training.epochs
    return Phases(switch, tuple(before), tuple(after))


def _run_epoch(
    networks: _Networks,
    batches: Batches,
    state: TrainingState,
    files: TrainingFiles,
    monitor: TrainingMonitor,
    stop: threading.Event,
    checkpoint_seconds: float,
) -> None:
    epoch = state.epoch + 1
    began = saved = time.monotonic()
    seconds_before = state.seconds
    for images, labels in batches.epoch(epoch, start=state.step):
        networks.trained.reset_metrics()  # else Keras before 3.15 gives the mean over all steps
        loss = float(np.asarray(networks.trained.train_on_batch(images, labels)))
        state.step += 1
        state.loss_sum += loss
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {epoch}, step {state.step} of {batches.steps}",
                hint="try a lower learning rate (--set training.learning_rate=...) or --set "
                "training.clip_norm=1.0",
            )
        if networks.average is not None:
            networks.average.update(state.epoch * batches.steps + state.step)
        now = time.monotonic()
        state.seconds = seconds_before + now - began
        try:
            monitor.step(epoch, state.step, state.loss_sum / state.step)
        except OSError:  # nothing can be shown after a lost connection
            if not stop.is_set():
                raise
        if stop.is_set() or now - saved > checkpoint_seconds:
            networks.save_state(files, state)
            saved = now
        if stop.is_set():
            raise Interrupted(
                f"stopped in epoch {epoch} after step {state.step} of {batches.steps}; "
                "nothing is lost"
            )


def _finish_epoch(
    networks: _Networks,
    validate: Validate,
    state: TrainingState,
    files: TrainingFiles,
    monitor: TrainingMonitor,
) -> None:
    """Validate, keep the model if it is the best so far, write metrics and checkpoint."""
    began = time.monotonic()
    with using_weights(networks.eval_model, networks.eval_weights()):
        auc = validate(networks.eval_model)
        state.epoch += 1
        if auc > state.best_auc:
            state.best_auc, state.best_epoch = auc, state.epoch
            with writing(files.model) as temporary:
                save_model(with_probability(networks.eval_model), temporary, owner=files.owner)
    rate = float(np.asarray(networks.trained.optimizer.learning_rate))
    state.seconds += time.monotonic() - began
    metrics = {
        "epoch": state.epoch,
        "loss": state.loss_sum / state.step,
        "valid_auc": auc,
        "best": state.best_epoch == state.epoch,
        "learning_rate": rate,
        "seconds": round(state.seconds, 3),
    }
    state.history.append(metrics)
    state.step, state.loss_sum = 0, 0.0
    lines = [f"{json.dumps(line, allow_nan=False)}\n" for line in state.history]
    write_bytes(files.metrics, "".join(lines).encode())
    networks.save_state(files, state)
    monitor.epoch(metrics)


@contextmanager
def _stop_requests() -> Generator[threading.Event]:
    """Yield an event that the first of STOP_SIGNALS sets; a second one stops at once.

    Not a second SIGHUP: terminal and shell send one each. Where SIGHUP is ignored, as under nohup,
    it stays so. Python delivers signals to the main thread only; in other threads the event is
    never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number != hangup:
            signal.default_int_handler(number, None)
        stop.set()

    numbers = [getattr(signal, name) for name in STOP_SIGNALS if hasattr(signal, name)]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) == signal.SIG_IGN:
        numbers.remove(hangup)
    previous = {number: signal.signal(number, request) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
