"""Several runs as one: their weights, what each and all together reach on validation patches, and
how alike they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.console import print_table, say
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.score import known_labels, predictions
from pcam_kit.config.schema import Tta
from pcam_kit.data.split import folds
from pcam_kit.errors import UsageError
from pcam_kit.evaluation.ensemble import How, combine, cross_fitted, fit_weights
from pcam_kit.evaluation.metrics import Evaluation, Floats, roc_auc
from pcam_kit.runs import Run

Weights = Literal["equal", "fitted"]
PARTS = 5  # fitted weights are chosen on four of them and measured on the fifth


@dataclass(frozen=True)
class Way:
    """How members are combined."""

    mean: How
    weights: Weights
    tta: Tta | None = None  # None: each as it was measured

    def views(self, run: Run) -> Tta:
        """The views of a patch that are averaged for `run`."""
        return self.tta if self.tta is not None else run.outcome.tta


@dataclass(frozen=True)
class Members:
    """Runs combined, and their validation patches: `labels`, `combined` [n], what the ensemble says
    of them, `groups`.
    """

    runs: Sequence[Run]
    way: Way
    values: Floats  # the weights, [k]
    aucs: Sequence[float]  # of each member
    labels: NDArray[np.int8]
    combined: NDArray[np.float32]
    groups: NDArray[np.int32] | None  # their slides, where known


def measure(chosen: Sequence[Run], way: Way, folders: Folders) -> Members:
    """Weigh the runs and combine their validation predictions; fitted weights are cross-fitted
    there.

    The parts of that are drawn patch by patch, slides unknown or not: a handful of weights hardly
    remembers a slide. Of runs of several folds each patch is combined from those that were not
    trained on it, and all folds are pooled.
    """
    groups = by_fold(chosen)
    if way.weights == "fitted" and len(groups) > 1:
        raise UsageError(
            "weights cannot be fitted: runs of different folds have no validation patches in "
            "common",
            hint="--weights equal",
        )
    made = [predictions(run, "valid", way.views(run), folders) for run in chosen]
    labels = [known_labels(one, "valid") for one in made]
    p = [one.probability(way.views(run)) for run, one in zip(chosen, made, strict=True)]
    values = np.full(len(p), 1 / len(p))
    if way.weights == "fitted":
        values = fit_weights(labels[0], p)
        parts = folds(made[0].ids.tolist(), labels[0], np.arange(len(labels[0])), PARTS, seed=0)
        combined = cross_fitted(labels[0], p, way.mean, parts)
    else:
        combined = np.concatenate([combine([p[i] for i in group], way.mean) for group in groups])
    pooled = np.concatenate([labels[group[0]] for group in groups])
    aucs = [roc_auc(y, one) for y, one in zip(labels, p, strict=True)]
    slides = [made[group[0]].groups for group in groups]
    known = (
        np.concatenate([one for one in slides if one is not None])
        if all(one is not None for one in slides)
        else None
    )
    return Members(chosen, way, values, aucs, pooled, combined.astype(np.float32), known)


def by_fold(chosen: Sequence[Run]) -> list[list[int]]:
    """Places in `chosen`, those of one fold together; all of them where there are no folds."""
    groups: dict[int, list[int]] = {}
    for i, run in enumerate(chosen):
        fold = run.experiment.data.fold
        groups.setdefault(fold.index if fold is not None else 0, []).append(i)
    return list(groups.values())


def describe(members: Members, scores: Evaluation, alike: tuple[Floats, Floats]) -> dict[str, Any]:
    """What `pcam predict --json` adds for several runs.

    A correlation that is not defined is null.
    """
    pearson, spearman = (
        [[None if np.isnan(r) else float(r) for r in row] for row in table] for table in alike
    )
    return {
        "mean": members.way.mean,
        "weights": members.way.weights,
        "valid_auc": scores.auc,
        "valid_accuracy": scores.accuracy,
        "members": [
            {"run": str(run.path), "weight": float(weight), "valid_auc": auc}
            for run, weight, auc in zip(members.runs, members.values, members.aucs, strict=True)
        ],
        "correlations": {"pearson": pearson, "spearman": spearman},
    }


def show(members: Members, scores: Evaluation, alike: tuple[Floats, Floats], split: str) -> None:
    """A row a member and one for all together, on stderr, and what to know about them."""
    k = len(members.runs)
    pearson, spearman = alike
    table = np.where(np.tri(k, k=-1, dtype=bool), pearson, spearman)
    rows = [
        [
            str(i + 1),
            run.name,
            f"{auc:.4f}",
            f"{weight:.3f}",
            *("" if i == j else _number(table[i, j]) for j in range(k)),
        ]
        for i, (run, auc, weight) in enumerate(
            zip(members.runs, members.aucs, members.values, strict=True)
        )
    ]
    rows.append(["", f"mean of {members.way.mean}", f"{scores.auc:.4f}", *[""] * (k + 1)])
    columns = ["", "run", "validation AUC", "weight", *(str(i + 1) for i in range(k))]
    print_table(f"{k} runs as one, {scores.n:,} validation patches", columns, rows, stderr=True)
    say(
        f"On the right the correlation of their logits on the {split} split: Pearson below the "
        "diagonal, Spearman above."
    )
    if (folded := len(by_fold(members.runs))) > 1:
        say(
            f"Runs of {folded} folds: a validation patch is scored by those not trained on it, a "
            f"patch of {split} by all {k}."
        )
    if members.way.weights == "fitted":
        say(
            f"Fitted weights: the AUC of the mean is cross-fitted, each of {PARTS} parts with "
            "weights fitted on the others."
        )
    if members.way.mean == "ranks":
        if members.runs[0].competition.target == "class":
            say(
                "Ranks are those within a split: the threshold assumes that as large a share of "
                f"{split} is positive as of validation."
            )
        else:
            say(
                "Ranks are no probabilities: the CSV orders the patches, and only ROC AUC "
                "understands it."
            )


def _number(r: float) -> str:
    return "-" if np.isnan(r) else f"{r:.3f}"
