"""`pcam predict`: finished runs in, a checked CSV in the competition's own format out."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Competition
from pcam_kit.config.schema import Tta
from pcam_kit.errors import PcamError, UsageError
from pcam_kit.evaluation.calibration import (
    apply_temperature,
    best_threshold,
    fit_temperature,
    threshold_for_rate,
)
from pcam_kit.evaluation.ensemble import Averaging, combine, correlations
from pcam_kit.evaluation.intervals import score_interval
from pcam_kit.files import delete, locked, sha256_file, writing
from pcam_kit.formatting import Summary
from pcam_kit.metrics import METRICS, Evaluation, Floats
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.submissions import CheckedCsv, Origin, write_csv
from pcam_kit.workflows.divergence import warn_of_divergence
from pcam_kit.workflows.ensemble import (
    Combination,
    Ensemble,
    Weights,
    by_fold,
    check_alike,
    measure_ensemble,
)
from pcam_kit.workflows.predictions import predictions_of
from pcam_kit.workflows.provenance import leaks_of
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from pcam_kit.workflows.sweep.pools import Where

log = logging.getLogger(__name__)

OWN = "own"  # views that are not the same for all runs, in names and records


@dataclass(frozen=True)
class PredictRequest:
    """What to predict, and how.

    tta None: views as each run was measured. averaging None: of logits. weights None: equal. out
    None: a new file. assume_positive: the share of positive patches, where it is known; the
    threshold is then chosen for it. probabilities: write them also where the competition wants
    classes; such a CSV is no submission. calibrated: at the temperature of the validation patches.
    where: where parts of the patches are predicted side by side; None: all in this process.
    """

    split: str = "test"
    tta: Tta | None = None
    averaging: Averaging | None = None
    weights: Weights | None = None
    out: Path | None = None
    assume_positive: float | None = None
    probabilities: bool = False
    calibrated: bool = False
    where: Where | None = None


@dataclass(frozen=True, repr=False)
class PredictionResult(Summary):
    """A CSV that was written, and where its values come from.

    valid: scores of the same runs, combined in the same way, on the validation patches.
    correlations: [k, k] of the runs' logits on the split, (Pearson, Spearman).
    """

    csv: CheckedCsv
    split: str
    ensemble: Ensemble
    threshold: float
    valid: Evaluation
    correlations: tuple[Floats, Floats] = field(repr=False)

    def summary(self) -> dict[str, str]:
        """The file, and the runs' validation scores."""
        return {
            "csv": str(self.csv.path),
            "rows": f"{self.csv.rows:,} ({100 * self.csv.positive_rate:.1f}% positive)",
            "runs": ", ".join(run.name for run in self.ensemble.runs),
            "validation AUC": f"{self.valid.auc:.4f}",
            "validation accuracy": f"{self.valid.accuracy:.4f} at threshold {self.threshold:.3f}",
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam predict`; of several runs with what each adds.

        A correlation that is not defined is null.
        """
        values = {
            "csv": str(self.csv.path),
            "rows": self.csv.rows,
            "runs": [str(run.path) for run in self.ensemble.runs],
            "positive_rate": self.csv.positive_rate,
        }
        if len(self.ensemble.runs) == 1:
            return values
        pearson, spearman = (_nullable(table) for table in self.correlations)
        return values | {
            "mean": self.ensemble.combination.averaging,
            "weights": self.ensemble.combination.weights,
            "valid_auc": self.valid.auc,
            "valid_accuracy": self.valid.accuracy,
            "members": self.ensemble.members_list(),
            "correlations": {"pearson": pearson, "spearman": spearman},
        }


def predict(
    runs: Sequence[Run],
    request: PredictRequest,
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> PredictionResult:
    """Write the CSV of one run, or of several combined.

    It goes into the submissions folder, or to `request.out`. For a competition that wants classes
    the threshold is the run's own; for several runs, or other views than the run was measured with,
    it is chosen anew on their validation predictions. Raises UsageError, RunError or DataError.
    """
    check_alike(runs)
    _check_share(request.assume_positive, runs[0].competition)
    competition = _columns(request, runs[0].competition)
    if request.split != "test" and len(by_fold(runs)) > 1:
        raise UsageError(
            f"runs of different folds have no {request.split} patches in common",
            hint="combine them for --split test, or predict with one",
        )
    combination = _combination(runs, request)
    if request.where is not None:
        from pcam_kit.workflows.sweep.shards import predict_side_by_side

        wanted: list[tuple[Run, str, Tta]] = [
            (run, split, combination.tta_of(run))
            for split in ("valid", request.split)
            for run in runs
        ]
        predict_side_by_side(wanted, request.where, workspace, display=display)
    ensemble = measure_ensemble(runs, combination, workspace, display=display)
    predictions = [
        predictions_of(run, request.split, combination.tta_of(run), workspace, display=display)
        for run in runs
    ]
    p = np.stack(
        [
            answers.probability(combination.tta_of(run))
            for run, answers in zip(runs, predictions, strict=True)
        ]
    )
    for run, answers, auc in zip(runs, p, ensemble.aucs, strict=True):
        warn_of_divergence(run, request.split, answers, auc)
    mean = combine(p, combination.averaging, ensemble.weights).astype(np.float32)
    threshold = valid_threshold = _usual_threshold(ensemble)
    if request.assume_positive is not None:
        threshold = _threshold_for_share(request.assume_positive, mean, usual=threshold)
        # the same on the validation patches, with their own, true share
        share = float((ensemble.labels == 1).mean())
        valid_threshold = threshold_for_rate(ensemble.probabilities, share)
    if request.calibrated:
        temperature = _temperature(ensemble)
        log.info(f"probabilities at temperature {temperature:.3f}")
        mean = apply_temperature(mean, temperature).astype(np.float32)
        after = apply_temperature(ensemble.probabilities, temperature)
        ensemble = replace(ensemble, probabilities=after.astype(np.float32))
        threshold, valid_threshold = apply_temperature(
            [threshold, valid_threshold], temperature
        ).tolist()
    scores = ensemble.evaluate(valid_threshold)
    path = request.out
    if path is None:
        path = workspace.submissions / f"{_file_name(ensemble, request)}.csv"
    ids = [str(i) for i in predictions[0].ids]
    # one CSV at a time: what stands at `path` is kept, and the file is read back to be checked
    with locked(workspace.submissions / ".lock-csv", "writing a CSV", wait=True):
        csv = _write(path, competition, ids, mean, threshold)
    if competition.target != runs[0].competition.target:
        log.info(f"{competition.slug} wants classes: this CSV is no submission")
    elif request.split == "test":
        origin = _origin(ensemble, scores, request.assume_positive)
        workspace.ledger.record_written(csv, competition.slug, origin)
        _warn_of_ids(runs[0], workspace)
    positive = f"{100 * csv.positive_rate:.1f}% positive"
    if competition.target == "class":
        positive += f" at threshold {threshold:.3f}"
    log.info(
        f"{csv.rows:,} rows for {competition.title} -> {path} ({positive}); the format is checked"
    )
    return PredictionResult(csv, request.split, ensemble, threshold, scores, correlations(p))


def _combination(runs: Sequence[Run], request: PredictRequest) -> Combination:
    """How to combine the runs.

    The mean of logits is the default: a member that is sure counts for more, as independent
    evidence should.
    """
    if request.averaging == "ranks" and request.calibrated:
        raise UsageError(
            "--calibrated needs probabilities, and ranks are none", hint="--mean logits"
        )
    if len(runs) > 1:
        return Combination(request.averaging or "logits", request.weights or "equal", request.tta)
    if request.averaging is not None or request.weights is not None:
        raise UsageError(
            "--mean and --weights say how several runs are combined, this is one",
            hint="pcam predict RUN RUN --mean logits",
        )
    return Combination("probabilities", "equal", request.tta)


def _columns(request: PredictRequest, competition: Competition) -> Competition:
    """The competition, with probabilities as its target where they are asked for."""
    if competition.target != "class":
        return competition
    if request.probabilities:
        changes = {"target": "probability", "target_column": "probability"}
        return competition.model_copy(update=changes)
    if request.calibrated:
        raise UsageError(
            f"--calibrated changes probabilities, and {competition.slug} wants classes, which stay "
            "the same",
            hint="for the probabilities: pcam predict --probabilities --calibrated",
        )
    return competition


def _check_share(share: float | None, competition: Competition) -> None:
    if share is None:
        return
    if competition.target != "class":
        raise UsageError(
            f"--assume-positive moves the threshold, and {competition.slug} wants probabilities, "
            "not classes",
            hint="leave it out: ROC AUC does not depend on it",
        )
    if not 0 < share < 1:
        raise UsageError(
            f"--assume-positive is a share between 0 and 1, found {share}",
            hint="for half of the patches: --assume-positive 0.5",
        )


def _usual_threshold(ensemble: Ensemble) -> float:
    """The run's own; of several, or of other views, the best on their validation predictions."""
    first = ensemble.runs[0]
    as_measured = ensemble.combination.tta_of(first) == first.outcome.tta
    if len(ensemble.runs) == 1 and as_measured:
        return first.outcome.threshold
    return best_threshold(ensemble.labels, ensemble.probabilities).value


def _temperature(ensemble: Ensemble) -> float:
    """The run's own; of several, or of other views, that of their validation predictions."""
    first = ensemble.runs[0]
    as_measured = ensemble.combination.tta_of(first) == first.outcome.tta
    kept = first.outcome.temperature
    if len(ensemble.runs) == 1 and as_measured and kept is not None:
        return kept
    return fit_temperature(ensemble.labels, ensemble.probabilities).value


def _threshold_for_share(share: float, mean: NDArray[np.float32], *, usual: float) -> float:
    """The threshold that calls `share` of `mean` [n] positive."""
    threshold = threshold_for_rate(mean, share)
    log.info(
        f"assumed, not measured: {100 * share:g}% of these {len(mean):,} patches are positive. "
        f"The threshold is therefore {threshold:.3f}, which uses how all of them were scored, "
        f"instead of {usual:.3f}. A wrong share costs up to as many points as it is off."
    )
    return threshold


def _write(
    path: Path,
    competition: Competition,
    ids: Sequence[str],
    probabilities: NDArray[np.float32],
    threshold: float,
) -> CheckedCsv:
    """Write the CSV; another one that stands at `path` is kept beside it."""
    copy = _copy_of(path)
    csv = write_csv(path, competition, ids, probabilities, threshold=threshold)
    if copy is not None and csv.sha256 == sha256_file(copy):
        delete(copy)
    elif copy is not None:
        log.info(f"the other CSV that was there is now {copy}")
    return csv


def _warn_of_ids(run: Run, workspace: Workspace) -> None:
    """Repeat what was said about the test ids when they were fetched."""
    with suppress(PcamError):  # kept predictions do without a store
        store = workspace.store(run.competition.slug, run.experiment.data.stain)
        for warning in store.id_warnings:
            log.warning(f"{warning}; compare them with the competition's before you submit")


def _copy_of(path: Path) -> Path | None:
    """A copy beside `path` of what stands there, named by its content; None when nothing does."""
    if not path.is_file():
        return None
    copy = path.with_name(f"{path.stem}.{sha256_file(path)[:8]}{path.suffix}")
    if not copy.exists():
        with writing(copy) as temporary:
            shutil.copyfile(path, temporary)
    return copy


def _tta_label(ensemble: Ensemble) -> str:
    """For names and records; OWN where the runs have different ones."""
    labels = {OWN if run.members else ensemble.combination.tta_of(run) for run in ensemble.runs}
    return labels.pop() if len(labels) == 1 else OWN


def _file_name(ensemble: Ensemble, request: PredictRequest) -> str:
    """Of the default file: tells apart all that the values depend on."""
    end = _tta_label(ensemble)
    if request.split != "test":
        end += f"-{request.split}"
    if request.assume_positive is not None:
        end += f"-positive{request.assume_positive:g}"
    if request.probabilities:
        end += "-probabilities"
    if request.calibrated:
        end += "-calibrated"
    runs, combination = ensemble.runs, ensemble.combination
    if len(runs) == 1:
        return f"{runs[0].name}-{end}"
    names = " ".join(run.name for run in runs)
    digest = hashlib.sha256(names.encode()).hexdigest()[:8]
    fitted = "-fitted" if combination.weights == "fitted" else ""
    return f"mean-of-{len(runs)}-{digest}-{combination.averaging}{fitted}-{end}"


def _origin(ensemble: Ensemble, scores: Evaluation, share: float | None) -> Origin:
    """Where the values of the CSV come from, for the ledger."""
    runs, combination = ensemble.runs, ensemble.combination
    metric = runs[0].competition.metric
    low, high = score_interval(
        metric, ensemble.labels, ensemble.probabilities, scores.threshold, ensemble.groups
    )
    git = runs[0].meta.get("git") or {}
    several = len(runs) > 1
    return Origin(
        runs=[run.name for run in runs],
        configs=[run.experiment.name for run in runs],
        commit=git.get("commit"),
        tta=_tta_label(ensemble),
        valid_auc=scores.auc,
        valid_accuracy=scores.accuracy,
        valid_score=METRICS[metric].score(
            ensemble.labels, ensemble.probabilities, scores.threshold
        ),
        valid_low=low,
        valid_high=high,
        metric=metric,
        mean=combination.averaging if several else None,
        weights=combination.weights if several else None,
        assumed_positive=share,
        stain=runs[0].experiment.data.stain,
        **leaks_of(runs),
    )


def _nullable(table: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(r) else float(r) for r in row] for row in table]
