"""Several trainings of one experiment, one after another: seeds, or folds; what is there already is
used again.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pcam_kit.commands import members, train
from pcam_kit.commands.config import resolve
from pcam_kit.commands.console import duration, print_table, say, spread, warn
from pcam_kit.commands.folders import Folders
from pcam_kit.config.load import load_experiment
from pcam_kit.data import folding
from pcam_kit.data.store import Store
from pcam_kit.errors import Interrupted, UsageError
from pcam_kit.evaluation.calibration import best_threshold
from pcam_kit.evaluation.intervals import Intervals, intervals
from pcam_kit.evaluation.metrics import Evaluation, evaluate
from pcam_kit.runs import Result, Run


@dataclass(frozen=True)
class Request:
    """A training, and how often: with so many seeds, or once for each of so many folds."""

    training: train.Request
    seeds: int | None = None
    folds: int | None = None


@dataclass(frozen=True)
class Series:
    """Complete runs.

    `pooled`: the scores of all folds' validation patches together, each by the run not trained on
    it; with intervals.
    """

    runs: Sequence[Run]
    pooled: tuple[Evaluation, Intervals] | None

    @property
    def results(self) -> list[Result]:
        """The runs' results."""
        return [run.outcome for run in self.runs]

    @property
    def predict(self) -> str:
        """The command that combines them."""
        return f"pcam predict {' '.join(run.name for run in self.runs)}"


def train_series(request: Request, folders: Folders) -> Series:
    """Train each seed or fold that is not there.

    Raises Interrupted with runs that the same command goes on with.
    """
    base = request.training
    if base.resume is not None or (request.seeds is None) == (request.folds is None):
        raise UsageError(
            "--seeds, --folds and --resume exclude one another",
            hint="a series that was stopped goes on with the command that began it; several "
            "seeds of one fold: --set data.fold=...",
        )
    config = base.config if base.config is not None else folders.competition(None).default_config
    first = resolve(base.config, base.overrides, folders)
    store = folders.store(first.competition or folders.fetched_last(), first.data.stain)
    # another may be fetched while this goes on
    common = (*base.overrides, f"competition={store.profile.slug}")
    if request.folds is not None:
        several = [
            (*common, f"data.fold.index={i}", f"data.fold.of={request.folds}")
            for i in range(1, request.folds + 1)
        ]
    else:
        several = [(*common, f"seed={first.seed + i}") for i in range(request.seeds or 1)]
    # a fault is told before the first training
    ends = [load_experiment(config, changes) for changes in (several[0], several[-1])]
    if request.folds is not None:
        folding.rows(store, "valid", ends[0].data.fold)
        _tell_of_slides(store)
    done: list[Run] = []
    for changes in several:
        say(
            f"run {len(done) + 1} of {len(several)}: "
            f"{train.label(load_experiment(config, changes))}",
            style="bold",
        )
        try:
            done.append(train.train_once(config, changes, store, folders, workers=base.workers))
        except Interrupted as error:
            raise Interrupted(
                error.message,
                hint=f"{len(done)} of {len(several)} runs are done; the same command goes on",
            ) from None
    return Series(done, _pooled(done, folders) if request.folds is not None else None)


def describe(series: Series) -> dict[str, Any]:
    """The JSON object of `pcam train` with --seeds or --folds.

    The deviation of a single run is null.
    """
    spreads: dict[str, Any] = {}
    for key in ("valid_auc", "valid_accuracy"):
        values = [getattr(result, key) for result in series.results]
        spreads |= {
            f"{key}_mean": statistics.fmean(values),
            f"{key}_sd": statistics.stdev(values) if len(values) > 1 else None,
        }
    return {
        "runs": [train.describe(run) | {"seed": run.experiment.seed} for run in series.runs],
        **spreads,
        "out_of_fold": _describe_pooled(*series.pooled) if series.pooled is not None else None,
        "predict": series.predict,
    }


def show(series: Series) -> None:
    """A row a run, their mean and deviation, and what to type next; on stderr."""
    rows = [
        [
            run.name,
            train.label(run.experiment),
            f"{result.valid_auc:.4f}",
            f"{result.valid_accuracy:.4f}",
            duration(result.seconds),
        ]
        for run, result in zip(series.runs, series.results, strict=True)
    ]
    aucs, accuracies = (
        [getattr(result, key) for result in series.results]
        for key in ("valid_auc", "valid_accuracy")
    )
    rows.append(["mean ± sd", "", spread(aucs), spread(accuracies), ""])
    print_table("", ["run", "", "validation AUC", "validation accuracy", "time"], rows, stderr=True)
    if series.pooled is not None:
        pooled, span = series.pooled
        say(
            f"out of fold, {pooled.n:,} patches, each by the run that was not trained on it: AUC "
            f"{pooled.auc:.4f} "
            f"({span.auc[0]:.4f}-{span.auc[1]:.4f}), accuracy {pooled.accuracy:.4f} at threshold "
            f"{pooled.threshold:.3f}"
        )
    if len(series.runs) > 1:
        say(f"combine them: {series.predict}")


def _tell_of_slides(store: Store) -> None:
    if folding.slides_known(store):
        return
    given = store.manifest["split"]["method"] == "given"
    warn(
        "the slides are not known, so the folds mix patches of one slide, which look alike: "
        "out-of-fold scores may be optimistic"
        + (
            "; the validation part that came with the data may be of other slides, and then says "
            "more"
            if given
            else ""
        )
    )


def _pooled(done: Sequence[Run], folders: Folders) -> tuple[Evaluation, Intervals]:
    way = members.Way("probabilities", "equal")
    together = members.measure(done, way, folders)
    threshold = best_threshold(together.labels, together.combined).value
    scores = evaluate(together.labels, together.combined, threshold)
    return scores, intervals(together.labels, together.combined, threshold, together.groups)


def _describe_pooled(scores: Evaluation, span: Intervals) -> dict[str, Any]:
    return {
        "n": scores.n,
        "auc": scores.auc,
        "auc_low": span.auc[0],
        "auc_high": span.auc[1],
        "accuracy": scores.accuracy,
        "threshold": scores.threshold,
    }
