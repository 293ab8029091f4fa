"""Submissions: send a CSV, list what was sent, ask for scores."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import WorkspaceLike, path_of, workspace_of
from pcam_kit.formatting import Listing

if TYPE_CHECKING:
    from pcam_kit.errors import KaggleError
    from pcam_kit.submissions import Entry
    from pcam_kit.workflows.submit import SubmissionResult


def submit(
    csv: str | os.PathLike[str] | None = None,
    *,
    competition: str | None = None,
    message: str = "",
    wait: bool = True,
    dry_run: bool = False,
    again: bool = False,
    timeout: float = 900.0,
    allow_leak: bool = False,
    confirm: Callable[[str], bool] | None = None,
    workspace: WorkspaceLike | None = None,
) -> SubmissionResult:
    """Check a CSV, send it to Kaggle and wait for its score.

    csv None: the one written last. dry_run: check everything, send nothing. again: send bytes that
    were sent before. timeout: seconds to wait for the score. confirm: given a question, says
    whether to send; None sends. Raises SubmissionError, KaggleError, UsageError, DataError.
    """
    from pcam_kit.workflows import submit as workflow

    request = workflow.SubmitRequest(
        path_of(csv), competition, message, wait, dry_run, again, timeout, allow_leak
    )
    return workflow.submit(request, workspace_of(workspace), confirm or _always)


def list_submissions(*, workspace: WorkspaceLike | None = None) -> list[Entry]:
    """All CSVs and submissions of the ledger, best public score first."""
    from pcam_kit.submissions import best_first

    return Listing(best_first(workspace_of(workspace).ledger.entries()))


def refresh_submissions(*, workspace: WorkspaceLike | None = None) -> KaggleError | None:
    """Ask Kaggle for what the ledger lacks: scores, and unknown outcomes.

    The first error is returned, so that it does not keep the others from it. Raises
    CredentialsError, StorageError.
    """
    from pcam_kit.workflows.outcomes import refresh

    return refresh(workspace_of(workspace).ledger)


def _always(_question: str) -> bool:
    return True
