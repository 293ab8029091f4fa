"""Plots of runs, and the patches that a run gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import (
    RunLike,
    WorkspaceLike,
    display_of,
    load_run,
    runs_of,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.plot import Plot
    from pcam_kit.workflows.wrong_patches import WrongPatches


def plot(
    kind: str,
    runs: RunLike | Sequence[RunLike] | None = None,
    split: str = "valid",
    *,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Plot:
    """Plot a run, or several.

    kind: "curves", "roc", "pr", "calibration", "confusion", "errors", "samples" or "slides". runs
    None: the newest finished one. The result shows itself in a notebook; `figure` is
    matplotlib's, `caption` its text, `save("roc.pdf")` writes both. Raises UsageError, RunError,
    DataError.
    """
    from pcam_kit.workflows import plot as workflow

    place = workspace_of(workspace)
    return workflow.draw(kind, runs_of(runs, place), split, place, display=display_of(display))


def wrong_patches(
    run: RunLike | None = None,
    split: str = "valid",
    *,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> WrongPatches:
    """The patches whose class at the run's threshold is not their label, most confident first.

    run None: the newest finished one. Raises RunError, UsageError.
    """
    from pcam_kit.workflows.wrong_patches import find_wrong_patches

    place = workspace_of(workspace)
    chosen = load_run(run, workspace=place)
    return find_wrong_patches(chosen, split, place, display=display_of(display))
