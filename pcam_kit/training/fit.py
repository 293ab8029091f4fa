"""The training loop: one `train_on_batch` a step, validation and a checkpoint each epoch, exact
resume.

Not `Model.fit`: resuming in the middle of an epoch, stopping at the step whose loss is not finite
and leaving a checkpoint on Ctrl-C all need the step in hand, and `fit` may hold its last batch for
seconds (tf.data's autotune).
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
from typing import Any, Protocol

import keras
import numpy as np

from pcam_kit.config.schema import Experiment, Training, Transfer
from pcam_kit.errors import Interrupted, TrainingError
from pcam_kit.files import write_bytes, writing
from pcam_kit.models import build_model, with_probability
from pcam_kit.models.pretrained import load_pretrained
from pcam_kit.models.task import Task
from pcam_kit.models.transfer import rate_factors
from pcam_kit.pipeline.batches import Batches
from pcam_kit.training.schedule import Phases, build_optimizer
from pcam_kit.training.state import (
    Progress,
    WeightAverage,
    load_state,
    save_state,
    using_weights,
    weights_of,
)

CHECKPOINT_SECONDS = 60.0  # between two checkpoints inside an epoch


class Reporter(Protocol):
    """Is told how a training goes. Epochs and steps count from 1."""

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Training begins, or resumes after `done` of its `epochs` times `steps` steps."""
        ...

    def step(self, epoch: int, step: int, loss: float) -> None:
        """A step is done; `loss` is the mean of the epoch so far."""
        ...

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch is done and validated."""
        ...


@dataclass(frozen=True)
class Files:
    """Where a training writes: the checkpoint (read back on resume), the best model, the metrics of
    each epoch.
    """

    state: Path
    model: Path
    metrics: Path


# a model with logit output -> AUC on the whole validation split
Validate = Callable[[keras.Model], float]


def fit(
    experiment: Experiment,
    batches: Batches,
    validate: Validate,
    files: Files,
    reporter: Reporter,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Progress:
    """Train until the last epoch or early stopping; the best weights by validation AUC are then in
    `files.model`.

    Goes on from `files.state` when it exists, and ends with the weights an uninterrupted training
    would have (same machine, same backend). Raises TrainingError when the loss is not finite,
    Interrupted after Ctrl-C or SIGTERM with a fresh checkpoint on disk.
    """
    config = experiment.training
    keras.utils.set_random_seed(experiment.seed)
    new = not files.state.is_file()
    nets = _networks(experiment, batches, new=new)
    progress = Progress() if new else load_state(files.state, nets.trained, nets.average)
    if new and isinstance(experiment.model, Transfer) and experiment.model.weights is not None:
        # so that going on never needs their file, or a download, again
        nets.save_state(files.state, progress)
    reporter.started(config.epochs, batches.steps, progress.epoch * batches.steps + progress.step)
    with _stop_requests() as stop:
        while not finished(progress, config):
            _run_epoch(nets, batches, progress, files, reporter, stop, checkpoint_seconds)
            _finish_epoch(nets, validate, progress, files, reporter)
    return progress


@dataclass(frozen=True)
class _Networks:
    """The network that learns, the one that is validated and saved (always float32; the same one
    where possible), and the average.
    """

    trained: keras.Model
    shown: keras.Model
    average: WeightAverage | None

    def save_state(self, path: Path, progress: Progress) -> None:
        save_state(path, self.trained, self.average, progress)


def _networks(experiment: Experiment, batches: Batches, *, new: bool) -> _Networks:
    config = experiment.training
    model = compiled(experiment, batches.crop, config.epochs * batches.steps)
    if new:
        load_pretrained(model, experiment.model)
    shown = (
        model
        if config.precision == "float32"
        else build_model(experiment.model, Task(batches.crop))
    )
    return _Networks(
        model, shown, WeightAverage(model, config.ema) if config.ema is not None else None
    )


def finished(progress: Progress, config: Training) -> bool:
    """Whether the last epoch is done, or no better AUC has come for `early_stopping` epochs."""
    patience = config.early_stopping
    return progress.epoch >= config.epochs or (
        patience is not None and progress.epoch - progress.best_epoch >= patience
    )


def compiled(experiment: Experiment, size: int, steps: int) -> keras.Model:
    """The untrained model with its loss and optimiser."""
    model = build_model(experiment.model, Task(size), precision=experiment.training.precision)
    loss = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=experiment.training.label_smoothing
    )
    model.compile(
        build_optimizer(experiment.training, steps, _phases(model, experiment, steps)), loss
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _phases(model: keras.Model, experiment: Experiment, steps: int) -> Phases | None:
    """Head first, then everything with rates of its own; None for a network that is not
    transferred.
    """
    config = experiment.model
    if not isinstance(config, Transfer):
        return None
    before, after = rate_factors(model, config)
    return Phases(
        config.head_epochs * steps // experiment.training.epochs, tuple(before), tuple(after)
    )


def _run_epoch(
    nets: _Networks,
    batches: Batches,
    progress: Progress,
    files: Files,
    reporter: Reporter,
    stop: threading.Event,
    checkpoint_seconds: float,
) -> None:
    epoch = progress.epoch + 1
    began = saved = time.monotonic()
    before = progress.seconds
    for images, labels in batches.epoch(epoch, start=progress.step):
        loss = float(np.asarray(nets.trained.train_on_batch(images, labels)))
        progress.step += 1
        progress.loss_sum += loss
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {epoch}, step {progress.step} of {batches.steps}",
                hint="try a lower learning rate (--set training.learning_rate=...) or --set "
                "training.clip_norm=1.0",
            )
        if nets.average is not None:
            nets.average.update(progress.epoch * batches.steps + progress.step)
        now = time.monotonic()
        progress.seconds = before + now - began
        reporter.step(epoch, progress.step, progress.loss_sum / progress.step)
        if stop.is_set() or now - saved > checkpoint_seconds:
            nets.save_state(files.state, progress)
            saved = now
        if stop.is_set():
            raise Interrupted(
                f"stopped in epoch {epoch} after step {progress.step} of {batches.steps}; "
                "nothing is lost"
            )


def _finish_epoch(
    nets: _Networks, validate: Validate, progress: Progress, files: Files, reporter: Reporter
) -> None:
    began = time.monotonic()
    values = (
        nets.average.values
        if nets.average is not None
        else None
        if nets.shown is nets.trained
        else weights_of(nets.trained)
    )
    with using_weights(nets.shown, values):
        auc = validate(nets.shown)
        progress.epoch += 1
        if auc > progress.best_auc:
            progress.best_auc, progress.best_epoch = auc, progress.epoch
            with writing(files.model) as temporary:
                with_probability(nets.shown).save(temporary)
    rate = float(np.asarray(nets.trained.optimizer.learning_rate))
    progress.seconds += time.monotonic() - began
    metrics = {
        "epoch": progress.epoch,
        "loss": progress.loss_sum / progress.step,
        "valid_auc": auc,
        "best": progress.best_epoch == progress.epoch,
        "learning_rate": rate,
        "seconds": round(progress.seconds, 3),
    }
    progress.history.append(metrics)
    progress.step, progress.loss_sum = 0, 0.0
    write_bytes(
        files.metrics,
        "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in progress.history).encode(),
    )
    nets.save_state(files.state, progress)
    reporter.epoch(metrics)


@contextmanager
def _stop_requests() -> Generator[threading.Event]:
    """An event that is set by the first Ctrl-C or SIGTERM; a second one acts at once.

    Only the main thread hears signals.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(number, None)
        stop.set()

    previous = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
