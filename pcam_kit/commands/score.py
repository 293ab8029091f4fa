"""`pcam evaluate` and what `pcam train` and `pcam predict` share with it: a run's probabilities on a split, made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.commands.console import print_table, quiet_import, say, work
from pcam_kit.commands.folders import Folders
from pcam_kit.data.store import Store
from pcam_kit.errors import UsageError
from pcam_kit.evaluation.metrics import Evaluation, evaluate
from pcam_kit.runs import Predictions, Run, Tta


def predictions(run: Run, split: str, tta: Tta, folders: Folders) -> Predictions:
    """The run's predictions on `split`: those kept in the run folder, without a look at the store, or new ones."""
    kept = run.load_predictions(split)
    return kept if kept is not None and kept.covers(tta) else predict_split(run, split, tta, folders.store_of(run))


def predict_split(run: Run, split: str, tta: Tta, store: Store) -> Predictions:
    """Compute the run's predictions on `split` of its store, and keep them in the run folder."""
    with quiet_import():  # and late: TensorFlow takes seconds, and kept predictions do without
        from pcam_kit.inference import load_model, predict

    model = load_model(run.model_file)
    rows = store.rows(split)
    crop = run.experiment.data.crop or store.images.shape[1]
    elements = range(symmetry.ORDER) if tta == "d4" else (0,)
    with work() as progress:
        orbit = predict(
            model, store.images, rows, crop=crop, symmetries=elements, progress=lambda n: progress(f"predicting {split}", n, len(rows))
        )
    made = Predictions(store.ids[rows], store.labels[rows], orbit)
    run.save_predictions(split, made)
    return made


@dataclass(frozen=True)
class Scored:
    """One run's scores on one split."""

    run: Run
    split: str
    tta: Tta
    scores: Evaluation


def score(chosen: Sequence[Run], split: str, folders: Folders) -> list[Scored]:
    """Scores of finished runs on a split whose labels are known, at each run's own threshold."""
    scored: list[Scored] = []
    for run in chosen:
        result = run.result
        if result is None:
            raise UsageError(f"{run.name} is not complete")
        made = predictions(run, split, result.tta, folders)
        labels = known_labels(made, split)
        scored.append(Scored(run, split, result.tta, evaluate(labels, made.probability(result.tta), result.threshold)))
    return scored


def known_labels(made: Predictions, split: str) -> NDArray[np.int8]:
    """The labels of `split`. Raises UsageError where they are not known."""
    if (made.labels < 0).any():
        raise UsageError(
            f"the labels of the {split} split are not known, so it cannot be evaluated",
            hint="evaluate on --split valid; the score on the test split comes from pcam submit",
        )
    return made.labels


def describe(scored: Scored) -> dict[str, Any]:
    """The JSON object of `pcam evaluate` for one run."""
    s = scored.scores
    return {
        "run": str(scored.run.path),
        "split": scored.split,
        "n": s.n,
        "auc": s.auc,
        "auc_low": s.auc_low,
        "auc_high": s.auc_high,
        "accuracy": s.accuracy,
        "accuracy_at_half": s.accuracy_at_half,
        "threshold": s.threshold,
        "log_loss": s.log_loss,
        "brier": s.brier,
        "ece": s.ece,
    }


def show(scored: Sequence[Scored], *, stderr: bool = False) -> None:
    """The scores as a table, a column a run."""
    rows: list[tuple[str, Callable[[Scored], str]]] = [
        ("patches (positive)", lambda x: f"{x.scores.n:,} ({x.scores.positive:,})"),
        ("symmetries averaged", lambda x: "8" if x.tta == "d4" else "1"),
        ("ROC AUC", lambda x: f"{x.scores.auc:.4f}"),
        ("  95% interval, per patch", lambda x: f"{x.scores.auc_low:.4f} - {x.scores.auc_high:.4f}"),
        ("accuracy at the threshold", lambda x: f"{x.scores.accuracy:.4f}"),
        ("  threshold", lambda x: f"{x.scores.threshold:.4f}"),
        ("accuracy at 0.5", lambda x: f"{x.scores.accuracy_at_half:.4f}"),
        ("log loss", lambda x: f"{x.scores.log_loss:.4f}"),
        ("Brier score", lambda x: f"{x.scores.brier:.4f}"),
        ("calibration error (15 bins)", lambda x: f"{x.scores.ece:.4f}"),
        ("true negatives / false positives", lambda x: f"{x.scores.confusion.tn:,} / {x.scores.confusion.fp:,}"),
        ("false negatives / true positives", lambda x: f"{x.scores.confusion.fn:,} / {x.scores.confusion.tp:,}"),
    ]
    split = scored[0].split
    columns = ["", *(x.run.name for x in scored)]
    print_table(f"{split} split", columns, [[label, *(cell(x) for x in scored)] for label, cell in rows], stderr=stderr)
    if split == "valid":
        say("The threshold was chosen on these same patches, so the accuracy at it is a little optimistic.")
    if any(x.run.meta.get("synthetic") for x in scored):
        say("Synthetic tissue: these scores say nothing about real patients.")
