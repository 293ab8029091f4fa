"""`pcam report`: everything that is known about a run, or about several, as one HTML file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.clock import now
from pcam_kit.data.shift import SAMPLE, measure_colours, measure_drifts
from pcam_kit.data.split import draw_rows
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, DataError, RunError, UsageError
from pcam_kit.evaluation.calibration import best_threshold
from pcam_kit.evaluation.ensemble import combine, correlations
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.files import check_replaceable, write_bytes
from pcam_kit.formatting import Summary, interval, size
from pcam_kit.html_report.contents import (
    Contents,
    RunPart,
    Scored,
    Stain,
    Together,
)
from pcam_kit.html_report.page import MARK, render
from pcam_kit.metrics import evaluate
from pcam_kit.names import shell_word
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run, read_metrics
from pcam_kit.submissions import Entry
from pcam_kit.workflows.ensemble import Combination, first_unlike, measure_ensemble
from pcam_kit.workflows.evaluate import RunEvaluation, evaluate_runs
from pcam_kit.workflows.report_patches import Shown, collect_galleries
from pcam_kit.workflows.sweep.found import find_searches
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

MOST_RUNS = 20  # of one report: with more it is neither small nor readable
ENDINGS = (".html", ".htm")


@dataclass(frozen=True)
class ReportRequest:
    """out: the file; None: in the run folder, or for several runs in the runs folder.

    saliency: whether to compute occlusion maps.
    """

    split: str = "valid"
    out: Path | None = None
    saliency: bool = True


@dataclass(frozen=True, repr=False)
class Report(Summary):
    """A report that was written. notes: what could not be shown, and why."""

    path: Path
    runs: Sequence[Run]
    split: str
    bytes: int
    scores: Sequence[tuple[str, str]]
    notes: Sequence[str]

    def __fspath__(self) -> str:
        """The file, so that a report can be opened like a path."""
        return str(self.path)

    def summary(self) -> dict[str, str]:
        """File, size and AUCs."""
        return {"report": str(self.path), "size": size(self.bytes), **dict(self.scores)}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam report`."""
        return {
            "report": str(self.path),
            "bytes": self.bytes,
            "split": self.split,
            "runs": [str(run.path) for run in self.runs],
            "notes": list(self.notes),
        }


def write_report(
    runs: Sequence[Run], request: ReportRequest, workspace: Workspace, *, display: Display = SILENT
) -> Report:
    """Collect what is known of the runs on a split, and write the page.

    Raises UsageError for runs of other stores, for unknown labels and for a file that is no report;
    RunError, DataError, StorageError.
    """
    _check_runs(runs)
    path = request.out if request.out is not None else _default_path(runs, request.split, workspace)
    _check_target(path)
    contents = _collect(runs, request, workspace, display)
    data = render(contents).encode()
    write_bytes(path, data)
    notes = [*contents.notes, *(contents.galleries.notes if contents.galleries else ())]
    for note in notes:
        log.info(note)
    scores = [
        (part.run.name, f"AUC {interval(part.scored.scores.auc, *part.scored.intervals.auc)}")
        for part in contents.runs
    ]
    log.info(f"{path}: {len(data) / 1e6:.1f} MB, needs no network")
    return Report(path, runs, request.split, len(data), scores, notes)


def _check_runs(runs: Sequence[Run]) -> None:
    """Raises RunError for unfinished runs, UsageError for runs that do not belong in one report."""
    for run in runs:
        _ = run.outcome
    names = [run.path.resolve() for run in runs]
    if twice := [path.name for path in names if names.count(path) > 1]:
        raise UsageError(f"{twice[0]} is given twice", hint="name each run once")
    if len(runs) > MOST_RUNS:
        raise UsageError(
            f"a report has at most {MOST_RUNS} runs, found {len(runs)}",
            hint="the best ones are at the top of: pcam runs",
        )
    if unlike := first_unlike(runs):
        raise UsageError(
            f"{unlike.text}: they cannot be compared in one report",
            hint=f"a report for each: pcam report {unlike.run.name}",
        )
    first = runs[0]
    for run in runs[1:]:
        if run.experiment.data.fold != first.experiment.data.fold:
            raise UsageError(
                f"{first.name} and {run.name} are of different folds: their validation patches "
                "are not the same",
                hint=f"a report for each: pcam report {run.name}",
            )


def _default_path(runs: Sequence[Run], split: str, workspace: Workspace) -> Path:
    """The same runs have the same file, so that a new report takes the place of the old one."""
    ending = "" if split == "valid" else f"-{split}"
    if len(runs) == 1:
        return runs[0].path / f"report{ending}.html"
    names = "\n".join(sorted(run.name for run in runs))
    digest = hashlib.sha256(names.encode()).hexdigest()[:8]
    return workspace.runs / f"report-{digest}{ending}.html"


def _check_target(path: Path) -> None:
    """Raises UsageError unless the report may be written there: nothing else is overwritten."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"{path}: a report is a file that ends in .html",
            hint="choose another name: --out FILE.html",
        )
    check_replaceable(path, MARK)


def _collect(
    runs: Sequence[Run], request: ReportRequest, workspace: Workspace, display: Display
) -> Contents:
    store, notes = _store_of(runs, request.split, workspace)
    if store is None:  # kept predictions are good without one
        workspace = replace(workspace, data=runs[0].path / "no-data")
    evaluations = evaluate_runs(runs, request.split, workspace, display=display)
    first = runs[0]
    # a store of its own, closed again before Keras comes: of 0.9 GB of patches 0.7 get mapped
    stain = None if store is None else _stain(workspace.store_of(first))
    groups = evaluations[0].groups
    parts = [_part(evaluation, notes) for evaluation in evaluations]
    together = None
    if len(runs) > 1:
        together = _together(evaluations, groups, request.split, workspace, display)
    galleries = None
    if store is not None:
        shown = Shown(parts, store, request.split, groups)
        galleries = collect_galleries(shown, saliency=request.saliency, display=display)
    return Contents(
        title=first.experiment.name if len(runs) == 1 else f"{len(runs)} runs compared",
        split=request.split,
        labels=evaluations[0].labels,
        groups=groups,
        slide_names=[str(name) for name in store.manifest.get("slides", [])] if store else [],
        runs=parts,
        together=together,
        galleries=galleries,
        stain=stain,
        submissions=_submissions(runs, workspace),
        searches=find_searches({run.name for run in runs}, workspace.sweeps),
        notes=notes,
        store_notes=_notes_of(store),
        synthetic=any(bool(run.meta.get("synthetic")) for run in runs),
        command=_command(runs, request.split),
        written=now(),
    )


def _store_of(
    runs: Sequence[Run], split: str, workspace: Workspace
) -> tuple[Store | None, list[str]]:
    """The runs' store, or None with the reason, where kept predictions do without one.

    Raises what is wrong with the store where they do not.
    """
    try:
        return workspace.store_of(runs[0]), []
    except (ConfigError, DataError, RunError) as error:
        for run in runs:
            kept = run.load_predictions(split)
            if kept is None or not kept.covers(run.outcome.tta):
                raise
        return None, [f"No patches and no stain are shown: {error.message} ({error.hint})."]


def _notes_of(store: Store | None) -> list[str]:
    """What the store says about its patches; of synthetic ones the page says it already."""
    return [] if store is None or store.synthetic else store.notes


def _part(evaluation: RunEvaluation, notes: list[str]) -> RunPart:
    run, calibrated = evaluation.run, evaluation.calibrated
    epochs: list[dict[str, Any]] = []
    try:
        epochs = read_metrics(run)
    except RunError:  # its message would tell folders of this machine
        command = f"pcam plot curves {shell_word(Path(run.name))}"
        notes.append(f"The epochs of {run.name} cannot be read: {command} says why.")
    return RunPart(
        run=run,
        scored=Scored(run.name, evaluation.probabilities, evaluation.scores, evaluation.intervals),
        honest_accuracy=calibrated.accuracy,
        chosen_on=calibrated.by,
        temperature=calibrated.temperature,
        epochs=epochs,
        comparison=evaluation.comparison,
    )


def _together(
    evaluations: Sequence[RunEvaluation],
    groups: Any,
    split: str,
    workspace: Workspace,
    display: Display,
) -> Together:
    """The mean of the runs' logits; its threshold is chosen on the validation patches."""
    runs = [evaluation.run for evaluation in evaluations]
    combination = Combination("logits", "equal")
    ensemble = measure_ensemble(runs, combination, workspace, display=display)
    threshold = best_threshold(ensemble.labels, ensemble.probabilities).value
    labels, members = evaluations[0].labels, np.stack([x.probabilities for x in evaluations])
    p = ensemble.probabilities
    if split != "valid":
        p = combine(members, "logits").astype(np.float32)
    pearson, _ = correlations(members)
    scored = Scored(
        "all together", p, evaluate(labels, p, threshold), intervals(labels, p, threshold, groups)
    )
    return Together(scored, pearson)


def _stain(store: Store) -> Stain:
    colours = [measure_colours(store, split) for split in store.splits]
    swatches: list[tuple[int, int, int]] = []
    for split in store.splits:
        pixels = store.subsampled[draw_rows(store.rows(split), SAMPLE, 0)]
        red, green, blue = np.rint(pixels.mean(axis=(0, 1, 2))).astype(int).tolist()
        swatches.append((red, green, blue))
    return Stain(colours, measure_drifts(colours), swatches)


def _submissions(runs: Sequence[Run], workspace: Workspace) -> list[Entry]:
    """What the ledger has of these runs, newest first."""
    return workspace.ledger.entries_of([run.name for run in runs])[::-1]


def _command(runs: Sequence[Run], split: str) -> str:
    words = [shell_word(Path(run.name)) for run in runs]
    option = [] if split == "valid" else ["--split", split]
    return " ".join(["pcam report", *words, *option])
