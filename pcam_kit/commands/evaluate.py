"""`pcam evaluate`: runs on patches with known labels, how sure their scores are, and how each does
against the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.console import print_table, say
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.score import known_labels, predictions
from pcam_kit.errors import UsageError
from pcam_kit.evaluation import intervals
from pcam_kit.evaluation.calibration import at_temperature, fit_temperature
from pcam_kit.evaluation.comparison import Answers, Comparison, Difference, compare
from pcam_kit.evaluation.crossfit import cross_fit
from pcam_kit.evaluation.metrics import Evaluation, evaluate, expected_calibration_error, log_loss
from pcam_kit.runs import Predictions, Result, Run
from pcam_kit.views import VIEWS

# slides; an AUC's interval from fewer says 95% and held the truth in 82 to 91 of 100 cases (see
# evaluation/intervals.py)
FEW = 20


@dataclass(frozen=True)
class Tempered:
    """Log loss and calibration error after the run's temperature; `value` None where it is not
    known.

    On the validation split the temperature, and the threshold of `accuracy`, are chosen on the
    folds that a patch is not in (`by`: slides or patches). Other splits took no part in that
    choice: `accuracy` and `by` are None, the plain accuracy is honest.
    """

    value: float | None
    log_loss: float | None = None
    ece: float | None = None
    accuracy: float | None = None
    by: str | None = None


@dataclass(frozen=True)
class Scored:
    """One run's scores on one split; `slides`: how many there are, None where unknown."""

    run: Run
    result: Result
    split: str
    slides: int | None
    scores: Evaluation
    intervals: intervals.Intervals
    tempered: Tempered
    compared: Comparison | None  # with the first run; None for itself


def score(chosen: Sequence[Run], split: str, folders: Folders) -> list[Scored]:
    """Scores of finished runs on a split whose labels are known, at each run's own threshold.

    Raises RunError when a run is not complete, UsageError when several do not predict the same
    patches.
    """
    results = [run.outcome for run in chosen]
    made = [
        predictions(run, split, result.tta, folders)
        for run, result in zip(chosen, results, strict=True)
    ]
    labels = known_labels(made[0], split)
    for run, other in zip(chosen[1:], made[1:], strict=True):
        if not np.array_equal(made[0].ids, other.ids) or not np.array_equal(
            labels, known_labels(other, split)
        ):
            raise UsageError(
                f"{chosen[0].name} ({chosen[0].competition.slug}, {len(labels):,} patches) and "
                f"{run.name} ({run.competition.slug}, "
                f"{len(other.ids):,}) cannot be compared: their {split} splits do not hold the "
                "same patches and labels, in the same order",
                hint=f"evaluate one at a time: pcam evaluate {run.name}",
            )
    groups = _groups(made)
    answers = [
        Answers(one.probability(result.tta), result.threshold)
        for one, result in zip(made, results, strict=True)
    ]
    return [
        Scored(
            run,
            result,
            split,
            intervals.count_slides(groups),
            evaluate(labels, answer.probabilities, answer.threshold),
            intervals.intervals(labels, answer.probabilities, answer.threshold, groups),
            _tempered(run, split, labels, answer, groups),
            compare(labels, answers[0], answer, groups) if i > 0 else None,
        )
        for i, (run, result, answer) in enumerate(zip(chosen, results, answers, strict=True))
    ]


def describe(scored: Scored) -> dict[str, Any]:
    """The JSON object of `pcam evaluate` for one run; what is not known is null."""
    s, t, compared = scored.scores, scored.tempered, scored.compared
    (auc_low, auc_high), (accuracy_low, accuracy_high) = (
        scored.intervals.auc,
        scored.intervals.accuracy,
    )
    values = {
        "run": str(scored.run.path),
        "split": scored.split,
        "n": s.n,
        "interval": intervals.name(scored.intervals.slides),
        "auc": s.auc,
        "auc_low": auc_low,
        "auc_high": auc_high,
        "accuracy": s.accuracy,
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "accuracy_at_half": s.accuracy_at_half,
        "accuracy_cross_fitted": t.accuracy,
        "cross_fitted_by": t.by,
        "threshold": s.threshold,
        "threshold_low": scored.result.threshold_low,
        "threshold_high": scored.result.threshold_high,
        "log_loss": s.log_loss,
        "brier": s.brier,
        "ece": s.ece,
        "temperature": t.value,
        "log_loss_at_temperature": t.log_loss,
        "ece_at_temperature": t.ece,
    }
    if compared is None:
        return values
    return values | {
        "compared": {
            "interval": intervals.name(compared.slides),
            "auc_difference": asdict(compared.auc),
            "accuracy_difference": asdict(compared.accuracy),
        }
    }


def show(scored: Sequence[Scored], *, stderr: bool = False) -> None:
    """The scores as a table, a column a run, and beneath it the differences from the first."""
    first = scored[0]
    by = _by(first.intervals.slides)
    on = (
        f"on other {first.tempered.by}"
        if first.tempered.by is not None
        else "on the validation split"
    )
    rows: list[tuple[str, Callable[[Scored], str]]] = [
        ("patches (positive)", lambda x: f"{x.scores.n:,} ({x.scores.positive:,})"),
        ("views averaged", lambda x: str(len(VIEWS[x.result.tta]))),
        ("ROC AUC", lambda x: f"{x.scores.auc:.4f}"),
        (f"  95% interval, {by}", lambda x: _range(x.intervals.auc)),
        ("accuracy at the threshold", lambda x: f"{x.scores.accuracy:.4f}"),
        (f"  95% interval, {by}", lambda x: _range(x.intervals.accuracy)),
        ("  threshold", lambda x: f"{x.scores.threshold:.4f}"),
        (
            "  cuts that do as well",
            lambda x: _range((x.result.threshold_low, x.result.threshold_high)),
        ),
        *(
            []
            if first.tempered.by is None
            else [(f"accuracy, threshold chosen {on}", lambda x: _number(x.tempered.accuracy))]
        ),
        ("accuracy at 0.5", lambda x: f"{x.scores.accuracy_at_half:.4f}"),
        ("log loss", lambda x: f"{x.scores.log_loss:.4f}"),
        (f"  at a temperature fitted {on}", lambda x: _number(x.tempered.log_loss)),
        ("Brier score", lambda x: f"{x.scores.brier:.4f}"),
        ("calibration error (15 bins)", lambda x: f"{x.scores.ece:.4f}"),
        (f"  at a temperature fitted {on}", lambda x: _number(x.tempered.ece)),
        ("  temperature", lambda x: _number(x.tempered.value)),
        (
            "true negatives / false positives",
            lambda x: f"{x.scores.confusion.tn:,} / {x.scores.confusion.fp:,}",
        ),
        (
            "false negatives / true positives",
            lambda x: f"{x.scores.confusion.fn:,} / {x.scores.confusion.tp:,}",
        ),
    ]
    columns = ["", *(x.run.name for x in scored)]
    print_table(
        f"{first.split} split",
        columns,
        [[label, *(cell(x) for x in scored)] for label, cell in rows],
        stderr=stderr,
    )
    _show_differences(scored, stderr=stderr)
    if first.split == "valid":
        say(
            "The threshold was chosen on these same patches, so the accuracy at it is a little "
            "optimistic."
        )
    _say_how_sure(scored)
    if any(x.run.meta.get("synthetic") for x in scored):
        say("Synthetic tissue: these scores say nothing about real patients.")


def _show_differences(scored: Sequence[Scored], *, stderr: bool) -> None:
    pairs = [(x.run.name, x.compared) for x in scored if x.compared is not None]
    if not pairs:
        return
    by = _by(pairs[0][1].slides)
    rows: list[tuple[str, Callable[[Comparison], str]]] = [
        ("ROC AUC", lambda x: f"{x.auc.value:+.4f}"),
        (f"  95% interval, {by}", lambda x: f"{x.auc.low:+.4f} to {x.auc.high:+.4f}"),
        ("  p", lambda x: _p(x.auc)),
        ("accuracy, each at its threshold", lambda x: f"{x.accuracy.value:+.4f}"),
        (f"  95% interval, {by}", lambda x: f"{x.accuracy.low:+.4f} to {x.accuracy.high:+.4f}"),
        ("  p", lambda x: _p(x.accuracy)),
    ]
    table = [[label, *(cell(compared) for _, compared in pairs)] for label, cell in rows]
    print_table(
        f"against {scored[0].run.name}", ["", *(name for name, _ in pairs)], table, stderr=stderr
    )
    say(
        "The differences are of these trainings: another seed may turn them round, which no p "
        "above knows about."
    )


def _say_how_sure(scored: Sequence[Scored]) -> None:
    used, there = scored[0].intervals.slides, scored[0].slides
    if there is None:
        say(
            "The slides are not known: intervals take patches as independent, and are too narrow "
            "where several come from one slide."
        )
    elif used is None:
        few = "one slide is" if there == 1 else f"{there} slides are"
        say(
            f"{few} too few to say anything about other slides: the intervals are for other "
            "patches of the same."
        )
    elif used < FEW:
        say(f"{used} slides are few: the intervals are a little too narrow.")
    if lost := scored[0].intervals.one_class:
        say(
            f"{lost:,} of {intervals.DRAWS:,} draws of slides held one class only and do not "
            "count for the AUC's interval."
        )


def _groups(made: Sequence[Predictions]) -> NDArray[np.int32] | None:
    """The slides of the patches, from the first run that kept them: they are the same patches."""
    return next(
        (one.groups for one in made if intervals.count_slides(one.groups) is not None), None
    )


def _tempered(
    run: Run,
    split: str,
    labels: NDArray[np.int8],
    answer: Answers,
    groups: NDArray[np.int32] | None,
) -> Tempered:
    value = _temperature(run)
    if split == "valid":
        elsewhere = cross_fit(labels, answer.probabilities, groups)
        return (
            Tempered(value, elsewhere.log_loss, elsewhere.ece, elsewhere.accuracy, elsewhere.by)
            if elsewhere
            else Tempered(value)
        )
    if value is None:
        return Tempered(None)
    after = at_temperature(answer.probabilities, value)
    return Tempered(value, log_loss(labels, after), expected_calibration_error(labels, after))


def _temperature(run: Run) -> float | None:
    """The run's own, or, of a run from before there was one, that of its validation predictions;
    None without those.
    """
    result = run.outcome
    if result.temperature is not None:
        return result.temperature
    kept = run.load_predictions("valid")
    return (
        fit_temperature(kept.labels, kept.probability(result.tta)).value
        if kept is not None and kept.covers(result.tta)
        else None
    )


def _by(slides: int | None) -> str:
    return "by patch" if slides is None else f"by slide ({slides})"


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4f} - {ends[1]:.4f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _p(difference: Difference) -> str:
    if difference.p is None:
        return "-"
    return "< 0.001" if difference.p < 0.001 else f"{difference.p:.3f}"
