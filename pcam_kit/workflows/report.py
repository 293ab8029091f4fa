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
from pcam_kit.config.schema import External
from pcam_kit.data.folds import patch_names
from pcam_kit.data.shift import SAMPLE, measure_colours, measure_drifts
from pcam_kit.data.split import draw_rows
from pcam_kit.data.store import Store
from pcam_kit.data.synthetic import CENTRE
from pcam_kit.errors import DataError, PcamError, RunError, UsageError
from pcam_kit.evaluation.calibration import best_threshold
from pcam_kit.evaluation.ensemble import combine, correlations
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.files import read_json_lines, storage_error, write_bytes
from pcam_kit.formatting import Summary, interval, size
from pcam_kit.html_report.choice import Choice, choose_disagreements, choose_patches
from pcam_kit.html_report.contents import (
    Contents,
    Galleries,
    Gallery,
    Outline,
    RunPart,
    Scored,
    Stain,
    Tile,
    Together,
)
from pcam_kit.html_report.page import HEAD_BYTES, is_report, render
from pcam_kit.metrics import Floats, evaluate
from pcam_kit.names import shell_word
from pcam_kit.parsing import is_plain
from pcam_kit.pipeline.batches import take
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.saliency import occlusion_map
from pcam_kit.submissions import Entry
from pcam_kit.training.backend import quiet_import
from pcam_kit.workflows.ensemble import SHARED, Combination, measure_ensemble
from pcam_kit.workflows.evaluate import RunEvaluation, evaluate_runs
from pcam_kit.workflows.plan import rows_of
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
    first = runs[0]
    for run in runs[1:]:
        for key, name in SHARED:
            if run.meta.get(key) != first.meta.get(key):
                raise UsageError(
                    f"{first.name} ({first.competition.slug}) and {run.name} "
                    f"({run.competition.slug}) were trained on different {name}: they cannot be "
                    "compared in one report",
                    hint=f"a report for each: pcam report {run.name}",
                )
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
    hint = "choose another file: --out FILE.html"
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: a report is a file that ends in .html", hint=hint)
    try:
        if not is_plain(path):
            raise UsageError(f"{path} is a folder, a link or a device, not a file", hint=hint)
        if not path.exists():
            return
        with open(path, "rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError as error:
        raise storage_error(error, path) from error
    if not is_report(head):
        raise UsageError(
            f"{path} exists, and is no report of pcam: it is not overwritten", hint=hint
        )


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
    groups = _groups(runs, request.split)
    parts = [_part(evaluation) for evaluation in evaluations]
    together = None
    if len(runs) > 1:
        together = _together(evaluations, groups, request.split, workspace, display)
    return Contents(
        title=first.experiment.name if len(runs) == 1 else f"{len(runs)} runs compared",
        split=request.split,
        labels=evaluations[0].labels,
        groups=groups,
        slide_names=[str(name) for name in store.manifest.get("slides", [])] if store else [],
        runs=parts,
        together=together,
        galleries=None if store is None else _galleries(parts, request, store, groups, display),
        stain=stain,
        submissions=_submissions(runs, workspace),
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
    except (DataError, RunError) as error:
        for run in runs:
            kept = run.load_predictions(split)
            if kept is None or not kept.covers(run.outcome.tta):
                raise
        return None, [f"No patches and no stain are shown: {error.message} ({error.hint})."]


def _notes_of(store: Store | None) -> list[str]:
    """What the store says about its patches; of synthetic ones the page says it already."""
    return [] if store is None or store.synthetic else store.notes


def _groups(runs: Sequence[Run], split: str) -> Any:
    """The slides of the patches, from the first run that kept them: they are the same patches."""
    for run in runs:
        kept = run.load_predictions(split)
        if kept is not None and kept.groups is not None:
            return kept.groups
    return None


def _part(evaluation: RunEvaluation) -> RunPart:
    calibrated = evaluation.calibrated
    lines, _ = read_json_lines(evaluation.run.metrics_file)
    return RunPart(
        run=evaluation.run,
        scored=Scored(
            evaluation.run.name, evaluation.probabilities, evaluation.scores, evaluation.intervals
        ),
        honest_accuracy=calibrated.accuracy,
        chosen_on=calibrated.by,
        temperature=calibrated.temperature,
        epochs=[line for line in lines if isinstance(line, dict)],
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


def _galleries(
    parts: Sequence[RunPart],
    request: ReportRequest,
    store: Store,
    groups: Any,
    display: Display,
) -> Galleries:
    labels = store.labels[rows_of(parts[0].run, store, request.split)]
    members = [part.scored.probabilities for part in parts]
    thresholds = [part.scored.scores.threshold for part in parts]
    if len(parts) == 1:
        choices = choose_patches(labels, members[0], thresholds[0])
    else:
        choices = choose_disagreements(labels, members, thresholds)
    crops = {store.crop_size(part.run.experiment.data.crop) for part in parts}
    crop = crops.pop() if len(crops) == 1 else store.patch_size
    rows = rows_of(parts[0].run, store, request.split)
    shown = np.unique(np.concatenate([choice.rows for choice in choices]))
    maps, notes = _saliency(parts, request, store, rows, shown, display)
    names: list[Any] = store.manifest.get("slides", [])
    ids = patch_names(store, rows)

    def tile(i: int) -> Tile:
        slide = None if groups is None else int(groups[i])
        return Tile(
            id=str(ids[i]),
            label=int(labels[i]),
            probabilities=[float(member[i]) for member in members],
            pixels=np.asarray(store.images[rows[i]]),
            saliency=maps.get(i),
            slide=str(names[slide]) if slide is not None and 0 <= slide < len(names) else None,
        )

    return Galleries(
        galleries=[_gallery(choice, [tile(i) for i in choice.rows.tolist()]) for choice in choices],
        outlines=_outlines(store.patch_size, crop),
        patch_size=store.patch_size,
        crop=crop,
        notes=notes,
    )


def _gallery(choice: Choice, tiles: list[Tile]) -> Gallery:
    return Gallery(choice.key, choice.title, choice.text, choice.total, tiles)


def _outlines(patch_size: int, crop: int) -> list[Outline]:
    """The centre that decides the label, and what the network saw, where they are less than all."""
    outlines: list[Outline] = []
    if patch_size > CENTRE:
        seen = " It is also all that the network saw." if crop == CENTRE else ""
        text = f"The square is the centre {CENTRE} x {CENTRE}, which decides the label.{seen}"
        outlines.append(Outline(CENTRE, text, "label"))
    if crop < patch_size and crop != CENTRE:
        text = f"The network saw the dashed square, {crop} x {crop}."
        outlines.append(Outline(crop, text, "seen"))
    return outlines


def _saliency(
    parts: Sequence[RunPart],
    request: ReportRequest,
    store: Store,
    rows: Any,
    shown: Any,
    display: Display,
) -> tuple[dict[int, Floats], list[str]]:
    """An occlusion map for each patch that is shown, by its place in the split; or why not."""
    run = parts[0].run
    if not request.saliency or shown.size == 0:
        return {}, []
    if len(parts) > 1:
        return {}, [
            f"Maps of what a network looks at are in the report of each run: pcam report {run.name}"
        ]
    if isinstance(run.experiment.model, External):
        return {}, ["These predictions come from elsewhere: there is no network to make maps of."]
    with quiet_import():
        from pcam_kit.inference import load_trained
    try:
        model = load_trained(run)
    except PcamError as error:
        return {}, [f"No maps of what the network looks at: {error.message} ({error.hint})."]
    patches = take(store.images, rows[shown], store.crop_size(run.experiment.data.crop))
    maps: dict[int, Floats] = {}
    with display.work() as progress:
        for done, (i, patch) in enumerate(zip(shown.tolist(), patches, strict=True), start=1):
            maps[i] = occlusion_map(lambda x: np.asarray(model.predict_on_batch(x))[:, 0], patch)
            progress("what the network looks at", done, len(shown))
    return maps, []


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
    names = {run.name for run in runs}
    entries = [entry for entry in workspace.ledger.entries() if names & set(entry.runs)]
    return sorted(entries, key=lambda entry: entry.sent or entry.created, reverse=True)


def _command(runs: Sequence[Run], split: str) -> str:
    words = [shell_word(Path(run.name)) for run in runs]
    option = [] if split == "valid" else ["--split", split]
    return " ".join(["pcam report", *words, *option])
