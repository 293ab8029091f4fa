"""`pcam predict`: finished runs in, a checked CSV in the competition's own format out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands import members
from pcam_kit.commands.console import say
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.leak_guard import leaks_of
from pcam_kit.commands.members import Members, Way, Weights
from pcam_kit.commands.score import predictions
from pcam_kit.competitions import Competition
from pcam_kit.config.schema import Tta
from pcam_kit.errors import UsageError
from pcam_kit.evaluation.calibration import best_threshold, cut_for_rate
from pcam_kit.evaluation.ensemble import How, combine, correlations
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.evaluation.metrics import Evaluation, Floats, evaluate
from pcam_kit.files import sha256_file, writing
from pcam_kit.runs import Run
from pcam_kit.submissions import CheckedCsv, Origin, write_csv


@dataclass(frozen=True)
class Request:
    """What to predict, and how.

    None: views as each run was measured; mean of logits, equal weights; a new file; usual cut.
    """

    split: str = "test"
    tta: Tta | None = None
    mean: How | None = None
    weights: Weights | None = None
    out: Path | None = None
    # the share of positive patches, where it is known: the threshold is cut to it
    assume_positive: float | None = None


@dataclass(frozen=True)
class Predicted:
    """A CSV that was written, and what its values come from.

    `alike`: correlations of the runs' logits on the split.
    """

    csv: CheckedCsv
    members: Members
    threshold: float
    valid: Evaluation
    alike: tuple[Floats, Floats]


def predict(chosen: Sequence[Run], request: Request, folders: Folders) -> Predicted:
    """Write the CSV of one run, or of several combined, into the submissions folder or to
    `request.out`.

    For a competition that wants classes the threshold is the run's own; for several runs, or other
    views than the run was measured with, it is chosen anew on their validation predictions. Raises
    UsageError, RunError or DataError.
    """
    competition = _one_store(chosen)
    _check_share(request.assume_positive, competition)
    if request.split != "test" and len(members.by_fold(chosen)) > 1:
        raise UsageError(
            f"runs of different folds have no {request.split} patches in common",
            hint="combine them for --split test, or predict with one",
        )
    first = chosen[0].outcome
    way = _way(chosen, request)
    together = members.measure(chosen, way, folders)
    made = [predictions(run, request.split, way.views(run), folders) for run in chosen]
    p = np.stack([one.probability(way.views(run)) for run, one in zip(chosen, made, strict=True)])
    mean = combine(p, way.mean, together.values).astype(np.float32)
    own = len(chosen) == 1 and way.views(chosen[0]) == first.tta
    threshold = first.threshold if own else best_threshold(together.labels, together.combined).value
    on_valid = threshold
    if request.assume_positive is not None:
        threshold, on_valid = _cut_to_share(request.assume_positive, mean, threshold, together)
    scores = evaluate(together.labels, together.combined, on_valid)
    alike = correlations(p)
    if len(chosen) > 1:
        members.show(together, scores, alike, request.split)
    path = (
        request.out
        if request.out is not None
        else folders.submissions / f"{_name(chosen, way, request)}.csv"
    )
    kept = _keep(path)
    written = write_csv(path, competition, [str(i) for i in made[0].ids], mean, threshold=threshold)
    if kept is not None and written.sha256 == sha256_file(kept):
        kept.unlink()
    elif kept is not None:
        say(f"the other CSV that was there is now {kept}")
    if request.split == "test":
        folders.ledger.written(
            written, competition.slug, _origin(chosen, together, scores, request.assume_positive)
        )
    positive = f"{100 * written.positive_rate:.1f}% positive" + (
        f" at threshold {threshold:.3f}" if competition.target == "class" else ""
    )
    say(
        f"{written.rows:,} rows for {competition.title} -> {path} ({positive}); the format is "
        "checked"
    )
    return Predicted(written, together, threshold, scores, alike)


def describe(predicted: Predicted) -> dict[str, Any]:
    """The JSON object of `pcam predict`; of several runs with what each adds."""
    several = len(predicted.members.runs) > 1
    return {
        "csv": str(predicted.csv.path),
        "rows": predicted.csv.rows,
        "runs": [str(run.path) for run in predicted.members.runs],
        "positive_rate": predicted.csv.positive_rate,
        **(
            members.describe(predicted.members, predicted.valid, predicted.alike) if several else {}
        ),
    }


def _way(chosen: Sequence[Run], request: Request) -> Way:
    """How to combine `chosen`.

    The mean of logits is the default: a member that is sure counts for more, as independent
    evidence should.
    """
    if len(chosen) > 1:
        return Way(request.mean or "logits", request.weights or "equal", request.tta)
    if request.mean is not None or request.weights is not None:
        raise UsageError(
            "--mean and --weights say how several runs are combined, this is one",
            hint="pcam predict RUN RUN --mean logits",
        )
    return Way("probabilities", "equal", request.tta)


def _one_store(chosen: Sequence[Run]) -> Any:
    first = chosen[0]
    for run in chosen[1:]:
        for key, what in (
            ("store_fingerprint", "stores"),
            ("split_hash", "validation splits"),
            ("folds_hash", "foldings"),
        ):
            if run.meta.get(key) != first.meta.get(key):
                raise UsageError(
                    f"{first.name} ({first.competition.slug}) and {run.name} "
                    f"({run.competition.slug}) were trained on different {what}",
                    hint="average runs of one competition, one store and one --folds: pcam runs "
                    "shows them",
                )
    return first.competition


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


def _cut_to_share(
    share: float, mean: NDArray[np.float32], usual: float, together: Members
) -> tuple[float, float]:
    """The cut that calls `share` of `mean` [n] positive, and the same made on the validation
    patches with their own, true share.
    """
    threshold = cut_for_rate(mean, share)
    say(
        f"assumed, not measured: {100 * share:g}% of these {len(mean):,} patches are positive. "
        f"The cut is therefore {threshold:.3f}, which "
        f"uses how all of them were scored, instead of {usual:.3f}. A wrong share costs up to as "
        "many points as it is off."
    )
    return threshold, cut_for_rate(together.combined, float((together.labels == 1).mean()))


def _tta(chosen: Sequence[Run], way: Way) -> str:
    """For names and records; `own` where the runs have different ones."""
    found = {way.views(run) for run in chosen}
    return found.pop() if len(found) == 1 else "own"


def _name(chosen: Sequence[Run], way: Way, request: Request) -> str:
    """Of the default file: tells apart all that the values depend on."""
    end = f"{_tta(chosen, way)}{'' if request.split == 'test' else f'-{request.split}'}"
    end += "" if request.assume_positive is None else f"-positive{request.assume_positive:g}"
    if len(chosen) == 1:
        return f"{chosen[0].name}-{end}"
    which = hashlib.sha256(" ".join(run.name for run in chosen).encode()).hexdigest()[:8]
    fitted = "-fitted" if way.weights == "fitted" else ""
    return f"mean-of-{len(chosen)}-{which}-{way.mean}{fitted}-{end}"


def _keep(path: Path) -> Path | None:
    """A copy beside `path` of what stands there, named by its content; None when nothing does."""
    if not path.is_file():
        return None
    copy = path.with_name(f"{path.stem}.{sha256_file(path)[:8]}{path.suffix}")
    if not copy.exists():
        with writing(copy) as temporary:
            shutil.copyfile(path, temporary)
    return copy


def _origin(
    chosen: Sequence[Run], together: Members, scores: Evaluation, share: float | None
) -> Origin:
    span = intervals(together.labels, together.combined, scores.threshold, together.groups)
    value, (low, high) = (
        (scores.accuracy, span.accuracy)
        if chosen[0].competition.metric == "accuracy"
        else (scores.auc, span.auc)
    )
    git = chosen[0].meta.get("git") or {}
    return Origin(
        runs=[run.name for run in chosen],
        configs=[run.experiment.name for run in chosen],
        commit=git.get("commit"),
        tta=_tta(chosen, together.way),
        valid_auc=scores.auc,
        valid_accuracy=scores.accuracy,
        valid_score=value,
        valid_low=low,
        valid_high=high,
        mean=together.way.mean if len(chosen) > 1 else None,
        weights=together.way.weights if len(chosen) > 1 else None,
        assumed_positive=share,
        stain=chosen[0].experiment.data.stain,
        **leaks_of(chosen),
    )
