"""Reports of runs for people to read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import (
    RunLike,
    WorkspaceLike,
    display_of,
    path_of,
    runs_of,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.report import Report


def report(
    runs: RunLike | Sequence[RunLike] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    split: str = "valid",
    saliency: bool = True,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Report:
    """Write all that is known of a run, or a comparison of several, as one HTML file.

    runs None: the newest finished one. out None: `report.html` in the run folder, for several runs
    a file in the runs folder; a file that is no report is never overwritten. split: the patches
    that scores and pictures are of; their labels must be known. saliency: maps of what the network
    looks at, which take a few seconds. The result can be opened like a path. Raises UsageError,
    RunError, DataError, StorageError.
    """
    from pcam_kit.workflows.report import ReportRequest, write_report

    place = workspace_of(workspace)
    request = ReportRequest(split, path_of(out), saliency)
    return write_report(runs_of(runs, place), request, place, display=display_of(display))
