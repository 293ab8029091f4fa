"""`pcam apply`: a finished run and new tissue in, a probability a tile and heat maps out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.config.schema import WithoutNetwork
from pcam_kit.data.synthetic import CENTRE
from pcam_kit.errors import RunError, UsageError
from pcam_kit.evaluation.calibration import apply_temperature
from pcam_kit.files import locked
from pcam_kit.formatting import counted
from pcam_kit.parsing import printable
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.tissue.inputs import find_images
from pcam_kit.tissue.journal import Journal, Row
from pcam_kit.tissue.outputs import Outputs
from pcam_kit.tissue.results import ImageResult, TissueResult
from pcam_kit.tissue.spacing import given_size
from pcam_kit.tissue.survey import (
    Question,
    Source,
    Surveyed,
    array_images,
    describe,
    survey,
)
from pcam_kit.tissue.table import Table, check_ending
from pcam_kit.views import VIEWS
from pcam_kit.workflows.predict import OWN
from pcam_kit.workflows.tiles import predict_tiles

log = logging.getLogger(__name__)

FOLDER = "tissue"  # of results, in the working directory
MAX_HEATMAPS = 100


@dataclass(frozen=True)
class ApplyRequest:
    """How a run is applied.

    stride: pixels from tile to tile at 0.972 µm; None: the centre that labels are about.
    pixel_size: micrometres; None: as files say. out: the table, .csv or .parquet; None: by the
    images' name, for images on disk. keep_background: predict tiles without tissue, too.
    skip_unusable: leave out images that are too small or cannot be read. heatmap: whether PNGs
    are drawn.
    """

    stride: int | None = None
    pixel_size: float | None = None
    out: Path | None = None
    keep_background: bool = False
    skip_unusable: bool = False
    heatmap: bool = True


def apply(
    run: Run, images: Any, request: ApplyRequest, *, display: Display = SILENT
) -> TissueResult:
    """Predict every tile of new images with a finished run.

    images: paths, folders, archives, patterns, or arrays. Raises RunError, UsageError, DataError,
    StorageError; Interrupted with what is done kept beside the table.
    """
    if isinstance(network := run.experiment.model, WithoutNetwork):
        raise RunError(
            f"{run.name} holds {network.holds}: there is no model to apply",
            hint="choose a run that was trained here: pcam runs",
        )
    _ = run.outcome
    question = _question(run, request)
    with ExitStack() as stack:
        sources, out = _sources(images, request, stack)
        with display.work() as progress:
            surveyed, left_out = survey(sources, question, progress)
        command = _command(run, surveyed, question, request)
        outputs = None
        if out is not None:
            lock = out.with_name(f".lock-{out.name}")
            stack.enter_context(locked(lock, f"writing {printable(str(out))}"))
            maps = [one.name for one in surveyed if not one.single] if request.heatmap else []
            outputs = Outputs(out, command | {"table": out.name}, maps[:MAX_HEATMAPS])
            if (table := outputs.finished()) is not None:
                log.info(f"{printable(str(out))} is there, from this very command: nothing to do")
                return _result(run, table, surveyed, left_out, outputs)
        describe(surveyed, question)
        journal = stack.enter_context(Journal(outputs.part if outputs else None, command))
        with display.work() as progress:
            predict_tiles(run, surveyed, journal, progress, keep_background=request.keep_background)
        table = _table(run, surveyed, journal.rows)
        result = _result(run, table, surveyed, left_out, outputs)
        _tell(result, request)
        if outputs is not None:
            with display.work() as progress:
                outputs.write(result, progress)
            journal.delete()
        return result


def _question(run: Run, request: ApplyRequest) -> Question:
    patch = run.competition.image_size
    stride = min(CENTRE, patch) if request.stride is None else request.stride
    if not 1 <= stride <= patch:
        raise UsageError(
            f"stride: expected 1 to {patch}, the patch size of the run, found {stride}",
            hint=f"{min(CENTRE, patch)} gives a full map, {patch} is the quickest",
        )
    size = None if request.pixel_size is None else given_size(request.pixel_size)
    return Question(patch, stride, size, request.skip_unusable)


def _sources(
    images: Any, request: ApplyRequest, stack: ExitStack
) -> tuple[Sequence[Source], Path | None]:
    """The images, and where the table goes; None for arrays, unless it was said."""
    if request.out is not None:
        check_ending(request.out)
    if isinstance(images, str | os.PathLike):
        images = [images]
    if not isinstance(images, np.ndarray):
        images = list(images)
    if isinstance(images, np.ndarray) or not all(
        isinstance(one, str | os.PathLike) for one in images
    ):
        return array_images(images), request.out
    paths = [os.fspath(path) for path in images]
    if not paths:
        raise UsageError("no images are given", hint="pcam apply RUN FOLDER_OR_IMAGE")
    found = find_images(paths)
    stack.callback(found.close)
    out = request.out if request.out is not None else Path(FOLDER) / f"{_stem(paths)}.csv"
    return found.images, out


def _stem(paths: Sequence[str]) -> str:
    """What results are called after: the only path that was named, else "images"."""
    stem = Path(paths[0]).resolve().stem if len(paths) == 1 else ""
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "images"


def _command(
    run: Run, surveyed: Sequence[Surveyed], question: Question, request: ApplyRequest
) -> dict[str, Any]:
    """What every number depends on, by name: the same values give the same files."""
    stamps = json.dumps([[one.name, one.source.stamp] for one in surveyed])
    return {
        "run": run.name,
        "model": run.meta.get("model_sha256") or run.id,
        "tta": run.outcome.tta,
        "stride": question.stride,
        "pixel size": request.pixel_size,
        "background kept": request.keep_background,
        "heat maps": request.heatmap,
        "images": hashlib.sha256(stamps.encode()).hexdigest(),
    }


def _table(run: Run, surveyed: Sequence[Surveyed], rows: Sequence[Row]) -> Table:
    """The rows in the order of images, from top to bottom and left to right."""
    ordered = sorted(rows, key=lambda row: (row.image, row.y, row.x))
    names = [one.name for one in surveyed]
    probabilities = np.array([row.probability for row in ordered], np.float32)
    temperature = run.outcome.temperature
    calibrated = np.full(len(ordered), np.nan)
    if temperature is not None and len(ordered):
        calibrated = apply_temperature(probabilities, temperature)
    return Table(
        np.array([names[row.image] for row in ordered], np.str_),
        np.array([row.x for row in ordered], np.int64),
        np.array([row.y for row in ordered], np.int64),
        probabilities,
        calibrated,
        (probabilities >= run.outcome.threshold).astype(np.int8),
    )


def _result(
    run: Run,
    table: Table,
    surveyed: Sequence[Surveyed],
    left_out: Sequence[str],
    outputs: Outputs | None,
) -> TissueResult:
    numbers = {one.name: i for i, one in enumerate(surveyed)}
    of = np.array([numbers[name] for name in table.images.tolist()], np.int64)
    tiles = np.bincount(of, minlength=len(surveyed)).tolist()
    positive = np.bincount(of[table.classes == 1], minlength=len(surveyed)).tolist()
    images = tuple(
        ImageResult(
            one.name,
            one.width,
            one.height,
            None if one.pixel_size is None else one.pixel_size.value,
            tiles[i],
            one.grid.count - tiles[i],
            positive[i],
            outputs.heatmaps.get(one.name) if outputs is not None and tiles[i] else None,
        )
        for i, one in enumerate(surveyed)
    )
    outcome = run.outcome
    return TissueResult(
        run.name,
        table,
        images,
        outcome.threshold,
        outcome.temperature,
        OWN if run.members else outcome.tta,
        outputs.table if outputs is not None else None,
        tuple(left_out),
        tuple(surveyed),
    )


def _tell(result: TissueResult, request: ApplyRequest) -> None:
    background = sum(one.background for one in result.images)
    total = background + len(result.table.images)
    if background:
        log.info(
            f"{background:,} of {total:,} tiles are background (no stained tissue) and left out; "
            "--keep-background predicts them, too"
        )
    empty = [one.name for one in result.images if not one.tiles]
    for name in empty[:3]:
        log.warning(f"{printable(name)}: no tissue was found in this image")
    if len(empty) > 3:
        log.warning(f"no tissue was found in {len(empty) - 3:,} other images")
    at = "no temperature is known: the column `calibrated` is empty"
    if result.temperature is not None:
        at = f"`calibrated` is the probability at temperature {result.temperature:.3f}"
    views = "the mean of its networks"
    if result.tta != OWN:
        views = f"{counted(len(VIEWS[result.tta]), 'view')} averaged"  # type: ignore[index]
    log.info(f"{result.run}: {views}, class 1 from {result.threshold:.3f} on; {at}")
    tiled = sum(not one.single for one in result.surveyed)
    if result.path is not None and request.heatmap and tiled > MAX_HEATMAPS:
        log.warning(f"heat maps of the first {MAX_HEATMAPS} of {tiled:,} images only")
