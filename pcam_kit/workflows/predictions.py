"""A run's probabilities on a split: computed once, kept in the run folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Tta, WithoutNetwork
from pcam_kit.data.folds import patch_names
from pcam_kit.data.store import Store
from pcam_kit.errors import RunError, UsageError
from pcam_kit.evaluation.calibration import best_threshold, fit_temperature
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.metrics import evaluate
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Predictions, Result, Run
from pcam_kit.training.backend import quiet_import
from pcam_kit.views import VIEWS
from pcam_kit.workflows.plan import rows_of
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)


def predictions_of(
    run: Run, split: str, tta: Tta, workspace: Workspace, *, display: Display = SILENT
) -> Predictions:
    """The run's predictions on `split` with the views of `tta`: kept ones, or new ones.

    Kept ones are compared with the run's store, where there is one. Raises RunError when the store
    in the workspace is another, or they do not fit it.
    """
    kept = run.load_predictions(split)
    if kept is None or not kept.covers(tta):
        return predict_split(run, split, tta, workspace.store_of(run), display=display)
    folder = workspace.store_path(run.competition.slug, run.experiment.data.stain)
    if (folder / "manifest.json").exists():
        store = workspace.store_of(run)
        check_patches(run, split, kept, store)
        against = f"of {store.path}"
    else:
        against = "not compared with its store, which is not there"
    log.info(f"{run.name}: cached {split} predictions, {against}")
    return kept


def check_patches(run: Run, split: str, kept: Predictions, store: Store) -> None:
    """Raises RunError unless these are predictions of all patches of the split, in their order."""
    rows = rows_of(run, store, split)
    names = patch_names(store, rows)
    if np.array_equal(kept.ids, names) and np.array_equal(kept.labels, store.labels[rows]):
        return
    path = run.predictions_file(split)
    raise RunError(
        f"{path}: expected ids and labels of the {len(rows):,} patches of {split} in {store.path}, "
        f"found {len(kept.ids):,} others",
        hint=f"delete {path}, then run the same command again",
    )


def predict_split(
    run: Run, split: str, tta: Tta, store: Store, *, display: Display = SILENT
) -> Predictions:
    """Compute the run's predictions on `split` of its store, and keep them in the run folder."""
    network = run.experiment.model
    if isinstance(network, WithoutNetwork):
        raise RunError(
            f"{run.name} holds {network.holds}: none with the views of {tta} on {split}",
            hint=network.more.format(split=split),
        )
    with quiet_import():  # and late: TensorFlow takes seconds, and kept predictions do without
        from pcam_kit.inference import load_trained, predict

    rows = rows_of(run, store, split)
    model = load_trained(run)
    crop = store.crop_size(run.experiment.data.crop)
    check_shapes(run, model, crop)
    views = VIEWS[tta]
    with display.work() as progress:
        probabilities = predict(
            model,
            store.images,
            rows,
            crop=crop,
            views=views,
            progress=lambda n: progress(f"predicting {split}", n, len(rows)),
        )
    check_probabilities(run, probabilities)
    predictions = Predictions(
        patch_names(store, rows), store.labels[rows], probabilities, views, store.groups[rows]
    )
    run.save_predictions(split, predictions)
    return predictions


def check_shapes(run: Run, model: Any, crop: int) -> None:
    """Raises RunError unless the model takes patches of `crop` pixels and gives a probability."""
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    taken = shapes[0] if isinstance(shapes[0], tuple) else ()
    fits = len(taken) == 4 and all(
        given in (None, wanted) for given, wanted in zip(taken, (None, crop, crop, 3), strict=True)
    )
    if not fits or shapes[1] != (None, 1):
        raise RunError(
            f"{run.model_file}: expected a model from [n, {crop}, {crop}, 3] to [n, 1], found one "
            f"from {shapes[0]} to {shapes[1]}",
            hint="the run folder is damaged: train again",
        )


def check_probabilities(run: Run, values: NDArray[np.float32]) -> None:
    """Raises RunError where the model's answers are no probabilities."""
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():  # also where it is NaN
        raise RunError(
            f"{run.model_file} gives {int(outside.sum()):,} of {outside.size:,} values outside of "
            f"0..1, e.g. {values[outside][0]}",
            hint="train again: pcam train",
        )


class Epochs(Protocol):
    """How a training went: `training.state.TrainingState`, or `NoEpochs`."""

    @property
    def epoch(self) -> int: ...
    @property
    def best_epoch(self) -> int: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True)
class NoEpochs:
    """Of a run that was not trained in epochs."""

    epoch: int = 0
    best_epoch: int = 0
    seconds: float = 0.0


def complete_run(run: Run, predictions: Predictions, epochs: Epochs) -> Run:
    """Measure a run's validation predictions, choose the threshold, and write the result."""
    tta = run.experiment.evaluation.tta
    labels, probabilities = predictions.labels, predictions.probability(tta)
    threshold = best_threshold(labels, probabilities)
    scores = evaluate(labels, probabilities, threshold.value)
    interval = intervals(labels, probabilities, threshold.value, predictions.groups)
    return run.complete(
        Result(
            epochs=epochs.epoch,
            best_epoch=epochs.best_epoch,
            valid_n=scores.n,
            valid_auc=scores.auc,
            valid_auc_low=interval.auc[0],
            valid_auc_high=interval.auc[1],
            valid_accuracy=scores.accuracy,
            valid_accuracy_at_half=scores.accuracy_at_half,
            threshold=threshold.value,
            threshold_low=threshold.low,
            threshold_high=threshold.high,
            tta=tta,
            seconds=round(epochs.seconds, 3),
            temperature=fit_temperature(labels, probabilities).value,
        )
    )


def known_labels(predictions: Predictions, split: str) -> NDArray[np.int8]:
    """The labels of `split`, int8 [n]. Raises UsageError where they are not known."""
    if (predictions.labels < 0).any():
        raise UsageError(
            f"the labels of the {split} split are not known, so it cannot be evaluated",
            hint="evaluate on --split valid; the score on the test split comes from pcam submit",
        )
    return predictions.labels
