"""`pcam evaluate`: score runs on patches with known labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_table, print_text, say
from pcam_kit.cli.options import DataDir, Debug, Json, Runs, RunsDir, workspace_of
from pcam_kit.errors import UsageError

if TYPE_CHECKING:
    from pcam_kit.evaluation.comparison import Comparison, Difference
    from pcam_kit.workflows.evaluate import RunEvaluation


def evaluate(
    runs: Runs = None,
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option("--split", help="The patches to score.")
    ] = "valid",
    by: Annotated[
        Literal["slide"] | None,
        typer.Option("--by", help="Score each slide by itself.", show_default=False),
    ] = None,
    table: Annotated[
        Literal["markdown", "latex", "csv"] | None,
        typer.Option(
            "--format",
            help="Print a table for a report: a row a config, mean ± sd over its seeds.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score runs on patches with known labels.

    ROC AUC and accuracy with their intervals, by slide where slides are known; log loss, Brier
    score, calibration error, confusion counts. Of several runs each is compared with the first;
    unfinished ones, as in runs/*, are left out with a warning.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.workflows import score_table

    if as_json and table is not None:
        raise UsageError("--json and --format exclude each other", hint="leave one of them out")
    workspace = workspace_of(data_dir, runs_dir)
    chosen = runs if runs else [api.load_run(workspace=workspace)]
    evaluations = api.evaluate(chosen, split, workspace=workspace, display=ConsoleDisplay())
    if as_json:
        objects = [evaluation.to_dict(slides=by is not None) for evaluation in evaluations]
        print_json(objects[0] if len(objects) == 1 else {"runs": objects})
        return
    if by is None and table is None:
        show(evaluations)
        return
    scores = (score_table.by_config if by is None else score_table.by_slide)(evaluations)
    if table is not None:
        print_text(scores.render(table))
    else:
        print_table(f"{split} split, each slide", scores.headings, scores.texts)


def show(evaluations: Sequence[RunEvaluation], *, stderr: bool = False) -> None:
    """The scores as a table, a column a run, and beneath it the differences from the first."""
    from pcam_kit.views import VIEWS

    first = evaluations[0]
    by = _by(first.intervals.slides)
    on = "on the validation split"
    if first.calibrated.by is not None:
        on = f"on other {first.calibrated.by}"
    rows: list[tuple[str, Callable[[RunEvaluation], str]]] = [
        ("patches (positive)", lambda x: f"{x.scores.n:,} ({x.scores.positive:,})"),
        ("views averaged", lambda x: "own" if x.run.members else str(len(VIEWS[x.result.tta]))),
        ("ROC AUC", lambda x: f"{x.scores.auc:.4f}"),
        (f"  95% interval, {by}", lambda x: _range(x.intervals.auc)),
        ("accuracy at the threshold", lambda x: f"{x.scores.accuracy:.4f}"),
        (f"  95% interval, {by}", lambda x: _range(x.intervals.accuracy)),
        ("  threshold", lambda x: f"{x.scores.threshold:.4f}"),
        (
            "  thresholds that do as well",
            lambda x: _range((x.result.threshold_low, x.result.threshold_high)),
        ),
    ]
    if first.calibrated.by is not None:
        title = f"accuracy, threshold chosen {on}"
        rows.append((title, lambda x: _number(x.calibrated.accuracy)))
    rows += [
        ("accuracy at 0.5", lambda x: f"{x.scores.accuracy_at_half:.4f}"),
        ("log loss", lambda x: f"{x.scores.log_loss:.4f}"),
        (f"  at a temperature fitted {on}", lambda x: _number(x.calibrated.log_loss)),
        ("Brier score", lambda x: f"{x.scores.brier:.4f}"),
        ("calibration error (15 bins)", lambda x: f"{x.scores.ece:.4f}"),
        (f"  at a temperature fitted {on}", lambda x: _number(x.calibrated.ece)),
        ("  temperature", lambda x: _number(x.calibrated.temperature)),
        (
            "true negatives / false positives",
            lambda x: f"{x.scores.confusion.tn:,} / {x.scores.confusion.fp:,}",
        ),
        (
            "false negatives / true positives",
            lambda x: f"{x.scores.confusion.fn:,} / {x.scores.confusion.tp:,}",
        ),
        ("sensitivity", lambda x: _number(x.scores.confusion.sensitivity)),
        ("specificity", lambda x: _number(x.scores.confusion.specificity)),
        ("F1", lambda x: _number(x.scores.confusion.f1)),
    ]
    rows += [(key, lambda x, key=key: _number(x.extra.get(key))) for key in first.extra]
    columns = ["", *(evaluation.run.name for evaluation in evaluations)]
    table = [[title, *(cell(x) for x in evaluations)] for title, cell in rows]
    print_table(f"{first.split} split", columns, table, stderr=stderr)
    _show_differences(evaluations, stderr=stderr)
    if first.split == "valid":
        say(
            "The threshold was chosen on these same patches, so the accuracy at it is a little "
            "optimistic."
        )
    _say_how_sure(first)
    if any(evaluation.run.meta.get("synthetic") for evaluation in evaluations):
        say("Synthetic tissue: these scores say nothing about real patients.")


def _show_differences(evaluations: Sequence[RunEvaluation], *, stderr: bool) -> None:
    compared = [(x.run.name, x.comparison) for x in evaluations if x.comparison is not None]
    if not compared:
        return
    by = _by(compared[0][1].slides)
    rows: list[tuple[str, Callable[[Comparison], str]]] = [
        ("ROC AUC", lambda x: f"{x.auc.value:+.4f}"),
        (f"  95% interval, {by}", lambda x: _signed_range(x.auc)),
        ("  p", lambda x: _p(x.auc)),
        ("accuracy, each at its threshold", lambda x: f"{x.accuracy.value:+.4f}"),
        (f"  95% interval, {by}", lambda x: _signed_range(x.accuracy)),
        ("  p", lambda x: _p(x.accuracy)),
    ]
    table = [[title, *(cell(comparison) for _, comparison in compared)] for title, cell in rows]
    columns = ["", *(name for name, _ in compared)]
    print_table(f"against {evaluations[0].run.name}", columns, table, stderr=stderr)
    say(
        "The differences are of these trainings: another seed may turn them round, which no p "
        "above knows about."
    )


def _say_how_sure(first: RunEvaluation) -> None:
    from pcam_kit.evaluation.intervals import DRAWS, FEW_SLIDES

    used, slides = first.intervals.slides, first.slides
    if slides is None:
        say(
            "The slides are not known: intervals take patches as independent, and are too narrow "
            "where several come from one slide."
        )
    elif used is None:
        few = "one slide is" if slides == 1 else f"{slides} slides are"
        say(
            f"{few} too few to say anything about other slides: the intervals are for other "
            "patches of the same."
        )
    elif used < FEW_SLIDES:
        say(f"{used} slides are few: the intervals are a little too narrow.")
    if lost := first.intervals.one_class:
        say(
            f"{lost:,} of {DRAWS:,} draws of slides held one class only and do not "
            "count for the AUC's interval."
        )


def _by(slides: int | None) -> str:
    return "by patch" if slides is None else f"by slide ({slides})"


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4f} - {ends[1]:.4f}"


def _signed_range(difference: Difference) -> str:
    return f"{difference.low:+.4f} to {difference.high:+.4f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _p(difference: Difference) -> str:
    if difference.p is None:
        return "-"
    return "< 0.001" if difference.p < 0.001 else f"{difference.p:.3f}"
