"""Results: runs, their scores, their predictions."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from pcam_kit import run_folders
from pcam_kit.api.arguments import (
    RunLike,
    WorkspaceLike,
    any_run,
    display_of,
    is_run,
    path_of,
    runs_of,
    where_of,
    workspace_of,
)
from pcam_kit.formatting import Listing
from pcam_kit.run_folders import Run, RunOrder, State, list_runs, select_runs

if TYPE_CHECKING:
    from pcam_kit.config.schema import Tta
    from pcam_kit.evaluation.ensemble import Averaging
    from pcam_kit.progress import Display
    from pcam_kit.workflows.ensemble import Ensemble, Weights
    from pcam_kit.workflows.evaluate import CustomMetric, RunEvaluation
    from pcam_kit.workflows.overview import Overview
    from pcam_kit.workflows.predict import PredictionResult

log = logging.getLogger(__name__)


def runs(
    *,
    sort: RunOrder = "auc",
    state: State | None = None,
    competition: str | None = None,
    name: str | None = None,
    workspace: WorkspaceLike | None = None,
) -> list[Run]:
    """All runs, best validation AUC first; damaged ones are left out, and logged.

    sort: "auc", "accuracy", "newest" or "name". state, competition (its slug), name (a part of it):
    those runs only.
    """
    listed = list_runs(workspace_of(workspace).runs, log.warning)
    chosen = select_runs(listed, sort=sort, state=state, competition=competition, name=name)
    return Listing(chosen)


def read_metrics(
    run: RunLike | None = None, *, workspace: WorkspaceLike | None = None
) -> list[dict[str, Any]]:
    """The finished epochs of a run, complete or not: its learning curves.

    Each has epoch, loss, accuracy, valid_loss, valid_auc, valid_accuracy, best, learning_rate and
    seconds since the training began; what a run of version 0.1 did not record is None. Empty before
    the first epoch is finished. Raises RunError.
    """
    return run_folders.read_metrics(any_run(run, workspace_of(workspace)))


def show(run: RunLike | None = None, *, workspace: WorkspaceLike | None = None) -> Overview:
    """One run, complete or not: scores, epochs, config, data, provenance, its submissions.

    run: None for the newest one. Raises RunError.
    """
    from pcam_kit.workflows.overview import overview

    place = workspace_of(workspace)
    return overview(any_run(run, place), place)


@overload
def evaluate(
    runs: RunLike | None = None,
    split: str = "valid",
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> RunEvaluation: ...


@overload
def evaluate(
    runs: Sequence[RunLike],
    split: str = "valid",
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> list[RunEvaluation]: ...


def evaluate(
    runs: RunLike | Sequence[RunLike] | None = None,
    split: str = "valid",
    *,
    metrics: Mapping[str, CustomMetric] | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> RunEvaluation | list[RunEvaluation]:
    """Score a run, or several, on patches with known labels.

    runs: one, or None for the newest finished one, gives its evaluation; a list gives a list, each
    run compared with the first. In a list of several, folders that are no finished run are left
    out, with a warning: `runs/*` has them all. metrics: further ones by name, (labels [n],
    probabilities [n]) -> a number. Raises RunError, UsageError.
    """
    from pcam_kit.workflows.evaluate import evaluate_runs

    place = workspace_of(workspace)
    chosen = runs_of(runs, place, skip_unfinished=True)
    evaluations = evaluate_runs(chosen, split, place, metrics=metrics, display=display_of(display))
    return evaluations[0] if runs is None or is_run(runs) else Listing(evaluations)


def predict(
    runs: RunLike | Sequence[RunLike] | None = None,
    split: str = "test",
    *,
    tta: Tta | None = None,
    averaging: Averaging | None = None,
    weights: Weights | None = None,
    out: str | os.PathLike[str] | None = None,
    assume_positive: float | None = None,
    probabilities: bool = False,
    calibrated: bool = False,
    jobs: int | None = None,
    ray: str | None = None,
    cpus: int = 1,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> PredictionResult:
    """Write and check the CSV of a run, or of several combined, in the competition's format.

    runs None: the newest finished one. tta None: as each run was measured. averaging, weights: how
    several are combined; None: the mean of logits, equal weights. out None: a file in the
    submissions folder. assume_positive: the share of positive patches, where it is known.
    probabilities: write them also where the competition wants classes; such a CSV is no submission.
    calibrated: apply the temperature of the validation patches. jobs: so many processes, each with
    a part of the patches. ray: on a cluster, by its address ("local" begins one here), with `cpus`
    processors a part. Raises UsageError, RunError, DataError.
    """
    from pcam_kit.workflows import predict as workflow

    place = workspace_of(workspace)
    request = workflow.PredictRequest(
        split=split,
        tta=tta,
        averaging=averaging,
        weights=weights,
        out=path_of(out),
        assume_positive=assume_positive,
        probabilities=probabilities,
        calibrated=calibrated,
        where=where_of(jobs, ray, cpus),
    )
    return workflow.predict(runs_of(runs, place), request, place, display=display_of(display))


def ensemble(
    runs: Sequence[RunLike],
    *,
    averaging: Averaging = "logits",
    weights: Weights = "equal",
    tta: Tta | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Ensemble:
    """Combine runs on their validation patches, without writing a CSV.

    Raises UsageError, RunError.
    """
    from pcam_kit.workflows.ensemble import Combination, measure_ensemble

    place = workspace_of(workspace)
    combination = Combination(averaging, weights, tta)
    return measure_ensemble(runs_of(runs, place), combination, place, display=display_of(display))
