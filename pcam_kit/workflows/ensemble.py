"""Several runs as one: their weights, their validation score together, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Tta
from pcam_kit.data.split import assign_folds
from pcam_kit.errors import UsageError
from pcam_kit.evaluation.calibration import best_threshold
from pcam_kit.evaluation.ensemble import Averaging, combine, cross_fitted, fit_weights
from pcam_kit.formatting import Summary
from pcam_kit.metrics import Evaluation, Floats, evaluate, roc_auc
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Predictions, Run
from pcam_kit.workflows.predictions import known_labels, predictions_of
from pcam_kit.workspace import Workspace

Weights = Literal["equal", "fitted"]
PARTS = 5  # fitted weights are chosen on four of them and measured on the fifth
# Of which there must be one: (key of meta.json, what a user calls it).
SHARED = (
    ("store_fingerprint", "stores"),
    ("split_hash", "validation splits"),
    ("folds_hash", "foldings"),
)


@dataclass(frozen=True)
class Combination:
    """How several runs are combined. tta None: each as it was measured."""

    averaging: Averaging
    weights: Weights
    tta: Tta | None = None

    def tta_of(self, run: Run) -> Tta:
        """The views of a patch that are averaged for `run`."""
        return self.tta if self.tta is not None else run.outcome.tta


@dataclass(frozen=True, repr=False)
class Ensemble(Summary):
    """Runs combined, and what they say of their validation patches.

    weights: [k], one for each run. aucs: validation AUC of each. labels, probabilities: [n], of the
    validation patches, the ensemble's. groups: their slides, None where unknown.
    """

    runs: Sequence[Run]
    combination: Combination
    weights: Floats = field(repr=False)
    aucs: Sequence[float]
    labels: NDArray[np.int8] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    groups: NDArray[np.int32] | None = field(repr=False)

    def summary(self) -> dict[str, str]:
        """The members with their weights and AUCs, and the AUC of all together."""
        members = zip(self.runs, self.weights, self.aucs, strict=True)
        values = {run.name: f"weight {weight:.3f}, AUC {auc:.4f}" for run, weight, auc in members}
        together = roc_auc(self.labels, self.probabilities)
        return values | {f"mean of {self.combination.averaging}": f"AUC {together:.4f}"}

    @property
    def folds(self) -> int:
        """How many different folds the runs are of; 1 without folds."""
        return len(by_fold(self.runs))

    def evaluate(self, threshold: float | None = None) -> Evaluation:
        """Scores on the validation patches; threshold None: the best there."""
        if threshold is None:
            threshold = best_threshold(self.labels, self.probabilities).value
        return evaluate(self.labels, self.probabilities, threshold)

    def to_dict(self) -> dict[str, Any]:
        """How the runs are combined, with each one's weight and validation AUC."""
        scores = self.evaluate()
        return {
            "mean": self.combination.averaging,
            "weights": self.combination.weights,
            "valid_auc": scores.auc,
            "valid_accuracy": scores.accuracy,
            "members": self.members_list(),
        }

    def members_list(self) -> list[dict[str, Any]]:
        """Each run with its weight and validation AUC, for JSON."""
        return [
            {"run": str(run.path), "weight": float(weight), "valid_auc": auc}
            for run, weight, auc in zip(self.runs, self.weights, self.aucs, strict=True)
        ]


def measure_ensemble(
    runs: Sequence[Run],
    combination: Combination,
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> Ensemble:
    """Weigh the runs and combine their validation predictions; fitted weights are cross-fitted.

    The parts for that are drawn patch by patch, slides known or not: a handful of weights hardly
    remembers a slide. Of runs of several folds each patch is combined from those that were not
    trained on it, and all folds are pooled. Raises UsageError, RunError, DataError.
    """
    check_alike(runs)
    groups = by_fold(runs)
    if combination.weights == "fitted" and len(groups) > 1:
        raise UsageError(
            "weights cannot be fitted: runs of different folds have no validation patches in "
            "common",
            hint="--weights equal",
        )
    predictions = [
        predictions_of(run, "valid", combination.tta_of(run), workspace, display=display)
        for run in runs
    ]
    labels = [known_labels(answers, "valid") for answers in predictions]
    p = [
        answers.probability(combination.tta_of(run))
        for run, answers in zip(runs, predictions, strict=True)
    ]
    if combination.weights == "fitted":
        weights = fit_weights(labels[0], p)
        rows = np.arange(len(labels[0]))
        parts = assign_folds(predictions[0].ids.tolist(), labels[0], rows, PARTS, seed=0)
        probabilities = cross_fitted(labels[0], p, combination.averaging, parts)
    else:
        weights = np.full(len(p), 1 / len(p))
        probabilities = np.concatenate(
            [combine([p[i] for i in group], combination.averaging) for group in groups]
        )
    return Ensemble(
        runs=runs,
        combination=combination,
        weights=weights,
        aucs=[roc_auc(y, answers) for y, answers in zip(labels, p, strict=True)],
        labels=np.concatenate([labels[group[0]] for group in groups]),
        probabilities=probabilities.astype(np.float32),
        groups=_slides([predictions[group[0]] for group in groups]),
    )


def by_fold(runs: Sequence[Run]) -> list[list[int]]:
    """Indices into `runs`, those of one fold together; all of them where there are no folds."""
    groups: dict[int, list[int]] = {}
    for i, run in enumerate(runs):
        fold = run.experiment.data.fold
        groups.setdefault(fold.index if fold is not None else 0, []).append(i)
    return list(groups.values())


def check_alike(runs: Sequence[Run]) -> None:
    """Raises UsageError unless the runs share store, validation split and folds."""
    if unlike := first_unlike(runs):
        raise UsageError(
            unlike.text,
            hint="average runs of one competition, one store and one --folds: pcam runs shows them",
        )


@dataclass(frozen=True)
class Unlike:
    """A run that does not belong to the first of several, and why."""

    run: Run
    text: str


def first_unlike(runs: Sequence[Run]) -> Unlike | None:
    """The first run that was trained on other data, as SHARED has it, than the first one."""
    first = runs[0]
    for run in runs[1:]:
        for key, name in SHARED:
            if run.meta.get(key) != first.meta.get(key):
                text = (
                    f"{first.name} ({first.competition.slug}) and {run.name} "
                    f"({run.competition.slug}) were trained on different {name}"
                )
                return Unlike(run, text)
    return None


def _slides(predictions: Sequence[Predictions]) -> NDArray[np.int32] | None:
    """The slides of all patches; None where some are not known."""
    groups = [answers.groups for answers in predictions if answers.groups is not None]
    return np.concatenate(groups) if len(groups) == len(predictions) else None
