"""Export: a run's network in another format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pcam_kit.api.arguments import (
    RunLike,
    WorkspaceLike,
    display_of,
    load_run,
    path_of,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.export import ExportResult

ExportFormat = Literal["onnx", "savedmodel", "litert", "openvino", "keras"]


def export(
    run: RunLike | None = None,
    format: ExportFormat = "onnx",
    out: str | os.PathLike[str] | None = None,
    *,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> ExportResult:
    """Write a finished run's network in another format, with a model card, and check it.

    The file takes pixels uint8 [n, size, size, 3], RGB, and gives probabilities float32 [n, 1], as
    the run does for one view of a patch: not averaged over views, temperature not applied. run
    None: the newest finished one. out None: `exports/<format>` in the run's folder; it must be new
    or empty. The answers are compared with the run's on up to 2,000 validation patches, on
    synthetic ones where the run's store is gone. Raises RunError for unfinished and imported runs,
    UsageError for a package that is missing or a folder with content, MismatchError when the
    answers differ: then nothing is kept.
    """
    from pcam_kit.workflows import export as workflow

    place = workspace_of(workspace)
    chosen = load_run(run, workspace=place)
    return workflow.export(chosen, format, path_of(out), place, display=display_of(display))
