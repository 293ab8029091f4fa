"""`pcam apply`: a finished run and new tissue in, a probability a tile and heat maps out."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import External
from pcam_kit.errors import Interrupted, RunError, UsageError
from pcam_kit.evaluation.calibration import apply_temperature
from pcam_kit.files import locked
from pcam_kit.formatting import counted
from pcam_kit.names import shell_word
from pcam_kit.parsing import parsing, printable
from pcam_kit.progress import SILENT, Display, Progress
from pcam_kit.run_folders import Run, find_run, list_runs, open_run
from pcam_kit.tissue.inputs import find_images
from pcam_kit.tissue.journal import Journal, Place, Row
from pcam_kit.tissue.outputs import Outputs
from pcam_kit.tissue.pictures import damaged
from pcam_kit.tissue.results import ImageResult, TissueResult, map_values
from pcam_kit.tissue.spacing import given_size
from pcam_kit.tissue.stain import StainMaps
from pcam_kit.tissue.survey import (
    Question,
    Source,
    Surveyed,
    array_images,
    describe,
    survey,
)
from pcam_kit.tissue.table import Table, check_ending
from pcam_kit.tissue.tiles import CENTRE, cut, has_tissue
from pcam_kit.training.backend import quiet_import
from pcam_kit.views import VIEWS
from pcam_kit.workflows.predictions import check_probabilities, check_shapes
from pcam_kit.workspace import Workspace

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
    if isinstance(run.experiment.model, External):
        raise RunError(
            f"{run.name} holds predictions from elsewhere: there is no model to apply",
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
            outputs = Outputs(out, command, maps[:MAX_HEATMAPS])
            if (table := outputs.finished()) is not None:
                log.info(f"{printable(str(out))} is there, from this very command: nothing to do")
                return _result(run, table, surveyed, left_out, outputs)
        describe(surveyed, question)
        journal = stack.enter_context(Journal(outputs.part if outputs else None, command))
        with display.work() as progress:
            _predict_all(run, surveyed, request, journal, progress)
        table = _table(run, surveyed, journal.rows)
        result = _result(run, table, surveyed, left_out, outputs)
        _tell(result, request)
        if outputs is not None:
            _write(result, outputs, display)
            journal.delete()
        return result


def split_run(
    run: Run | str | os.PathLike[str] | None, images: Any, workspace: Workspace
) -> tuple[Run, Any]:
    """The run and the images: where no run is given, the first of several paths may name it.

    Else it is the newest finished run. Raises RunError, UsageError; so where a name may mean
    either.
    """
    if isinstance(run, Run):
        return open_run(run.path), images
    if run is not None:
        return find_run(workspace.runs, os.fspath(run)), images
    if isinstance(images, np.ndarray):
        return _newest(workspace), images
    words = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not words:
        raise UsageError("no images are given", hint="pcam apply [RUN] IMAGES...")
    if not isinstance(words[0], str | os.PathLike):
        return _newest(workspace), words
    first, rest = os.fspath(words[0]), list(words[1:])
    is_image = Path(first).exists() and not (Path(first) / "meta.json").is_file()
    try:
        named = find_run(workspace.runs, first, complete=None)
    except RunError as error:
        if is_image or glob.has_magic(first):
            return _newest(workspace), words
        if not rest or len(list_runs(workspace.runs)) == 0 or "runs called" in error.message:
            raise
        raise UsageError(
            f"{printable(first)} is neither a run in {workspace.runs} nor a file",
            hint="pcam apply RUN IMAGES...; pcam runs shows the runs",
        ) from error
    if is_image:
        raise UsageError(
            f"{printable(first)} may mean the run {named.name} or the file of that name",
            hint=f"for the file: pcam apply {named.name} {shell_word(Path(first))}",
        )
    _ = named.outcome
    if not rest:
        raise UsageError(
            f"{named.name} is a run, and no images are given",
            hint="pcam apply RUN IMAGES...: image files, folders, zips or patterns",
        )
    return named, rest


def _newest(workspace: Workspace) -> Run:
    run = find_run(workspace.runs, None)
    log.info(f"using {run.name}, the newest finished run")
    return run


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


@dataclass(frozen=True)
class _Tile:
    """A tile that is to be predicted, and where the work goes on after it."""

    row: tuple[int, int, int]  # number of its image, x, y
    pixels: NDArray[np.uint8]
    following: Place


def _tiles(
    surveyed: Sequence[Surveyed], request: ApplyRequest, maps: StainMaps, start: Place
) -> Iterator[_Tile]:
    """The tiles of all images in turn, from a place on, without those of background."""
    for i in range(start.image, len(surveyed)):
        one = surveyed[i]
        first = start.tile if i == start.image else 0
        every = one.single or one.grey or request.keep_background
        picture = one.source.open()
        try:
            for number, columns, rows in one.grid.blocks(first):
                with parsing(partial(damaged, one.source.label)):
                    tiles = cut(picture, one.grid, columns, rows)
                places = [one.grid.place(column, row) for row in rows for column in columns]
                for j, (pixels, (x, y)) in enumerate(zip(tiles, places, strict=True)):
                    if number + j >= first and (every or has_tissue(pixels)):
                        pixels = maps.apply(i, pixels)
                        yield _Tile((i, x, y), pixels, Place(i, number + j + 1))
        finally:
            picture.close()


def _predict_all(
    run: Run,
    surveyed: Sequence[Surveyed],
    request: ApplyRequest,
    journal: Journal,
    progress: Progress,
) -> None:
    """Predict what the journal does not have yet, a batch at a time."""
    if journal.next.image >= len(surveyed):
        return
    if journal.rows:
        log.info(f"resumed after {counted(len(journal.rows), 'tile')}")
    with quiet_import():
        from pcam_kit.inference import BATCH, load_trained, predict
    model = load_trained(run)
    patch = run.competition.image_size
    crop = run.experiment.data.crop or patch
    check_shapes(run, model, crop)
    views = VIEWS[run.outcome.tta]
    maps = StainMaps(run.experiment.data.stain, surveyed)
    before = np.cumsum([0, *(one.grid.count for one in surveyed)]).tolist()

    def batches(stream: Iterator[_Tile]) -> list[_Tile]:
        return [tile for _, tile in zip(range(BATCH), stream, strict=False)]

    # the next batch is read while this one is predicted
    with ThreadPoolExecutor(1) as reader:
        stream = _tiles(surveyed, request, maps, journal.next)
        ahead = reader.submit(batches, stream)
        try:
            while batch := ahead.result():
                ahead = reader.submit(batches, stream)
                pixels = np.stack([tile.pixels for tile in batch])
                answers = predict(model, pixels, np.arange(len(batch)), crop=crop, views=views)
                check_probabilities(run, answers)
                means = answers.astype(np.float64).mean(axis=1).astype(np.float32)
                rows = [Row(*tile.row, float(p)) for tile, p in zip(batch, means, strict=True)]
                following = batch[-1].following
                journal.add(rows, following)
                done = before[following.image] + following.tile
                progress("predicting tiles", done, before[-1])
        except KeyboardInterrupt:
            kept = "nothing was to be kept" if journal.path is None else "what is done is kept"
            raise Interrupted(
                f"stopped after {counted(len(journal.rows), 'tile')}; {kept}",
                hint="the same command resumes" if journal.path is not None else "",
            ) from None
    journal.add([], Place(len(surveyed), 0))
    progress("predicting tiles", before[-1], before[-1])


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
        outcome.tta,
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
    log.info(
        f"{result.run}: {counted(len(VIEWS[result.tta]), 'view')} averaged, class 1 from "  # type: ignore[index]
        f"{result.threshold:.3f} on; {at}"
    )
    tiled = sum(not one.single for one in result.surveyed)
    if result.path is not None and request.heatmap and tiled > MAX_HEATMAPS:
        log.warning(f"heat maps of the first {MAX_HEATMAPS} of {tiled:,} images only")


def _write(result: TissueResult, outputs: Outputs, display: Display) -> None:
    """Write heat maps, table and record, in this order."""
    with display.work() as progress:
        drawn = [one for one in zip(result.images, result.surveyed, strict=True) if one[0].heatmap]
        for i, (image, surveyed) in enumerate(drawn):
            _draw(result, image, surveyed)
            progress("drawing heat maps", i + 1, len(drawn))
    outputs.write(result)


def _draw(result: TissueResult, image: ImageResult, surveyed: Surveyed) -> None:
    from pcam_kit.tissue.heatmap import HeatMap, draw_heatmap, thumbnail

    assert image.heatmap is not None
    share = f"{image.positive:,} of {image.tiles:,} tiles at the threshold or above"
    shown = HeatMap(
        printable(image.name),
        f"{result.run}: {share}\nfor research and teaching; not a medical device",
        map_values(result.table, surveyed),
        surveyed.grid,
        result.threshold,
        image.pixel_size,
    )
    picture = surveyed.source.open()
    try:
        with parsing(partial(damaged, surveyed.source.label)):
            small, factor = thumbnail(picture)
    finally:
        picture.close()
    draw_heatmap(image.heatmap, small, factor, shown)
