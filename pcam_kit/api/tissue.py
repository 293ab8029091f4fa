"""New tissue: a finished run on images of the caller's own."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcam_kit.api.arguments import (
    RunLike,
    WorkspaceLike,
    display_of,
    load_run,
    path_of,
    workspace_of,
)
from pcam_kit.errors import RunError, UsageError
from pcam_kit.names import shell_word
from pcam_kit.parsing import printable
from pcam_kit.run_folders import Run, find_run, list_runs
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.tissue.results import TissueResult


def apply(
    run: RunLike | None,
    images: Any,
    *,
    stride: int | None = None,
    pixel_size: float | None = None,
    out: str | os.PathLike[str] | None = None,
    keep_background: bool = False,
    skip_unusable: bool = False,
    heatmap: bool = True,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> TissueResult:
    """Predict new images: patches get a probability each, larger images one for each tile.

    run None: the first of `images` where it names a run, else the newest finished one. images: a
    path or several (folders, archives, patterns, png, jpg, tif, slides), or arrays: uint8
    [n, h, w, 3], [h, w, 3] or a list of those. stride: pixels from tile to tile at 0.972 µm; None:
    32, the centre that PCam's labels are about. pixel_size: micrometres a pixel; None: as files
    say, else 0.972. out: the table, .csv or .parquet, with heat maps and a record beside it; None:
    `tissue/NAME.csv`, for arrays nothing is written. keep_background: predict tiles without tissue,
    too. skip_unusable: leave out images that are too small or cannot be read. A stopped work is
    resumed by the same call. Raises UsageError, DataError, RunError, StorageError, Interrupted.
    """
    from pcam_kit.workflows import apply as workflow

    place = workspace_of(workspace)
    chosen, images = run_and_images(run, images, place)
    request = workflow.ApplyRequest(
        stride, pixel_size, path_of(out), keep_background, skip_unusable, heatmap
    )
    return workflow.apply(chosen, images, request, display=display_of(display))


def run_and_images(run: RunLike | None, images: Any, workspace: Workspace) -> tuple[Run, Any]:
    """The run and the images: where no run is given, the first of several paths may name it.

    Else it is the newest finished run. Raises RunError, UsageError; so where a name may mean
    either.
    """
    if run is not None or _is_array(images):
        return load_run(run, workspace=workspace), images
    words: list[Any] = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not words:
        raise UsageError("no images are given", hint="pcam apply [RUN] IMAGES...")
    if not isinstance(words[0], str | os.PathLike):
        return load_run(workspace=workspace), words
    first, rest = os.fspath(words[0]), list(words[1:])
    is_image = Path(first).exists() and not (Path(first) / "meta.json").is_file()
    try:
        named = find_run(workspace.runs, first, complete=None)
    except RunError as error:
        if is_image or glob.has_magic(first):
            return load_run(workspace=workspace), words
        if len(list_runs(workspace.runs)) == 0 or "runs called" in error.message:
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


def _is_array(images: Any) -> bool:
    return hasattr(images, "__array_interface__")
