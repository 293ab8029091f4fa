"""Many trainings side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import WorkspaceLike, display_of, path_of, workspace_of

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.sweep.result import SweepResult


def sweep(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    trials: int | None = None,
    cpus: int = 1,
    workers: int | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> SweepResult:
    """Search values of a config: many trainings, as ordinary runs, in processes of their own.

    path: a YAML file, see docs/scale.md. out None: its name among the workspace's sweeps. jobs:
    side by side on this machine; None: one for each GPU, without one for every two processors. ray:
    the address of a cluster, or "local". trials: instead of the file's. cpus: processors of a trial
    on a cluster. The same call resumes a stopped sweep. Raises ConfigError, LockedError, RunError,
    UsageError, Interrupted.
    """
    from pcam_kit.workflows.sweep import run as workflow
    from pcam_kit.workflows.sweep.pools import Where

    where = Where(jobs, ray, cpus)
    request = workflow.SweepRequest(Path(path), path_of(out), where, trials, workers)
    return workflow.sweep(request, workspace_of(workspace), display=display_of(display))
