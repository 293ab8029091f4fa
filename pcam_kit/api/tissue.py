"""New tissue: a finished run on images of the caller's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pcam_kit.api.arguments import RunLike, WorkspaceLike, display_of, path_of, workspace_of

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
    chosen, images = workflow.split_run(run, images, place)
    request = workflow.ApplyRequest(
        stride, pixel_size, path_of(out), keep_background, skip_unusable, heatmap
    )
    return workflow.apply(chosen, images, request, display=display_of(display))
