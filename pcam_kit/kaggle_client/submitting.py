"""Submissions: sent once, looked up when the answer was lost, and their scores."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import requests

from pcam_kit.downloads import retry
from pcam_kit.downloads.failures import SAME_AGAIN
from pcam_kit.downloads.obstacles import never_left
from pcam_kit.errors import KaggleError, OutcomeUnknownError, SubmissionError
from pcam_kit.kaggle_client.refusals import Subject, one_line, status_and_message
from pcam_kit.kaggle_client.request import Request, status_word
from pcam_kit.kaggle_client.session import call, call_once
from pcam_kit.kaggle_client.submission_list import (
    LostSubmission,
    find_submission,
    submission_number,
)
from pcam_kit.kaggle_client.uploads import put

# requests for the list of submissions after a lost answer, as the list may lag; with the pauses
# between them about 5 seconds
LIST_ATTEMPTS = 4

RemoteStatus = Literal["pending", "complete", "error"]


@dataclass(frozen=True)
class RemoteSubmission:
    """A submission as Kaggle reports it.

    Scores are None until there are any. error: the scorer's text.
    """

    ref: int
    status: RemoteStatus
    public_score: float | None
    private_score: float | None
    error: str


@dataclass(frozen=True)
class Upload:
    """A file that Kaggle holds, and that is not submitted yet. size: in bytes."""

    slug: str
    file_name: str
    size: int
    token: str


@dataclass(frozen=True)
class Limits:
    """Submissions made since 00:00 UTC, and how many more are allowed until the next.

    total: made since the competition began. limited_by_total: the competition's limit on these,
    not the daily one, is what allows no more.
    """

    today: int
    allowed_now: int
    total: int = 0
    limited_by_total: bool = False

    @property
    def reset_in(self) -> float:
        """Seconds until 00:00 UTC, by this machine's clock."""
        now = datetime.now(UTC)
        tomorrow = now + timedelta(days=1)
        midnight = tomorrow.replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()


def upload_csv(slug: str, csv: Path, sha256: str) -> Upload:
    """Upload `csv`, whose bytes have that SHA-256. Nothing is submitted by that.

    Raises SubmissionError, KaggleError.
    """
    about = _submitting(slug, csv.name)
    try:
        data, modified = csv.read_bytes(), int(csv.stat().st_mtime)
    except OSError as error:
        raise SubmissionError(f"cannot read the submission {csv}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SubmissionError(
            f"{csv} was changed after it was checked; nothing was submitted", hint=SAME_AGAIN
        )
    fields = {
        "competition_name": slug,
        "file_name": csv.name,
        "content_length": len(data),
        "last_modified_epoch_seconds": modified,
    }
    request = Request("start_submission_upload", "ApiStartSubmissionUploadRequest", fields)
    token = retry.with_retries(lambda: put(request, csv.name, data, about))
    return Upload(slug, csv.name, len(data), token)


def submit_upload(upload: Upload, message: str, *, earlier: frozenset[int]) -> int:
    """Submit what was uploaded; its number, never 0.

    earlier: the result of `matching_submissions` before. It is sent once. If its outcome is not
    known, the list of submissions is searched for it. If it is not there either, raises
    OutcomeUnknownError, and it must not be sent again before another search. After any other error
    it did not arrive.
    """
    slug, name = upload.slug, upload.file_name
    about = _submitting(slug, name)
    fields = {
        "competition_name": slug,
        "blob_file_tokens": upload.token,
        "submission_description": message,
    }
    lost = LostSubmission(slug, name, message, earlier, size=upload.size)
    try:
        reply = call_once(Request("create_submission", "ApiCreateSubmissionRequest", fields), about)
    except retry.TransientError as failure:
        if never_left(failure.__cause__):
            raise failure.error from failure
        reason = f"Kaggle's answer to the submission of {name} was lost ({failure.error})"
        return _find_lost(lost, reason, failure)
    except KaggleError as error:
        if never_left(error.__cause__):
            raise
        if _is_refusal(error):
            return _find_refused(lost, error)
        # it may have been accepted
        reason = f"Kaggle's answer to the submission of {name} cannot be read ({error})"
        return _find_lost(lost, reason, error)
    if isinstance(reply.ref, int) and reply.ref > 0:
        return reply.ref
    # a success without a number proves neither that it was accepted nor that it was not
    said = one_line(str(reply.message))
    return _find_lost(lost, f'Kaggle gave the submission {name} no number; it said: "{said}"', None)


def get_submission(ref: int) -> RemoteSubmission:
    """The state of one submission. Raises AccessError when Kaggle does not know it."""
    about = Subject(f"tell about submission {ref}", f"a submission {ref} of yours")
    request = Request("get_submission", "ApiGetSubmissionRequest", {"ref": ref})
    return _submission(call(request, about))


def submission_limits(slug: str) -> Limits:
    """How many submissions were made today and how many are left."""
    about = _about(slug, f"tell the submission limits of {slug}")
    fields = {"competition_name": slug}
    limits = call(Request("get_submission_limits", "ApiGetSubmissionLimitsRequest", fields), about)
    # a number that Kaggle leaves out is 0
    names = ("num_today", "num_allowed_now", "num_total", "limited_by_total")
    today, allowed, total, by_total = (getattr(limits, name, 0) for name in names)
    return Limits(int(today), int(allowed), int(total), by_total is True)


def _submitting(slug: str, name: str) -> Subject:
    return Subject(
        f"take the submission {name} to {slug}", f"the competition {slug}", slug, submits=True
    )


def _about(slug: str, doing: str) -> Subject:
    return Subject(doing, f"the competition {slug}", slug)


def _is_refusal(error: KaggleError) -> bool:
    """Did Kaggle itself refuse the request, with a message?"""
    cause = error.__cause__
    if not isinstance(cause, requests.HTTPError) or cause.response is None:
        return False
    _, message = status_and_message(cause.response)
    return bool(message)


def _find_lost(lost: LostSubmission, reason: str, failure: Exception | None) -> int:
    """The number from the list of submissions.

    Raises OutcomeUnknownError, whose message begins with `reason`, when that does not show it.
    """
    try:
        ref = find_submission(lost, attempts=LIST_ATTEMPTS)
        problem = "the list of submissions does not show it"
    except KaggleError as error:
        ref, problem = None, f"the list of submissions cannot be read either ({error})"
    if ref is not None:
        return ref
    raise OutcomeUnknownError(
        f"{reason}, and {problem}",
        hint=f"{SAME_AGAIN}: it asks Kaggle first, and does not send it a second time; "
        f"or look at https://www.kaggle.com/competitions/{lost.slug}/submissions",
    ) from failure


def _find_refused(lost: LostSubmission, refusal: KaggleError) -> int:
    """The number, if the submission is in the list although Kaggle refused it.

    Raises the refusal otherwise: it did not arrive.
    """
    try:
        ref = find_submission(lost)
    except KaggleError:
        ref = None
    if ref is None:
        raise refusal
    return ref


def _submission(answer: Any) -> RemoteSubmission:
    return RemoteSubmission(
        ref=submission_number(answer),
        status=_status(answer.status),
        public_score=_score(answer.public_score),
        private_score=_score(answer.private_score),
        error=one_line(str(answer.error_description or "")),
    )


def _status(status: Any) -> RemoteStatus:
    """Kaggle's status in our words. Raises KaggleError for one that is not known."""
    match status_word(status):
        case "pending":
            return "pending"
        case "complete":
            return "complete"
        case "error":
            return "error"
        case word:
            raise KaggleError(
                f"Kaggle reports a submission status that this version does not know: {word!r}",
                hint="pip install --upgrade kaggle",
            )


def _score(text: str | None) -> float | None:
    """The score in Kaggle's text; None where it is empty, because there is none yet."""
    try:
        score = float(text) if text else math.nan
    except ValueError as error:
        raise KaggleError(
            f"Kaggle tells a score that is no number: {text!r}", hint="pip install --upgrade kaggle"
        ) from error
    return score if math.isfinite(score) else None
