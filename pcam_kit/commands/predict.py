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

from pcam_kit.commands.console import say
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.leak_guard import leaks_of
from pcam_kit.commands.score import known_labels, predictions
from pcam_kit.errors import RunError, UsageError
from pcam_kit.evaluation.calibration import best_threshold
from pcam_kit.evaluation.metrics import Evaluation, evaluate
from pcam_kit.files import sha256_file, writing
from pcam_kit.runs import Run, Tta
from pcam_kit.submissions import CheckedCsv, Origin, write_csv


@dataclass(frozen=True)
class Predicted:
    """A CSV that was written, and what its values come from."""

    csv: CheckedCsv
    runs: Sequence[Run]
    tta: Tta
    threshold: float
    valid: Evaluation


def predict(chosen: Sequence[Run], split: str, tta: Tta | None, out: Path | None, folders: Folders) -> Predicted:
    """Write the CSV of one run, or of the mean of several, for `split`, into the submissions folder or to `out`.

    For a competition that wants classes the threshold is the run's own; for several runs, or other symmetries than the run
    was measured with, it is chosen anew on their validation predictions. Raises UsageError, RunError or DataError.
    """
    competition = _one_store(chosen)
    use: Tta = tta if tta is not None else _result(chosen[0]).tta
    ids, mean = _mean(chosen, split, use, folders)
    first = _result(chosen[0])
    valid_labels, valid_mean = _valid(chosen, use, folders)
    own = len(chosen) == 1 and use == first.tta
    threshold = first.threshold if own else best_threshold(valid_labels, valid_mean).value
    scores = evaluate(valid_labels, valid_mean, threshold)
    path = out if out is not None else folders.submissions / f"{_name(chosen)}-{use}{'' if split == 'test' else f'-{split}'}.csv"
    kept = _keep(path)
    written = write_csv(path, competition, [str(i) for i in ids], mean, threshold=threshold)
    if kept is not None and written.sha256 == sha256_file(kept):
        kept.unlink()
    elif kept is not None:
        say(f"the other CSV that was there is now {kept}")
    if split == "test":
        folders.ledger.written(written, competition.slug, _origin(chosen, use, scores, accuracy=competition.metric == "accuracy"))
    positive = f"{100 * written.positive_rate:.1f}% positive" + (f" at threshold {threshold:.3f}" if competition.target == "class" else "")
    say(f"{written.rows:,} rows for {competition.title} -> {path} ({positive}); the format is checked")
    return Predicted(written, chosen, use, threshold, scores)


def describe(predicted: Predicted) -> dict[str, Any]:
    """The JSON object of `pcam predict`."""
    return {
        "csv": str(predicted.csv.path),
        "rows": predicted.csv.rows,
        "runs": [str(run.path) for run in predicted.runs],
        "positive_rate": predicted.csv.positive_rate,
    }


def _result(run: Run) -> Any:
    if run.result is None:
        raise RunError(f"{run.name} is not complete", hint=f"pcam train --resume {run.name}")
    return run.result


def _one_store(chosen: Sequence[Run]) -> Any:
    first = chosen[0]
    for run in chosen[1:]:
        for key, what in (("store_fingerprint", "stores"), ("split_hash", "validation splits")):
            if run.meta[key] != first.meta[key]:
                raise UsageError(
                    f"{first.name} ({first.competition.slug}) and {run.name} ({run.competition.slug}) were trained on different {what}",
                    hint="average runs of one competition and one store: pcam runs shows them",
                )
    return first.competition


def _mean(chosen: Sequence[Run], split: str, tta: Tta, folders: Folders) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    made = [predictions(run, split, tta, folders) for run in chosen]
    mean = np.stack([one.probability(tta) for one in made]).astype(np.float64).mean(axis=0)
    return made[0].ids, mean.astype(np.float32)


def _valid(chosen: Sequence[Run], tta: Tta, folders: Folders) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    labels = known_labels(predictions(chosen[0], "valid", tta, folders), "valid")
    return labels, _mean(chosen, "valid", tta, folders)[1]


def _name(chosen: Sequence[Run]) -> str:
    if len(chosen) == 1:
        return chosen[0].name
    return f"mean-of-{len(chosen)}-{hashlib.sha256(' '.join(run.name for run in chosen).encode()).hexdigest()[:8]}"


def _keep(path: Path) -> Path | None:
    """A copy beside `path` of what stands there, named by its content; None when nothing does."""
    if not path.is_file():
        return None
    copy = path.with_name(f"{path.stem}.{sha256_file(path)[:8]}{path.suffix}")
    if not copy.exists():
        with writing(copy) as temporary:
            shutil.copyfile(path, temporary)
    return copy


def _origin(chosen: Sequence[Run], tta: Tta, scores: Evaluation, *, accuracy: bool) -> Origin:
    if accuracy:  # normal approximation of a binomial; the threshold was chosen on the same patches
        half = 1.96 * float(np.sqrt(scores.accuracy * (1 - scores.accuracy) / scores.n))
        value, low, high = scores.accuracy, scores.accuracy - half, scores.accuracy + half
    else:
        value, low, high = scores.auc, scores.auc_low, scores.auc_high
    git = chosen[0].meta.get("git") or {}
    return Origin(
        runs=[run.name for run in chosen],
        configs=[run.experiment.name for run in chosen],
        commit=git.get("commit"),
        tta=tta,
        valid_auc=scores.auc,
        valid_accuracy=scores.accuracy,
        valid_score=value,
        valid_low=low,
        valid_high=high,
        **leaks_of(chosen),
    )
