"""Several trainings of one experiment: seeds, or folds; complete runs are used again."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pcam_kit.config.load import load_experiment
from pcam_kit.data.folds import slides_known, split_rows
from pcam_kit.data.store import Store
from pcam_kit.errors import Interrupted, UsageError
from pcam_kit.evaluation.intervals import Intervals, intervals
from pcam_kit.formatting import Summary, mean_sd
from pcam_kit.metrics import Evaluation
from pcam_kit.progress import HEADING, SILENT, Display
from pcam_kit.run_folders import Result, Run
from pcam_kit.workflows.distillation import Recipe
from pcam_kit.workflows.ensemble import Combination, measure_ensemble
from pcam_kit.workflows.plan import default_config
from pcam_kit.workflows.sweep.pools import Where, open_pool
from pcam_kit.workflows.sweep.side_by_side import train_side_by_side
from pcam_kit.workflows.train import TrainRequest, label, train_once
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

MOST = 10_000  # trainings


@dataclass(frozen=True)
class SeriesRequest:
    """A training, and how often: with so many seeds, or once for each of so many folds.

    where: side by side, in processes of this machine or on a cluster; None: one after another.
    """

    training: TrainRequest
    seeds: int | None = None
    folds: int | None = None
    where: Where | None = None


@dataclass(frozen=True)
class OutOfFold:
    """Scores of all folds' validation patches, each by the run that was not trained on it."""

    scores: Evaluation
    intervals: Intervals

    def to_dict(self) -> dict[str, Any]:
        """As the key `out_of_fold` of `pcam train --folds --json`."""
        return {
            "n": self.scores.n,
            "auc": self.scores.auc,
            "auc_low": self.intervals.auc[0],
            "auc_high": self.intervals.auc[1],
            "accuracy": self.scores.accuracy,
            "threshold": self.scores.threshold,
        }


@dataclass(frozen=True, repr=False)
class Series(Summary):
    """Complete runs of one experiment; `out_of_fold` None where they are no folds."""

    runs: Sequence[Run]
    out_of_fold: OutOfFold | None

    def summary(self) -> dict[str, str]:
        """Each run, their mean and sd, and the out-of-fold AUC."""
        values = {
            run.name: f"AUC {result.valid_auc:.4f}, accuracy {result.valid_accuracy:.4f}"
            for run, result in zip(self.runs, self.results, strict=True)
        }
        values["mean ± sd"] = f"AUC {mean_sd([result.valid_auc for result in self.results])}"
        if self.out_of_fold is not None:
            values["out of fold"] = f"AUC {self.out_of_fold.scores.auc:.4f}"
        return values

    @property
    def results(self) -> list[Result]:
        """The runs' results."""
        return [run.outcome for run in self.runs]

    @property
    def predict_command(self) -> str:
        """The command that combines the runs."""
        return f"pcam predict {' '.join(run.name for run in self.runs)}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam train` with --seeds or --folds; the sd of one run is null."""
        values: dict[str, Any] = {
            "runs": [run.training_dict() | {"seed": run.experiment.seed} for run in self.runs]
        }
        for key in ("valid_auc", "valid_accuracy"):
            scores = [getattr(result, key) for result in self.results]
            values[f"{key}_mean"] = statistics.fmean(scores)
            values[f"{key}_sd"] = statistics.stdev(scores) if len(scores) > 1 else None
        pooled = self.out_of_fold
        values["out_of_fold"] = None if pooled is None else pooled.to_dict()
        values["predict"] = self.predict_command
        return values


def train_series(
    request: SeriesRequest, workspace: Workspace, *, display: Display = SILENT
) -> Series:
    """Train each seed or fold that has no complete run.

    Raises Interrupted with runs that the same command resumes; else as `train`.
    """
    training = request.training
    if training.resume is not None or (request.seeds is None) == (request.folds is None):
        raise UsageError(
            "--seeds, --folds and --resume exclude one another",
            hint="a stopped series is resumed by the command that began it; several "
            "seeds of one fold: --set data.fold=...",
        )
    if not 1 <= (request.seeds or request.folds or 0) <= MOST:
        raise UsageError(f"expected 1 to {MOST:,} seeds or folds")
    config = training.config
    if config is None:
        config = default_config(workspace.competition(None))
    first = load_experiment(config, training.overrides)
    store = workspace.store(first.competition or workspace.last_fetched(), first.data.stain)
    common = training.overrides
    if first.competition != store.profile.slug:
        # another competition may be fetched while this series trains
        common = (*common, f"competition={store.profile.slug}")
    if request.folds is not None:
        several = [
            (*common, f"data.fold.index={i}", f"data.fold.of={request.folds}")
            for i in range(1, request.folds + 1)
        ]
    else:
        several = [(*common, f"seed={first.seed + i}") for i in range(request.seeds or 1)]
    # a fault in the last one is reported before the first is trained
    experiments = [load_experiment(config, overrides) for overrides in several]
    if request.folds is not None:
        split_rows(store, "valid", experiments[0].data.fold)
        _warn_of_unknown_slides(store)
    if request.where is not None:
        train_side_by_side(
            [Recipe(config, overrides) for overrides in several],
            open_pool(request.where),
            workspace,
            workers=training.resources.workers,
            display=display,
        )
    runs: list[Run] = []
    for overrides, experiment in zip(several, experiments, strict=True):
        number = f"{len(runs) + 1} of {len(several)}"
        log.info(f"run {number}: {label(experiment)}", extra=HEADING)
        try:
            run = train_once(
                config, overrides, store, workspace, resources=training.resources, display=display
            )
        except Interrupted as error:
            hint = f"{len(runs)} of {len(several)} runs done; the same command resumes"
            raise Interrupted(error.message, hint=hint) from None
        runs.append(run)
    pooled = _pooled(runs, workspace, display) if request.folds is not None else None
    return Series(runs, pooled)


def _warn_of_unknown_slides(store: Store) -> None:
    if slides_known(store):
        return
    text = (
        "the slides are not known, so the folds mix patches of one slide, which look alike: "
        "out-of-fold scores may be optimistic"
    )
    if store.manifest["split"]["method"] == "given":
        text += (
            "; the validation part that came with the data may be of other slides, and then says "
            "more"
        )
    log.warning(text)


def _pooled(runs: Sequence[Run], workspace: Workspace, display: Display) -> OutOfFold:
    combination = Combination("probabilities", "equal")
    ensemble = measure_ensemble(runs, combination, workspace, display=display)
    scores = ensemble.evaluate()
    interval = intervals(ensemble.labels, ensemble.probabilities, scores.threshold, ensemble.groups)
    return OutOfFold(scores, interval)
