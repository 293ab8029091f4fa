"""What Kaggle takes: a submission sent once, looked up when its answer was lost, and followed until it is scored."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests

from pcam_kit.errors import KaggleError, OutcomeUnknownError, SubmissionError, TransferError
from pcam_kit.kaggle_client import retry
from pcam_kit.kaggle_client.refusals import SAME_AGAIN, Subject, answered, unreachable
from pcam_kit.kaggle_client.session import Request, call, call_once, pages, plain_session

LOOKS = 4  # looks at the list of submissions after the answer to one was lost

Status = Literal["pending", "complete", "error"]


@dataclass(frozen=True)
class RemoteSubmission:
    """A submission as Kaggle tells it. Scores are None until there are any; `error` is the scorer's text; `date` ISO 8601 in UTC or ""."""

    ref: int
    status: Status
    public_score: float | None
    private_score: float | None
    error: str
    file_name: str
    date: str
    description: str


@dataclass(frozen=True)
class Limits:
    """Submissions made since 00:00 UTC, and how many more are allowed until the next."""

    today: int
    allowed_now: int


def submit_file(slug: str, csv: Path, message: str) -> int:
    """Upload `csv` and submit it; the submission's ref, never 0.

    The submission itself is sent once. If Kaggle's answer to it is lost, the list of submissions tells whether it arrived;
    if that does not either, raises OutcomeUnknownError, and nobody should send it again before looking.
    """
    about = _about(slug, f"take the submission {csv.name} to {slug}")
    try:
        data, modified = csv.read_bytes(), int(csv.stat().st_mtime)
    except OSError as error:
        raise SubmissionError(f"cannot read the submission {csv}: {error.strerror}") from error
    known = {submission.ref for submission in _newest(slug)}
    place = {"competition_name": slug, "file_name": csv.name, "content_length": len(data), "last_modified_epoch_seconds": modified}
    token = retry.repeat(lambda: _upload(place, data, about))
    fields = {"competition_name": slug, "blob_file_tokens": token, "submission_description": message}
    try:
        reply = call_once(Request("create_submission", "ApiCreateSubmissionRequest", fields), about)
    except retry.TransientError as lost:
        return _find_lost(slug, csv, message, known, lost)
    if reply.ref == 0:
        raise KaggleError(
            f'Kaggle gave the submission {csv.name} no number; it said: "{reply.message}"',
            hint=f"look at https://www.kaggle.com/competitions/{slug}/submissions before sending it again",
        )
    return int(reply.ref)


def get_submission(ref: int) -> RemoteSubmission:
    """The state of one submission. Raises AccessError when Kaggle does not know it."""
    about = Subject(f"tell about submission {ref}", f"a submission {ref} of yours")
    return _submission(call(Request("get_submission", "ApiGetSubmissionRequest", {"ref": ref}), about))


def list_submissions(slug: str) -> list[RemoteSubmission]:
    """Every submission of the team, newest first."""
    found = {int(answer.ref): _submission(answer) for page in _listing(slug) for answer in page.submissions}
    return sorted(found.values(), key=lambda submission: (submission.date, submission.ref), reverse=True)


def submission_limits(slug: str) -> Limits:
    """How many submissions were made today and how many are left."""
    about = _about(slug, f"tell the submission limits of {slug}")
    limits = call(Request("get_submission_limits", "ApiGetSubmissionLimitsRequest", {"competition_name": slug}), about)
    return Limits(int(limits.num_today), int(limits.num_allowed_now))


def _about(slug: str, doing: str) -> Subject:
    return Subject(doing, f"the competition {slug}", slug)


def _newest(slug: str) -> list[RemoteSubmission]:
    """The first page of the submissions: the newest."""
    return [_submission(answer) for answer in next(_listing(slug)).submissions]


def _listing(slug: str) -> Iterator[Any]:
    request = Request("list_submissions", "ApiListSubmissionsRequest", {"competition_name": slug})
    return pages(request, _about(slug, f"list the submissions to {slug}"))


def _upload(fields: dict[str, Any], data: bytes, about: Subject) -> str:
    """Send the bytes to where Kaggle says, without credentials; the token that stands for them."""
    place = call_once(Request("start_submission_upload", "ApiStartSubmissionUploadRequest", fields), about)
    name = fields["file_name"]
    if not place.create_url or not place.token:
        raise KaggleError(f"Kaggle gave no address to upload {name} to", hint=f"wait a few minutes, then {SAME_AGAIN}")
    try:
        with plain_session() as session, session.put(place.create_url, data=data) as response:
            status, pause = response.status_code, retry.asked_pause(response.headers.get("Retry-After"))
    except requests.RequestException as error:
        raise unreachable(error, place.create_url) from error
    if status not in {200, 201}:
        error = TransferError(f"the upload of {name} was refused ({answered(status)}); nothing was submitted", hint=SAME_AGAIN)
        raise retry.TransientError(error, after=pause)
    return str(place.token)


def _find_lost(slug: str, csv: Path, message: str, known: set[int], lost: retry.TransientError) -> int:
    """The ref of the submission whose answer was lost, from the list of submissions."""
    page = f"https://www.kaggle.com/competitions/{slug}/submissions"
    for look in range(1, LOOKS + 1):
        time.sleep(retry.delay(look))
        with contextlib.suppress(KaggleError):
            new = [submission for submission in _newest(slug) if submission.ref not in known and submission.file_name == csv.name]
            ours = [submission.ref for submission in new if submission.description.strip() == message.strip()]
            if len(ours) == 1:
                return ours[0]
    raise OutcomeUnknownError(
        f"Kaggle's answer to the submission of {csv.name} was lost ({lost.error}), and the list of submissions does not show it",
        hint=f"look at {page} before sending it again: it may still appear there",
    ) from lost


def _submission(answer: Any) -> RemoteSubmission:
    return RemoteSubmission(
        ref=int(answer.ref),
        status=_status(answer.status),
        public_score=_score(answer.public_score),
        private_score=_score(answer.private_score),
        error=str(answer.error_description or "").strip(),
        file_name=str(answer.file_name or ""),
        date="" if answer.date is None else f"{answer.date.isoformat(timespec='seconds')}Z",
        description=str(answer.description or ""),
    )


def _status(status: Any) -> Status:
    """An enum value or a word, in any case."""
    match str(getattr(status, "name", status)).lower().rpartition(".")[2]:
        case "pending":
            return "pending"
        case "complete":
            return "complete"
        case "error":
            return "error"
        case word:
            raise KaggleError(
                f"Kaggle tells a submission status that this version does not know: {word!r}", hint="pip install --upgrade kaggle"
            )


def _score(text: str | None) -> float | None:
    """Scores come as strings, empty while there are none."""
    try:
        score = float(text) if text else math.nan
    except ValueError as error:
        raise KaggleError(f"Kaggle tells a score that is no number: {text!r}") from error
    return score if math.isfinite(score) else None
