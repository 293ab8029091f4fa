"""The part of `pcam train` that takes the time: a run folder in, a complete run out."""

from __future__ import annotations

from typing import Any

from pcam_kit import runs
from pcam_kit.commands.console import TrainingDisplay, duration, quiet_import, say
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.leak_guard import training_rows
from pcam_kit.commands.parts import rows_of
from pcam_kit.commands.provenance import now
from pcam_kit.commands.score import predict_split
from pcam_kit.commands.teachers import seconds_of_teachers, targets
from pcam_kit.data.split import draw
from pcam_kit.data.store import Store
from pcam_kit.evaluation.calibration import best_threshold, fit_temperature
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.evaluation.metrics import evaluate, roc_auc
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import Batches
from pcam_kit.runs import Result, Run


def finish(run: Run, store: Store, folders: Folders, workers: int) -> Run:
    """Train to the end, then measure the best weights on the validation split and choose the
    threshold there.
    """
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
        targets(run, store, folders),
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
        progress = fit(
            experiment,
            batches,
            validate,
            Files(run.state_file, run.model_file, run.metrics_file),
            display,
        )
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
    teachers = seconds_of_teachers(run)
    before = f"; with its teachers {duration(teachers + progress.seconds)}" if teachers else ""
    say(
        f"{run.name}: validation AUC {scores.auc:.4f} ({span.auc[0]:.4f}-{span.auc[1]:.4f}), "
        f"accuracy {scores.accuracy:.4f} "
        f"at threshold {threshold.value:.3f} (n {scores.n:,}, best epoch {progress.best_epoch}, "
        f"{duration(progress.seconds)}{before})"
    )
    return finished
