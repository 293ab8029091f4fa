"""Training at Kaggle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

from pcam_kit.api.arguments import (
    Overrides,
    WorkspaceLike,
    display_of,
    overrides_of,
    workspace_of,
)
from pcam_kit.errors import UsageError

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.kaggle_run.run import KaggleRunResult


def kaggle_run(
    config: str | os.PathLike[str],
    *,
    overrides: Overrides = (),
    seed: int | None = None,
    competition: str | None = None,
    accelerator: str = "t4x2",
    seeds: int | None = None,
    folds: int | None = None,
    wait: bool = True,
    again: bool = False,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> KaggleRunResult:
    """Train at Kaggle in a private notebook without internet, and bring the run home.

    competition None: the config's, else the one fetched last. accelerator: "t4x2", two T4 GPUs, or
    "none". seeds, folds: train several times, as `train_series` does, one on each GPU. wait False:
    send it, or look at it, and return. again: run it once more, though it has ended. What Kaggle
    has already is not sent again: the same call resumes at any point. Raises UsageError,
    ConfigError for a config that needs files of this machine, KaggleError, StorageError,
    Interrupted.
    """
    from pcam_kit.workflows.kaggle_run import run as workflow

    known = get_args(workflow.Accelerator)
    if accelerator not in known:
        raise UsageError(
            f"no accelerator {accelerator!r}", hint=f"one of: {', '.join(map(str, known))}"
        )
    request = workflow.KaggleRunRequest(
        os.fspath(config),
        overrides_of(overrides, seed),
        competition,
        accelerator,  # type: ignore[arg-type]
        again,
        wait,
        seeds,
        folds,
    )
    return workflow.kaggle_run(request, workspace_of(workspace), display=display_of(display))
