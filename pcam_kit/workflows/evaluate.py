"""`pcam evaluate`: scores of runs on patches with known labels, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcam_kit.errors import UsageError
from pcam_kit.evaluation.by_slide import SlideScore, score_slides
from pcam_kit.evaluation.calibration import apply_temperature, fit_temperature
from pcam_kit.evaluation.comparison import Answers, Comparison, compare
from pcam_kit.evaluation.crossfit import cross_fit
from pcam_kit.evaluation.intervals import Intervals, count_slides, intervals, sampling_unit
from pcam_kit.formatting import Summary, interval
from pcam_kit.metrics import (
    METRICS,
    Confusion,
    Evaluation,
    evaluate,
    expected_calibration_error,
    log_loss,
)
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Predictions, Result, Run
from pcam_kit.workflows.divergence import warn_of_divergence
from pcam_kit.workflows.predictions import known_labels, predictions_of
from pcam_kit.workspace import Workspace

# (labels [n], probabilities [n]) -> a score
CustomMetric = Callable[[ArrayLike, ArrayLike], float]
REPORTED = ("roc_auc", "accuracy", "log_loss", "brier")  # in every evaluation


@dataclass(frozen=True)
class CalibratedScores:
    """Log loss and calibration error after the run's temperature; None where it is not known.

    On the validation split the temperature, and the threshold of `accuracy`, are chosen on the
    folds that a patch is not in (`by`: slides or patches). Other splits took no part in that
    choice: `accuracy` and `by` are None, the plain accuracy is unbiased.
    """

    temperature: float | None
    log_loss: float | None = None
    ece: float | None = None
    accuracy: float | None = None
    by: str | None = None


@dataclass(frozen=True, repr=False)
class RunEvaluation(Summary):
    """One run's scores on one split.

    slides: how many there are, None where unknown. comparison: with the first of several runs; None
    for the first. labels, probabilities: [n], what the scores were computed from; groups: [n],
    their slides, None where unknown. extra: the competition's metric where it is none of the usual
    ones, and metrics that the caller gave.
    """

    run: Run = field(repr=False)
    split: str
    slides: int | None
    scores: Evaluation
    intervals: Intervals
    calibrated: CalibratedScores
    comparison: Comparison | None
    labels: NDArray[np.int8] = field(repr=False, compare=False)
    probabilities: NDArray[np.float32] = field(repr=False, compare=False)
    groups: NDArray[np.int32] | None = field(default=None, repr=False, compare=False)
    extra: dict[str, float] = field(default_factory=dict[str, float])

    def summary(self) -> dict[str, str]:
        """Run, split, AUC and accuracy with their intervals; how it differs from the first run."""
        scores = self.scores
        values = {
            "run": self.run.name,
            "split": f"{self.split}, {scores.n:,} patches ({scores.positive:,} positive)",
            "AUC": interval(scores.auc, *self.intervals.auc),
            "accuracy": interval(scores.accuracy, *self.intervals.accuracy),
            "threshold": f"{scores.threshold:.4f}",
            "log loss": f"{scores.log_loss:.4f}",
        }
        if self.comparison is not None:
            auc = self.comparison.auc
            values["AUC, difference"] = f"{auc.value:+.4f} ({auc.low:+.4f} to {auc.high:+.4f})"
        return values | {name: f"{value:.4f}" for name, value in self.extra.items()}

    @property
    def result(self) -> Result:
        """What came out of the run's training."""
        return self.run.outcome

    def by_slide(self) -> list[SlideScore]:
        """The scores of each slide. Raises UsageError where the slides are not known."""
        if self.groups is None or self.slides is None:
            raise UsageError(
                f"the slides of the {self.split} patches of {self.run.name} are not known",
                hint="PCam's own files have them (*_meta.csv): pcam fetch pcam --from FOLDER",
            )
        return score_slides(self.labels, self.probabilities, self.scores.threshold, self.groups)

    def to_dict(self, *, slides: bool = False) -> dict[str, Any]:
        """The JSON object of `pcam evaluate` for one run; what is not known is null.

        slides: with the scores of each slide. Raises then UsageError where they are not known.
        """
        scores, result = asdict(self.scores), asdict(self.result)
        (auc_low, auc_high), (accuracy_low, accuracy_high) = (
            self.intervals.auc,
            self.intervals.accuracy,
        )
        values = {
            "run": str(self.run.path),
            "split": self.split,
            "n": scores["n"],
            "positive": scores["positive"],
            "interval": sampling_unit(self.intervals.slides),
            "auc": scores["auc"],
            "auc_low": auc_low,
            "auc_high": auc_high,
            "accuracy": scores["accuracy"],
            "accuracy_low": accuracy_low,
            "accuracy_high": accuracy_high,
            "accuracy_at_half": scores["accuracy_at_half"],
            "accuracy_cross_fitted": self.calibrated.accuracy,
            "cross_fitted_by": self.calibrated.by,
            **{key: result[key] for key in ("threshold", "threshold_low", "threshold_high")},
            "confusion": scores["confusion"],
            **class_scores(self.scores.confusion),
            **{key: scores[key] for key in ("log_loss", "brier", "ece")},
            "temperature": self.calibrated.temperature,
            "log_loss_at_temperature": self.calibrated.log_loss,
            "ece_at_temperature": self.calibrated.ece,
        }
        if self.extra:
            values["metrics"] = self.extra
        if slides:
            values["slides"] = [
                asdict(score) | class_scores(score.confusion) for score in self.by_slide()
            ]
        if self.comparison is not None:
            values["compared"] = {
                "interval": sampling_unit(self.comparison.slides),
                "auc_difference": asdict(self.comparison.auc),
                "accuracy_difference": asdict(self.comparison.accuracy),
            }
        return values


def evaluate_runs(
    runs: Sequence[Run],
    split: str,
    workspace: Workspace,
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    display: Display = SILENT,
) -> list[RunEvaluation]:
    """Scores of finished runs on a split whose labels are known, at each run's own threshold.

    metrics: further ones, by name. Raises RunError when a run is not complete, UsageError when
    several do not predict the same patches.
    """
    predictions = [
        predictions_of(run, split, run.outcome.tta, workspace, display=display) for run in runs
    ]
    labels = known_labels(predictions[0], split)
    _check_same_patches(runs, predictions, split)
    groups = _slides(predictions)
    answers = [
        Answers(probabilities.probability(run.outcome.tta), run.outcome.threshold)
        for run, probabilities in zip(runs, predictions, strict=True)
    ]
    for run, answer in zip(runs, answers, strict=True):
        warn_of_divergence(run, split, answer.probabilities, run.outcome.valid_auc)
    return [
        RunEvaluation(
            run=run,
            split=split,
            slides=count_slides(groups),
            scores=evaluate(labels, answer.probabilities, answer.threshold),
            intervals=intervals(labels, answer.probabilities, answer.threshold, groups),
            calibrated=_calibrated(run, split, labels, answer, groups),
            comparison=None if i == 0 else compare(labels, answers[0], answer, groups),
            labels=labels,
            probabilities=np.asarray(answer.probabilities),
            groups=groups,
            extra=_extra_scores(run, labels, answer, metrics or {}),
        )
        for i, (run, answer) in enumerate(zip(runs, answers, strict=True))
    ]


def class_scores(counts: Confusion) -> dict[str, float | None]:
    """Scores of the classes at one threshold, as JSON objects name them."""
    return {
        "sensitivity": counts.sensitivity,
        "specificity": counts.specificity,
        "precision": counts.precision,
        "f1": counts.f1,
    }


def _check_same_patches(
    runs: Sequence[Run], predictions: Sequence[Predictions], split: str
) -> None:
    """Raises UsageError unless all runs predict the same patches with the same labels."""
    first, labels = predictions[0], known_labels(predictions[0], split)
    for run, other in zip(runs[1:], predictions[1:], strict=True):
        same_ids = np.array_equal(first.ids, other.ids)
        if not same_ids or not np.array_equal(labels, known_labels(other, split)):
            raise UsageError(
                f"{runs[0].name} ({runs[0].competition.slug}, {len(labels):,} patches) and "
                f"{run.name} ({run.competition.slug}, {len(other.ids):,}) cannot be compared: "
                f"their {split} splits do not hold the same patches and labels, in the same "
                "order",
                hint=f"evaluate one at a time: pcam evaluate {run.name}",
            )


def _slides(predictions: Sequence[Predictions]) -> NDArray[np.int32] | None:
    """The slides of the patches, from the first run that kept them: they are the same patches."""
    for answers in predictions:
        if count_slides(answers.groups) is not None:
            return answers.groups
    return None


def _extra_scores(
    run: Run, labels: NDArray[np.int8], answer: Answers, custom: Mapping[str, CustomMetric]
) -> dict[str, float]:
    scores: dict[str, float] = {}
    metric = run.competition.metric
    if metric not in REPORTED:
        scores[metric] = METRICS[metric].score(labels, answer.probabilities, answer.threshold)
    for key, score in custom.items():
        scores[key] = float(score(labels, answer.probabilities))
    return scores


def _calibrated(
    run: Run,
    split: str,
    labels: NDArray[np.int8],
    answer: Answers,
    groups: NDArray[np.int32] | None,
) -> CalibratedScores:
    temperature = _temperature(run)
    if split == "valid":
        scores = cross_fit(labels, answer.probabilities, groups)
        if scores is None:
            return CalibratedScores(temperature)
        return CalibratedScores(
            temperature, scores.log_loss, scores.ece, scores.accuracy, scores.by
        )
    if temperature is None:
        return CalibratedScores(None)
    after = apply_temperature(answer.probabilities, temperature)
    return CalibratedScores(
        temperature, log_loss(labels, after), expected_calibration_error(labels, after)
    )


def _temperature(run: Run) -> float | None:
    """The run's own; of a run from before it was kept, that of its validation predictions.

    None without those.
    """
    result = run.outcome
    if result.temperature is not None:
        return result.temperature
    kept = run.load_predictions("valid")
    if kept is None or not kept.covers(result.tta):
        return None
    return fit_temperature(kept.labels, kept.probability(result.tta)).value
