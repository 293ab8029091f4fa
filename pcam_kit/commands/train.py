"""`pcam train`: an experiment and a store in, a finished run out.

Keras is imported late: a fault in the config or the data is told at once, not after the seconds that TensorFlow takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcam_kit import runs
from pcam_kit.commands.config import resolve
from pcam_kit.commands.console import TrainingDisplay, duration, quiet_import, say
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.leak_guard import describe_leaks, training_rows
from pcam_kit.commands.parts import on_store, rows_of
from pcam_kit.commands.pretrained import check_config, check_unchanged, check_weights
from pcam_kit.commands.provenance import now, provenance
from pcam_kit.commands.score import predict_split
from pcam_kit.config.schema import Experiment
from pcam_kit.data import folding
from pcam_kit.data.split import draw
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, Interrupted, UsageError
from pcam_kit.evaluation.calibration import best_threshold, fit_temperature
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.evaluation.metrics import evaluate, roc_auc
from pcam_kit.files import clear_partial, locked
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches
from pcam_kit.runs import Result, Run


@dataclass(frozen=True)
class Request:
    """What was asked for: a new run of `config` (None: the default of the competition fetched last), or `resume`."""

    config: str | None = None
    overrides: tuple[str, ...] = ()
    resume: str | None = None  # a run; "" the newest unfinished one; None a new run
    workers: int = 2


def train(request: Request, folders: Folders) -> Run:
    """Train, or go on training, until the run is complete. Raises Interrupted with a run that can be resumed."""
    run, store = _resumed(request, folders) if request.resume is not None else _new(request, folders)
    if run.result is not None:
        say(f"{run.name} is complete already")
        return run
    with locked(run.lock_file, f"training {run.name}"):
        clear_partial(run.path)
        try:
            return _finish(run, store, request.workers)
        except KeyboardInterrupt:  # outside the loop, e.g. during the last evaluation: the checkpoint on disk is good
            raise Interrupted(f"{run.name} was stopped; nothing is lost", hint=_resume_hint(run)) from None
        except Interrupted as error:
            raise Interrupted(error.message, hint=_resume_hint(run)) from None


def describe(run: Run) -> dict[str, Any]:
    """The JSON object of `pcam train`. The run must be complete."""
    result = run.result
    if result is None:
        raise UsageError(f"{run.name} is not complete")
    return {
        "run": str(run.path),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "valid_auc": result.valid_auc,
        "valid_accuracy": result.valid_accuracy,
        "threshold": result.threshold,
        "seconds": result.seconds,
    }


def _resume_hint(run: Run) -> str:
    return f"go on with: pcam train --resume {run.name}"


def _new(request: Request, folders: Folders) -> tuple[Run, Store]:
    experiment = resolve(request.config, request.overrides, folders)
    store = folders.store(experiment.competition or folders.fetched_last(), experiment.data.stain)
    experiment = on_store(experiment, store)
    _check(experiment, store)
    fold = experiment.data.fold
    backend, device = _keras()
    meta = provenance(list(request.overrides)) | {
        "config": request.config,
        "backend": backend,
        "device": device,
        "seed": experiment.seed,
        "competition": store.profile.model_dump(mode="json"),
        "synthetic": store.synthetic,
        "store_fingerprint": store.fingerprint,
        "split_hash": store.split_hash,
        **({} if fold is None else {"folds_hash": folding.folds_hash(store, fold)}),
        **describe_leaks(store, training_rows(experiment, store), fold),
    }
    meta |= check_weights(experiment)
    run = runs.create_run(folders.runs, experiment, meta)
    counts = ", ".join(f"{name} {len(folding.rows(store, name, fold)):,}" for name in store.splits)
    counts += f"; fold {fold.index} of {fold.of}" if fold is not None else ""
    say(f"training {experiment.name} on {store.profile.title} ({counts}) -> {run.path}")
    return run, store


def _resumed(request: Request, folders: Folders) -> tuple[Run, Store]:
    if request.config is not None or request.overrides:
        raise UsageError(
            "--resume goes on with the run's own config", hint="leave out CONFIG, --set and --seed, or start a new run without --resume"
        )
    run = runs.find_run(folders.runs, request.resume or None, complete=None if request.resume else False)
    store = folders.store_of(run)
    if run.result is not None:
        return run, store
    backend, _ = _keras()
    if run.meta["backend"] != backend:
        raise UsageError(
            f"{run.name} was begun with Keras on {run.meta['backend']}, this is {backend}",
            hint=f"KERAS_BACKEND={run.meta['backend']} pcam train --resume {run.name}",
        )
    check_unchanged(run)
    say(f"going on with {run.name}")
    return runs.update_meta(run, resumed=[*run.meta.get("resumed", []), now()]), store


def _keras() -> tuple[str, str]:
    """Its backend and devices."""
    with quiet_import():
        from pcam_kit.training.backend import backend_name, device_names
    return backend_name(), device_names()


def _check(experiment: Experiment, store: Store) -> None:
    """Faults that show only with the store in hand, and those of the augmentation, before a run folder is made."""
    Augmenter(experiment.augment, seed=experiment.seed)
    size = store.images.shape[1]
    if (experiment.data.crop or size) > size:
        raise ConfigError(f"data.crop: {experiment.data.crop} is larger than the patches of {store.profile.slug}, {size}x{size}")
    check_config(experiment, experiment.data.crop or size)
    for split in ("train", "valid"):
        labels = store.labels[training_rows(experiment, store) if split == "train" else folding.rows(store, split, experiment.data.fold)]
        positive = int((labels == 1).sum())
        if positive == 0 or positive == len(labels):
            part = f"the {split} {'split' if experiment.data.fold is None else 'part of the folds'}"
            raise ConfigError(f"{store.path}: {part} needs patches of both classes, it has {positive} positive of {len(labels)}")


def _finish(run: Run, store: Store, workers: int) -> Run:
    """Train to the end, then measure the best weights on the validation split and choose the threshold there."""
    with quiet_import():
        from pcam_kit.inference import predict
        from pcam_kit.training.fit import Files, fit
    experiment = run.experiment
    crop = experiment.data.crop or store.images.shape[1]
    valid = rows_of(run, store, "valid")
    labels = store.labels[valid]
    rows, limit = training_rows(experiment, store), experiment.data.limit
    batches = Batches(
        store.images,
        store.labels,
        rows if limit is None else draw(rows, limit, experiment.seed),
        experiment.training.batch_size,
        crop,
        Augmenter(experiment.augment, seed=experiment.seed),
        experiment.seed,
        workers,
    )

    def validate(model: Any) -> float:
        return roc_auc(labels, predict(model, store.images, valid, crop=crop)[:, 0])

    with TrainingDisplay() as display:
        progress = fit(experiment, batches, validate, Files(run.state_file, run.model_file, run.metrics_file), display)
    tta = experiment.evaluation.tta
    made = predict_split(run, "valid", tta, store)
    probabilities = made.probability(tta)
    threshold = best_threshold(labels, probabilities)
    scores = evaluate(labels, probabilities, threshold.value)
    span = intervals(labels, probabilities, threshold.value, made.groups)
    runs.update_meta(run, ended=now())
    finished = run.complete(
        Result(
            epochs=progress.epoch,
            best_epoch=progress.best_epoch,
            valid_n=scores.n,
            valid_auc=scores.auc,
            valid_auc_low=span.auc[0],
            valid_auc_high=span.auc[1],
            valid_accuracy=scores.accuracy,
            valid_accuracy_at_half=scores.accuracy_at_half,
            threshold=threshold.value,
            threshold_low=threshold.low,
            threshold_high=threshold.high,
            tta=tta,
            seconds=round(progress.seconds, 3),
            temperature=fit_temperature(labels, probabilities).value,
        )
    )
    say(
        f"{run.name}: validation AUC {scores.auc:.4f} ({span.auc[0]:.4f}-{span.auc[1]:.4f}), accuracy {scores.accuracy:.4f} "
        f"at threshold {threshold.value:.3f} (n {scores.n:,}, best epoch {progress.best_epoch}, {duration(progress.seconds)})"
    )
    return finished
