"""A run's probabilities on a split: computed once, kept in the run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcam_kit.clock import now
from pcam_kit.config.schema import Ensemble, Tta, WithoutNetwork
from pcam_kit.data.folds import patch_names
from pcam_kit.data.store import Store
from pcam_kit.errors import RunError, UsageError
from pcam_kit.evaluation.calibration import best_threshold, fit_temperature
from pcam_kit.evaluation.ensemble import combine
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.metrics import evaluate
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Predictions, Result, Run, find_run, update_meta
from pcam_kit.training.backend import quiet_import
from pcam_kit.views import AS_IS, VIEWS
from pcam_kit.workflows.engine import quick_answers
from pcam_kit.workflows.plan import rows_of
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

MEAN: Tta = "none"  # an ensemble has one column: each member has views of its own


def predictions_of(
    run: Run, split: str, tta: Tta, workspace: Workspace, *, display: Display = SILENT
) -> Predictions:
    """The run's predictions on `split` with the views of `tta`: kept ones, or new ones.

    Kept ones are compared with the run's store, where there is one. Raises RunError when the store
    in the workspace is another, or they do not fit it.
    """
    kept = run.load_predictions(split)
    if kept is None or not kept.covers(tta):
        if isinstance(run.experiment.model, Ensemble):
            return _combine_members(run, run.experiment.model, split, tta, workspace, display)
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


def members_of(run: Run) -> list[Run]:
    """The complete runs that an ensemble is the mean of. Raises RunError where one is gone."""
    members: list[Run] = []
    for name in run.members:
        try:
            members.append(find_run(run.path.parent, name))
        except RunError as error:
            raise RunError(
                f"{run.name} is made of {name}, and that is gone: {error.message}",
                hint=f"bring it back, or train it again: pcam train {run.experiment.name}",
            ) from error
    return members


def _combine_members(
    run: Run, model: Ensemble, split: str, tta: Tta, workspace: Workspace, display: Display
) -> Predictions:
    """The mean of the members, each with the views it was measured with; kept in the run folder."""
    if tta != MEAN:
        raise RunError(
            f"{run.name} is the mean of runs, each with views of its own: none with those of {tta}",
            hint=f"leave out --tta, or name the runs: pcam predict {' '.join(run.members)} "
            f"--tta {tta}",
        )
    answers: list[Predictions] = []
    probabilities: list[NDArray[np.float32]] = []
    for member in members_of(run):
        own = member.outcome.tta
        answers.append(predictions_of(member, split, own, workspace, display=display))
        probabilities.append(answers[-1].probability(own))
        if not np.array_equal(answers[-1].ids, answers[0].ids):
            raise RunError(
                f"{run.members[0]} and {member.name} do not predict the same patches of {split}",
                hint=f"train them again: pcam train {run.experiment.name}",
            )
    first = answers[0]
    mean = combine(probabilities, model.average).astype(np.float32)
    predictions = Predictions(first.ids, first.labels, mean[:, None], (AS_IS,), first.groups)
    run.save_predictions(split, predictions)
    return predictions


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
    rows = rows_of(run, store, split)
    values = predict_rows(run, rows, tta, store, split, quick=True, display=display)
    return keep_predictions(run, split, tta, store, values)


def keep_predictions(
    run: Run, split: str, tta: Tta, store: Store, values: NDArray[np.float32]
) -> Predictions:
    """Keep probabilities [n, views] of all patches of `split` in the run folder."""
    rows = rows_of(run, store, split)
    predictions = Predictions(
        patch_names(store, rows), store.labels[rows], values, VIEWS[tta], store.groups[rows]
    )
    run.save_predictions(split, predictions)
    return predictions


def predict_rows(
    run: Run,
    rows: NDArray[np.int64],
    tta: Tta,
    store: Store,
    split: str,
    *,
    quick: bool = False,
    display: Display = SILENT,
) -> NDArray[np.float32]:
    """The run's probabilities [n, views] for `rows` of its store, which are of `split`.

    quick: whether another engine than Keras may compute them (`workflows.engine`).
    """
    network = run.experiment.model
    if isinstance(network, WithoutNetwork):
        raise RunError(
            f"{run.name} holds {network.holds}: none with the views of {tta} on {split}",
            hint=network.more.format(split=split),
        )
    with quiet_import():  # and late: TensorFlow takes seconds, and kept predictions do without
        from pcam_kit.inference import keras_answers, load_trained, predict_with

    model = load_trained(run)
    crop = store.crop_size(run.experiment.data.crop)
    check_shapes(run, model, crop)
    answers = quick_answers(run, model, crop, tta, store, len(rows)) if quick else None
    with display.work() as progress:
        probabilities = predict_with(
            answers or keras_answers(model),
            store.images,
            rows,
            crop=crop,
            views=VIEWS[tta],
            progress=lambda n: progress(f"predicting {split}", n, len(rows)),
        )
    check_probabilities(run, probabilities)
    return probabilities


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
    """Of a run that is no training of its own; seconds: of those that it is made of."""

    seconds: float = 0.0
    epoch: int = 0
    best_epoch: int = 0


def complete_with(run: Run, predictions: Mapping[str, Predictions], epochs: Epochs) -> Run:
    """Keep the predictions of every split in a new run, and complete it with those of valid."""
    for split, answers in predictions.items():
        run.save_predictions(split, answers)
    update_meta(run, ended=now())
    return complete_run(run, predictions["valid"], epochs)


def log_scores(run: Run, how: str) -> None:
    """Say what a complete run has come to. how: in a few words, how it came about."""
    result = run.outcome
    log.info(
        f"{run.name}: validation AUC {result.valid_auc:.4f} "
        f"({result.valid_auc_low:.4f}-{result.valid_auc_high:.4f}), "
        f"accuracy {result.valid_accuracy:.4f} at threshold {result.threshold:.3f} "
        f"(n {result.valid_n:,}, {how})"
    )


def complete_run(run: Run, predictions: Predictions, epochs: Epochs) -> Run:
    """Measure a run's validation predictions, choose the threshold, and write the result."""
    tta = run.experiment.evaluation.tta if not run.members else MEAN
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
