"""`pcam plot`: a plot of one run or several, with a caption, as a figure and as a file."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit import plots
from pcam_kit.data.synthetic import CENTRE
from pcam_kit.errors import UsageError
from pcam_kit.files import check_replaceable, write_bytes
from pcam_kit.formatting import counted, interval
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.images import take
from pcam_kit.plots import CREATOR, FORMATS, Scored, average_precision
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run, read_metrics
from pcam_kit.workflows.evaluate import RunEvaluation, evaluate_runs
from pcam_kit.workflows.plan import rows_of
from pcam_kit.workflows.wrong_patches import find_wrong_patches
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ERRORS = 12  # patches of each kind in the gallery of errors
SAMPLES, EPOCHS = 5, 7  # rows and columns of augmented patches


@dataclass(frozen=True, eq=False)
class Plot:
    """A matplotlib figure and what stands below it: n, split and scores with their intervals."""

    kind: str
    figure: Figure = field(repr=False)
    caption: str

    def save(self, path: str | Path) -> Path:
        """Write a .png, .svg or .pdf, and the caption beside it as .txt; returns the path.

        Raises UsageError for other formats, and where something stands that `save` did not write;
        StorageError.
        """
        target = Path(path)
        check_format(target)
        beside = target.with_suffix(".txt")
        for file in (target, beside):
            check_replaceable(file, CREATOR.encode())
        data = plots.to_bytes(self.figure, target.suffix[1:].lower(), self.caption)
        write_bytes(target, data)
        write_bytes(beside, f"{self.caption}\n\nDrawn with {CREATOR}.\n".encode())
        return target

    def _repr_html_(self) -> str:
        """The plot and its caption, as a notebook shows them."""
        style = "max-width: 46em; background: white; color: black; padding: 0.5em"
        below = f"<figcaption>{html.escape(self.caption)}</figcaption>"
        return f"<figure style='{style}'>{plots.to_svg(self.figure)}{below}</figure>"


@dataclass(frozen=True)
class Source:
    """What is plotted: runs, a split, and where their patches lie."""

    runs: Sequence[Run]
    split: str
    workspace: Workspace
    display: Display

    def only_run(self, kind: str) -> Run:
        """The one run. Raises UsageError when there are several."""
        if len(self.runs) > 1:
            raise UsageError(
                f"a plot of {kind} shows one run, {len(self.runs)} are given",
                hint=f"pcam plot {kind} {self.runs[0].name}",
            )
        return self.runs[0]

    def evaluations(self) -> list[RunEvaluation]:
        """The scores of the runs, each compared with the first."""
        return evaluate_runs(self.runs, self.split, self.workspace, display=self.display)


def draw(
    kind: str, runs: Sequence[Run], split: str, workspace: Workspace, *, display: Display = SILENT
) -> Plot:
    """Draw a plot, one of KINDS. Raises UsageError, RunError, DataError."""
    if kind not in KINDS:
        raise UsageError(f"there is no plot {kind!r}", hint=f"the plots are {', '.join(KINDS)}")
    figure, caption = KINDS[kind](Source(runs, split, workspace, display))
    return Plot(kind, figure, caption)


def scored(evaluation: RunEvaluation) -> Scored:
    """A run's answers as plots take them."""
    return Scored(
        evaluation.run.name,
        evaluation.labels,
        evaluation.probabilities,
        evaluation.scores.threshold,
        evaluation.calibrated.temperature,
    )


def check_format(path: Path) -> None:
    """Raises UsageError unless the name ends in one of the formats."""
    if path.suffix[1:].lower() not in FORMATS:
        endings = ", ".join(f".{kind}" for kind in FORMATS)
        raise UsageError(
            f"{path}: expected a name that ends in {endings}",
            hint=f"--out {path.with_suffix('.png').name}",
        )


def _curves(source: Source) -> tuple[Figure, str]:
    histories = {run.name: read_metrics(run) for run in source.runs}
    for name, history in histories.items():
        if not history:
            raise UsageError(
                f"{name} has no epochs: predictions from elsewhere, or stopped in the first one",
                hint="plot another run: pcam runs",
            )
    texts: list[str] = []
    for run in source.runs:
        history = histories[run.name]
        best = max(history, key=lambda line: line["valid_auc"])
        texts.append(
            f"{run.name}: {counted(len(history), 'epoch')}, the best is {best['epoch']} with a "
            f"validation AUC of {best['valid_auc']:.4f}, one view a patch"
        )
    return plots.curves(histories), f"Learning curves. {'. '.join(texts)}."


def _roc(source: Source) -> tuple[Figure, str]:
    evaluations = source.evaluations()
    return plots.roc([scored(x) for x in evaluations]), _caption("ROC curve", evaluations, _auc)


def _precision_recall(source: Source) -> tuple[Figure, str]:
    evaluations = source.evaluations()
    figure = plots.precision_recall([scored(x) for x in evaluations])
    return figure, _caption("Precision-recall curve", evaluations, _average_precision)


def _calibration(source: Source) -> tuple[Figure, str]:
    source.only_run("calibration")
    evaluations = source.evaluations()
    caption = _caption("Reliability diagram, 15 bins", evaluations, _calibration_scores)
    if source.split == "valid":
        caption += " The temperature was fitted on these same patches."
    return plots.calibration(scored(evaluations[0])), caption


def _confusion(source: Source) -> tuple[Figure, str]:
    source.only_run("confusion")
    evaluations = source.evaluations()
    caption = _caption("Confusion matrix", evaluations, _class_scores)
    return plots.confusion(evaluations[0].scores.confusion), caption


def _slides(source: Source) -> tuple[Figure, str]:
    run = source.only_run("slides")
    (evaluation,) = source.evaluations()
    scores = evaluation.by_slide()
    caption = _caption("Accuracy of each slide", [evaluation], _class_scores)
    caption += f" Intervals of the slides are Wilson's. Run {run.name}."
    return plots.slides(scores, evaluation.scores.accuracy), caption


def _errors(source: Source) -> tuple[Figure, str]:
    run = source.only_run("errors")
    wrong = find_wrong_patches(run, source.split, source.workspace, display=source.display)
    store = source.workspace.store_of(run)
    rows = rows_of(run, store, source.split)
    parts: list[tuple[str, NDArray[np.uint8], list[str]]] = []
    for label, title in ((0, "false positives"), (1, "false negatives")):
        chosen = np.flatnonzero(wrong.labels == label)[:ERRORS]
        captions = [f"{wrong.ids[i][-16:]}\np = {wrong.probabilities[i]:.3f}" for i in chosen]
        patches = store.images[rows[wrong.indices[chosen]]]
        total = int((wrong.labels == label).sum())
        parts.append((f"{title}: {len(chosen)} of {total:,}", patches, captions))
    figure = plots.gallery(parts, outline=CENTRE)
    caption = (
        f"The most confident errors of {run.name} on the {_split_name(source.split)} split: "
        f"{len(wrong):,} of {wrong.n:,} patches are wrong at threshold {wrong.threshold:.4f}. p: "
        "probability of tumour."
    )
    if store.patch_size > CENTRE:
        caption += f" The frame is the centre {CENTRE}x{CENTRE} pixels, which the label is about."
    return figure, caption


def _samples(source: Source) -> tuple[Figure, str]:
    run = source.only_run("samples")
    store = source.workspace.store_of(run)
    experiment = run.experiment
    rows = rows_of(run, store, "train").astype(np.int64)[:SAMPLES]
    originals = take(store.images, rows, store.crop_size(experiment.data.crop))
    augmenter = Augmenter(experiment.augment, seed=experiment.seed)
    total = len(store.images)
    augmented = [augmenter(originals, rows, epoch, total) for epoch in range(1, EPOCHS + 1)]
    names = {0: "no tumour", 1: "tumour"}
    labels = [names.get(int(label), "unknown") for label in store.labels[rows]]
    caption = (
        f"Training patches of {store.profile.title}, as they are and as {experiment.name} augments "
        f"them in its first {EPOCHS} epochs; {originals.shape[1]}x{originals.shape[2]} pixels."
    )
    return plots.samples(originals, augmented, labels), caption


KINDS: Mapping[str, Callable[[Source], tuple[Any, str]]] = {
    "curves": _curves,
    "roc": _roc,
    "pr": _precision_recall,
    "calibration": _calibration,
    "confusion": _confusion,
    "errors": _errors,
    "samples": _samples,
    "slides": _slides,
}


def _caption(
    title: str, evaluations: Sequence[RunEvaluation], describe: Callable[[RunEvaluation], str]
) -> str:
    """Title, patches and slides, then what each run scores on them."""
    first = evaluations[0]
    on = (
        f"{_split_name(first.split)} split of {first.run.competition.title}, n = "
        f"{first.scores.n:,} patches ({first.scores.positive:,} positive)"
    )
    if first.slides is not None:
        on += f" of {counted(first.slides, 'slide')}"
    by = "patch" if first.intervals.slides is None else "slide"
    several = len(evaluations) > 1
    scores = "; ".join(
        f"{x.run.name}: {describe(x)}" if several else describe(x) for x in evaluations
    )
    caption = f"{title}, {on}. {scores[0].upper()}{scores[1:]} (95% intervals by {by})."
    if any(x.run.meta.get("synthetic") for x in evaluations):
        caption += " Synthetic tissue."
    return caption


def _split_name(split: str) -> str:
    return "validation" if split == "valid" else split


def _auc(evaluation: RunEvaluation) -> str:
    return f"AUC {interval(evaluation.scores.auc, *evaluation.intervals.auc)}"


def _average_precision(evaluation: RunEvaluation) -> str:
    return f"average precision {average_precision(scored(evaluation)):.4f}, {_auc(evaluation)}"


def _class_scores(evaluation: RunEvaluation) -> str:
    scores, counts = evaluation.scores, evaluation.scores.confusion
    text = f"accuracy {interval(scores.accuracy, *evaluation.intervals.accuracy)}"
    for name, value in (
        ("sensitivity", counts.sensitivity),
        ("specificity", counts.specificity),
        ("F1", counts.f1),
    ):
        if value is not None:
            text += f", {name} {value:.4f}"
    return f"{text} at threshold {scores.threshold:.4f}"


def _calibration_scores(evaluation: RunEvaluation) -> str:
    text = f"calibration error {evaluation.scores.ece:.4f}"
    calibrated = evaluation.calibrated
    if calibrated.temperature is None:
        return text
    text += f", temperature {calibrated.temperature:.3f}"
    return f"{text}; {_auc(evaluation)}"
