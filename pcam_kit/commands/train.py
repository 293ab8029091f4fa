"""`pcam train`: an experiment and a store in, a finished run out.

Keras is imported late: a fault in the config or the data is told at once, not after the seconds
that TensorFlow takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcam_kit import runs
from pcam_kit.commands.config import resolve
from pcam_kit.commands.console import quiet_import, say
from pcam_kit.commands.finish import finish
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.leak_guard import describe_leaks, training_rows
from pcam_kit.commands.parts import on_store
from pcam_kit.commands.pretrained import check_config, check_unchanged, check_weights
from pcam_kit.commands.provenance import now, provenance
from pcam_kit.commands.teachers import recipes
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Experiment
from pcam_kit.data import folding
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, Interrupted, UsageError
from pcam_kit.files import clear_partial, locked
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.runs import Run, list_runs


@dataclass(frozen=True)
class Request:
    """What was asked for: a new run of `config` (None: the default of the competition fetched
    last), or `resume`.
    """

    config: str | None = None
    overrides: tuple[str, ...] = ()
    resume: str | None = None  # a run; "" the newest unfinished one; None a new run
    workers: int = 2


def train(request: Request, folders: Folders) -> Run:
    """Train, or go on training, until the run is complete.

    Raises Interrupted with a run that can be resumed.
    """
    run, store = (
        _resumed(request, folders) if request.resume is not None else _new(request, folders)
    )
    if run.result is not None:
        say(f"{run.name} is complete already")
        return run
    with locked(run.lock_file, f"training {run.name}"):
        clear_partial(run.path)
        try:
            return finish(run, store, folders, request.workers)
        # outside the loop, e.g. during the last evaluation: the checkpoint on disk is good
        except KeyboardInterrupt:
            raise Interrupted(
                f"{run.name} was stopped; nothing is lost", hint=_resume_hint(run)
            ) from None
        except Interrupted as error:
            raise Interrupted(error.message, hint=_resume_hint(run)) from None


def train_once(
    config: str, changes: tuple[str, ...], store: Store, folders: Folders, *, workers: int = 2
) -> Run:
    """The run of `config` with `changes` on `store`: one that is there, one that was stopped and is
    gone on with, or a new one.
    """
    experiment = load_experiment(config, changes)
    there = _there(experiment, store, folders)
    complete = [run for run in there if run.result is not None]
    if complete:
        say(f"{experiment.name}, {label(experiment)}: {complete[-1].name} is there already")
        return complete[-1]
    if there:
        return train(Request(resume=there[-1].name, workers=workers), folders)
    return train(Request(config, changes, workers=workers), folders)


def finished(experiment: Experiment, store: Store, folders: Folders) -> list[Run]:
    """The complete runs of `experiment` on `store`, oldest first."""
    return [run for run in _there(experiment, store, folders) if run.result is not None]


def label(experiment: Experiment) -> str:
    """`seed 3`, or `seed 3, fold 1 of 5`."""
    fold = experiment.data.fold
    return f"seed {experiment.seed}" + (
        f", fold {fold.index} of {fold.of}" if fold is not None else ""
    )


def describe(run: Run) -> dict[str, Any]:
    """The JSON object of `pcam train`. The run must be complete."""
    result = run.outcome
    return {
        "run": str(run.path),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "valid_auc": result.valid_auc,
        "valid_accuracy": result.valid_accuracy,
        "threshold": result.threshold,
        "seconds": result.seconds,
    }


def _there(experiment: Experiment, store: Store, folders: Folders) -> list[Run]:
    wanted = on_store(experiment, store)
    of_store = [
        run for run in list_runs(folders.runs) if run.meta["store_fingerprint"] == store.fingerprint
    ]
    return [run for run in of_store if _same(run.experiment, wanted)]


def _same(one: Experiment, other: Experiment) -> bool:
    """Whether two experiments on one store are the same training: `competition` only says where the
    store is looked for.
    """
    return one.model_copy(update={"competition": None}) == other.model_copy(
        update={"competition": None}
    )


def _resume_hint(run: Run) -> str:
    return f"go on with: pcam train --resume {run.name}"


def _new(request: Request, folders: Folders) -> tuple[Run, Store]:
    experiment = resolve(request.config, request.overrides, folders)
    store = folders.store(experiment.competition or folders.fetched_last(), experiment.data.stain)
    experiment = on_store(experiment, store)
    _check(experiment, store)
    weights = check_weights(experiment)
    taught_by = _trained_teachers(experiment, store, folders, request.workers)
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
    meta |= weights
    if taught_by:
        meta["teachers"] = [{"run": one.name, "seconds": one.outcome.seconds} for one in taught_by]
    run = runs.create_run(folders.runs, experiment, meta)
    counts = ", ".join(f"{name} {len(folding.rows(store, name, fold)):,}" for name in store.splits)
    counts += f"; fold {fold.index} of {fold.of}" if fold is not None else ""
    say(f"training {experiment.name} on {store.profile.title} ({counts}) -> {run.path}")
    return run, store


def _trained_teachers(
    experiment: Experiment, store: Store, folders: Folders, workers: int
) -> list[Run]:
    """The finished runs that the network is to learn from, trained where they are not there."""
    wanted = recipes(experiment, store)
    for config, changes in wanted:  # a fault in the last one is told before the first is trained
        teacher = load_experiment(config, changes)
        if not _there(teacher, store, folders):
            _check(on_store(teacher, store), store)
            check_weights(teacher)
    if wanted:
        say(
            f"{experiment.name} learns from {len(wanted)} others, trained first; without them: "
            "--set training.teachers=null"
        )
    done: list[Run] = []
    for config, changes in wanted:
        say(f"teacher {len(done) + 1} of {len(wanted)}: {config}", style="bold")
        try:
            done.append(train_once(config, changes, store, folders, workers=workers))
        except Interrupted as error:
            raise Interrupted(
                error.message,
                hint=f"{len(done)} of {len(wanted)} teachers are done; the same command goes on",
            ) from None
    return done


def _resumed(request: Request, folders: Folders) -> tuple[Run, Store]:
    if request.config is not None or request.overrides:
        raise UsageError(
            "--resume goes on with the run's own config",
            hint="leave out CONFIG, --set and --seed, or start a new run without --resume",
        )
    run = runs.find_run(
        folders.runs, request.resume or None, complete=None if request.resume else False
    )
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
    """Faults that show only with the store in hand, and those of the augmentation, before a run
    folder is made.
    """
    Augmenter(experiment.augment, seed=experiment.seed)
    size = store.images.shape[1]
    if (experiment.data.crop or size) > size:
        raise ConfigError(
            f"data.crop: {experiment.data.crop} is larger than the patches of "
            f"{store.profile.slug}, {size}x{size}"
        )
    check_config(experiment, experiment.data.crop or size)
    for split in ("train", "valid"):
        labels = store.labels[
            training_rows(experiment, store)
            if split == "train"
            else folding.rows(store, split, experiment.data.fold)
        ]
        positive = int((labels == 1).sum())
        if positive == 0 or positive == len(labels):
            part = f"the {split} {'split' if experiment.data.fold is None else 'part of the folds'}"
            raise ConfigError(
                f"{store.path}: {part} needs patches of both classes, it has {positive} positive "
                f"of {len(labels)}"
            )
