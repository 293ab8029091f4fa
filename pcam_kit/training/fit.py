"""The training loop: one batch per step, validation and a checkpoint each epoch, exact resume.

Not `Model.fit`: resuming in the middle of an epoch, stopping at the step whose loss is not finite
and writing a checkpoint on Ctrl-C all need control over the single step. `fit` may also hold its
last batch for seconds (tf.data's autotune).
"""

# pyright: basic

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import keras
import numpy as np

from pcam_kit.config.schema import Experiment, Precision, Training, Transfer
from pcam_kit.errors import Interrupted, RunError, TrainingError
from pcam_kit.files import writing
from pcam_kit.models import with_probability
from pcam_kit.models.saved import check_saved, save_model
from pcam_kit.pipeline.batches import Batches
from pcam_kit.progress import TrainingMonitor
from pcam_kit.run_folders.epochs import write_metrics
from pcam_kit.training.backend import set_seed
from pcam_kit.training.devices import data_parallel, undistributed
from pcam_kit.training.networks import Networks, build_networks
from pcam_kit.training.nodes import ALONE, Group
from pcam_kit.training.state import TrainingState, load_state, save_state, using_weights
from pcam_kit.training.steps import Steps, StepScores, begin_steps
from pcam_kit.training.validation import Validation

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


# a model with logit output -> its scores on the whole validation split
Validate = Callable[[keras.Model], Validation]


def fit(
    experiment: Experiment,
    batches: Batches,
    validate: Validate,
    files: TrainingFiles,
    monitor: TrainingMonitor,
    *,
    precision: Precision = "float32",
    devices: int = 1,
    group: Group = ALONE,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainingState:
    """Train until the last epoch or early stopping; `files.model` then has the best weights.

    The best weights are those of the highest validation AUC. Training resumes from `files.state`
    when it exists, and ends with the weights that an uninterrupted training would have (same
    machine, same backend, as many devices). `devices` share each batch. Raises TrainingError when
    the loss is not finite, Interrupted after a signal to stop, with a fresh checkpoint on disk.

    group: the processes that the devices are in; all call this with their part of the batches, and
    only the first writes. A signal to one stops all, at the same step.
    """
    config = experiment.training
    set_seed(experiment.seed)
    new = not files.state.is_file()
    with data_parallel(devices), _stop_requests() as stop, batches.started() as batches:
        separate = group.count > 1
        networks = build_networks(experiment, batches, precision, new=new, separate=separate)
        state = TrainingState()
        if not new:
            state = load_state(files.state, networks.trained, networks.average, files.owner)
            if state.best_epoch > 0 and group.is_first:
                _check_best(files)
        elif isinstance(experiment.model, Transfer) and experiment.model.weights is not None:
            # so that a resume never needs the pretrained weights, or their download, again
            _save(networks, files, state, group)
        steps = begin_steps(networks)
        loop = _Loop(networks, steps, batches, state, files, monitor, stop, group)
        monitor.started(config.epochs, batches.steps, state.epoch * batches.steps + state.step)
        while not is_finished(state, config):
            _run_epoch(loop, checkpoint_seconds)
            _finish_epoch(loop, validate)
    return state


@dataclass(frozen=True)
class _Loop:
    """What the epochs of a training share. stop: set when it is to end after the step."""

    networks: Networks
    steps: Steps
    batches: Batches
    state: TrainingState
    files: TrainingFiles
    monitor: TrainingMonitor
    stop: threading.Event
    group: Group

    def save(self) -> None:
        """Write the checkpoint."""
        _save(self.networks, self.files, self.state, self.group)


def _check_best(files: TrainingFiles) -> None:
    """Check the best model so far before more time is spent. Raises RunError."""

    def unusable(reason: str) -> RunError:
        hint = "bring it back from a copy, or start a new training"
        return RunError(f"cannot read the model {files.model}: {reason}", hint=hint)

    check_saved(files.model, unusable, files.owner)


def _save(networks: Networks, files: TrainingFiles, state: TrainingState, group: Group) -> None:
    if group.is_first:
        save_state(files.state, networks.trained, networks.average, state, files.owner)


def is_finished(state: TrainingState, config: Training) -> bool:
    """Whether the last epoch is done, or `early_stopping` epochs brought no better AUC."""
    if state.epoch >= config.epochs:
        return True
    patience = config.early_stopping
    return patience is not None and state.epoch - state.best_epoch >= patience


def _run_epoch(loop: _Loop, checkpoint_seconds: float) -> None:
    state, batches, steps, stop = loop.state, loop.batches, loop.steps, loop.stop
    epoch = state.epoch + 1
    began = saved = time.monotonic()
    seconds_before = state.seconds
    losses = _Losses(state, batches.steps, loop.group)
    for images, labels in batches.epoch(epoch, start=state.step):
        scores = steps(state.epoch * batches.steps + state.step + 1, images, labels)
        state.step += 1
        losses.read()  # of the step before, while the device computes this one
        losses.waiting = scores
        if not steps.is_ahead or losses.is_first:
            losses.read()
        now = time.monotonic()
        state.seconds = seconds_before + now - began
        try:
            loop.monitor.step(epoch, state.step, losses.mean)
        except OSError:  # nothing can be shown after a lost connection
            if not stop.is_set():
                raise
        stopped = loop.group.any(stop.is_set())
        if stopped or now - saved > checkpoint_seconds:
            losses.read()
            steps.write_back()
            loop.save()
            saved = now
        if stopped:
            loop.group.leave()
            raise Interrupted(
                f"stopped in epoch {epoch} after step {state.step} of {batches.steps}; "
                "nothing is lost"
            )
    losses.read()
    steps.write_back()


class _Losses:
    """Adds the scores of the steps to `state`, each when it is read.

    Reading waits for the step, so `waiting` are the scores of the latest one.
    """

    def __init__(self, state: TrainingState, steps: int, group: Group) -> None:
        self._state, self._steps, self._group = state, steps, group
        self._done = state.step
        self.waiting: StepScores | None = None

    @property
    def mean(self) -> float:
        """The mean loss of the epoch's steps that were read."""
        return self._state.loss_sum / self._done

    @property
    def is_first(self) -> bool:
        """Whether no step of the epoch was read."""
        return self._done == 0

    def read(self) -> None:
        """Read what is waiting. Raises TrainingError when the loss is not finite."""
        if self.waiting is None:
            return
        loss, accuracy = (float(np.asarray(score)) for score in self.waiting)
        self.waiting = None
        self._done += 1
        state = self._state
        state.loss_sum += loss
        state.accuracy_sum += accuracy
        state.accuracy_steps += 1
        if not math.isfinite(loss):
            self._group.leave()  # it is the same everywhere
            raise TrainingError(
                f"the loss became {loss} in epoch {state.epoch + 1}, step {self._done} of "
                f"{self._steps}",
                hint="try a lower learning rate (--set training.learning_rate=...) or --set "
                "training.clip_norm=1.0",
            )


def _finish_epoch(loop: _Loop, validate: Validate) -> None:
    """Validate, keep the model if it is the best so far, write metrics and checkpoint."""
    networks, state, files, group = loop.networks, loop.state, loop.files, loop.group
    began = time.monotonic()
    here = undistributed() if group.count > 1 else nullcontext()
    with here, using_weights(networks.eval_model, networks.eval_weights()):
        scores = validate(networks.eval_model)
        state.epoch += 1
        if scores.auc > state.best_auc:
            state.best_auc, state.best_epoch = scores.auc, state.epoch
            if group.is_first:
                with writing(files.model) as temporary:
                    save_model(with_probability(networks.eval_model), temporary, owner=files.owner)
    rate = float(np.asarray(networks.trained.optimizer.learning_rate))
    state.seconds += time.monotonic() - began
    accuracy = None  # resumed after the last step from a checkpoint of version 0.1
    if state.accuracy_steps > 0:
        accuracy = state.accuracy_sum / state.accuracy_steps
    metrics = {
        "epoch": state.epoch,
        "loss": state.loss_sum / state.step,
        "accuracy": accuracy,
        "valid_loss": scores.loss,
        "valid_auc": scores.auc,
        "valid_accuracy": scores.accuracy,
        "best": state.best_epoch == state.epoch,
        "learning_rate": rate,
        "seconds": round(state.seconds, 3),
    }
    state.history.append(metrics)
    state.step = state.accuracy_steps = 0
    state.loss_sum = state.accuracy_sum = 0.0
    if group.is_first:
        write_metrics(files.metrics, state.history)
    loop.save()
    loop.monitor.epoch(metrics)


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
