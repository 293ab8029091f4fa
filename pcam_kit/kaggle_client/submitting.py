"""What Kaggle takes: a submission sent once, looked up when its answer was lost, and followed until
it is scored.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import requests

from pcam_kit.errors import KaggleError, OutcomeUnknownError, SubmissionError, TransferError
from pcam_kit.kaggle_client import retry
from pcam_kit.kaggle_client.http import plain_session
from pcam_kit.kaggle_client.refusals import (
    SAME_AGAIN,
    Subject,
    answered,
    printable,
    status_and_message,
    unreachable,
)
from pcam_kit.kaggle_client.session import Request, call, call_once, items

# characters that a description is not cut below; a shorter beginning is another's message
SHORTEST_CUT = 16
LONGEST_LOOK = 5.0  # seconds between two looks at the list
# looks at the list of submissions for one whose answer was lost: the list may lag; with the pauses
# between about 5 seconds
LOOKS = 4

Status = Literal["pending", "complete", "error"]


@dataclass(frozen=True)
class RemoteSubmission:
    """A submission as Kaggle tells it.

    Scores are None until there are any; `error` is the scorer's text.
    """

    ref: int
    status: Status
    public_score: float | None
    private_score: float | None
    error: str


@dataclass(frozen=True)
class Limits:
    """Submissions made since 00:00 UTC, and how many more are allowed until the next."""

    today: int
    allowed_now: int

    @property
    def reset_in(self) -> float:
        """Seconds until 00:00 UTC, by this machine's clock."""
        now = datetime.now(UTC)
        return (
            (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0) - now
        ).total_seconds()


@dataclass(frozen=True)
class LostSubmission:
    """What is known of a submission whose number is not: how the list of submissions can be
    searched for it.

    `size` in bytes, 0 when not known. `alike`: the numbers of those that Kaggle listed before it
    was sent and that could be taken for it, so that neither clocks nor the order of numbers matter;
    None: not known. `claimed`: numbers that other submissions are known by.
    """

    slug: str
    file_name: str
    message: str
    alike: frozenset[int] | None
    claimed: frozenset[int] = frozenset()
    size: int = 0

    def likeness(self, answer: Any) -> int:
        """May a submission in the list be this one? 0: no; 1: as far as Kaggle tells; 2: it has the
        same message.

        What Kaggle leaves out, trims, cuts off or writes in another case contradicts nothing:
        better to take another's for ours, which then shows a wrong score, than to send ours twice.
        """
        if _ref(answer) in self.claimed | (self.alike or frozenset()):
            return 0
        name = PurePosixPath(str(answer.file_name or self.file_name)).name
        size: object = getattr(answer, "total_bytes", 0)
        told, ours = printable(str(answer.description or "")), printable(self.message)
        if name.casefold() != self.file_name.casefold() or (
            isinstance(size, int) and 0 < size != self.size > 0
        ):
            return 0
        begun = told.removesuffix("...").rstrip()
        return (
            2
            if told == ours
            else 1
            if not told or (len(begun) >= SHORTEST_CUT and ours.startswith(begun))
            else 0
        )


def submissions_alike(slug: str, file_name: str, message: str) -> frozenset[int]:
    """The numbers of the submissions so far that have this name and message: what is sent next is
    none of them.
    """
    wanted = LostSubmission(slug, file_name, message, None)
    return frozenset(_ref(answer) for answer in _listing(slug) if wanted.likeness(answer) > 0)


def submit_file(slug: str, csv: Path, message: str, *, alike: frozenset[int], sha256: str) -> int:
    """Upload `csv`, whose bytes have that SHA-256, and submit it; its ref, never 0.

    `alike`: what `submissions_alike` told before.

    The submission itself is sent once. If it is not known what became of it, the list of
    submissions tells whether it arrived; if that does not either, raises OutcomeUnknownError, and
    nobody should send it again before looking. After any other error it did not arrive.
    """
    about = _about(slug, f"take the submission {csv.name} to {slug}")
    try:
        data, modified = csv.read_bytes(), int(csv.stat().st_mtime)
    except OSError as error:
        raise SubmissionError(f"cannot read the submission {csv}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SubmissionError(
            f"{csv} was changed after it was checked; nothing was submitted", hint=SAME_AGAIN
        )
    place = {
        "competition_name": slug,
        "file_name": csv.name,
        "content_length": len(data),
        "last_modified_epoch_seconds": modified,
    }
    token = retry.repeat(lambda: _upload(place, data, about))
    fields = {
        "competition_name": slug,
        "blob_file_tokens": token,
        "submission_description": message,
    }
    lost = LostSubmission(slug, csv.name, message, alike, size=len(data))
    try:
        reply = call_once(Request("create_submission", "ApiCreateSubmissionRequest", fields), about)
    except retry.TransientError as failure:
        return _find_lost(
            lost,
            f"Kaggle's answer to the submission of {csv.name} was lost ({failure.error})",
            failure,
        )
    except KaggleError as error:
        cause = error.__cause__
        # Kaggle said no
        if (
            isinstance(cause, requests.HTTPError)
            and cause.response is not None
            and status_and_message(cause.response)[1]
        ):
            return _find_refused(lost, error)
        # it may have said yes
        return _find_lost(
            lost, f"Kaggle's answer to the submission of {csv.name} cannot be read ({error})", error
        )
    if isinstance(reply.ref, int) and reply.ref > 0:
        return reply.ref
    # A success without a number proves neither that it was taken nor that it was not.
    return _find_lost(
        lost, f'Kaggle gave the submission {csv.name} no number; it said: "{reply.message}"', None
    )


def find_submission(lost: LostSubmission, *, looks: int = 1, seconds: float = 0.0) -> int | None:
    """The ref of a submission from the list; None when that does not show it, in so many looks and
    for so many seconds.

    Of several that fit, those with the same message go first, and of these the oldest; but without
    `alike` the newest, as any old one could fit then.
    """
    until = time.monotonic() + seconds
    for look in itertools.count(1):
        found = [(lost.likeness(answer), _ref(answer)) for answer in _listing(lost.slug)]
        best = max((likeness for likeness, _ in found), default=0)
        if best > 0:
            refs = [ref for likeness, ref in found if likeness == best]
            return max(refs) if lost.alike is None else min(refs)
        left = until - time.monotonic()
        if look >= looks and left <= 0:
            return None
        time.sleep(
            min(retry.delay(look + 1), LONGEST_LOOK)
            if look < looks
            else max(0.01, min(left, LONGEST_LOOK))
        )
    raise AssertionError("counted to the end")


def get_submission(ref: int) -> RemoteSubmission:
    """The state of one submission. Raises AccessError when Kaggle does not know it."""
    about = Subject(f"tell about submission {ref}", f"a submission {ref} of yours")
    return _submission(
        call(Request("get_submission", "ApiGetSubmissionRequest", {"ref": ref}), about)
    )


def submission_limits(slug: str) -> Limits:
    """How many submissions were made today and how many are left."""
    about = _about(slug, f"tell the submission limits of {slug}")
    limits = call(
        Request(
            "get_submission_limits", "ApiGetSubmissionLimitsRequest", {"competition_name": slug}
        ),
        about,
    )
    return Limits(int(limits.num_today), int(limits.num_allowed_now))


def _about(slug: str, doing: str) -> Subject:
    return Subject(doing, f"the competition {slug}", slug)


def _listing(slug: str) -> Iterator[Any]:
    request = Request("list_submissions", "ApiListSubmissionsRequest", {"competition_name": slug})
    return items(request, "submissions", _about(slug, f"list the submissions to {slug}"))


def _upload(fields: dict[str, Any], data: bytes, about: Subject) -> str:
    """Send the bytes to where Kaggle says, without credentials; the token that stands for them."""
    place = call_once(
        Request("start_submission_upload", "ApiStartSubmissionUploadRequest", fields), about
    )
    name = fields["file_name"]
    if not place.create_url or not place.token:
        raise KaggleError(
            f"Kaggle gave no address to upload {name} to",
            hint=f"wait a few minutes, then {SAME_AGAIN}",
        )
    try:
        with plain_session() as session, session.put(place.create_url, data=data) as response:
            status, pause = response.status_code, retry.asked_pause(response.headers)
    except requests.RequestException as error:  # whose text holds the signed URL: not chained
        raise unreachable(error, place.create_url) from None
    if status not in {200, 201}:
        error = TransferError(
            f"the upload of {name} was refused ({answered(status)}); nothing was submitted",
            hint=SAME_AGAIN,
        )
        raise retry.TransientError(error, after=pause)
    return str(place.token)


def _find_lost(lost: LostSubmission, why: str, failure: Exception | None) -> int:
    """The ref from the list of submissions.

    Raises OutcomeUnknownError beginning with `why` when that does not help either.
    """
    try:
        ref = find_submission(lost, looks=LOOKS)
        seen = "the list of submissions does not show it"
    except KaggleError as error:
        ref, seen = None, f"the list of submissions cannot be read either ({error})"
    if ref is not None:
        return ref
    raise OutcomeUnknownError(
        f"{why}, and {seen}",
        hint=f"{SAME_AGAIN}: it asks Kaggle first, and sends only what did not arrive; "
        f"or look at https://www.kaggle.com/competitions/{lost.slug}/submissions",
    ) from failure


def _find_refused(lost: LostSubmission, refusal: KaggleError) -> int:
    """The ref, if it is there although Kaggle refused it.

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
        ref=_ref(answer),
        status=_status(answer.status),
        public_score=_score(answer.public_score),
        private_score=_score(answer.private_score),
        error=printable(str(answer.error_description or "")),
    )


def _ref(answer: Any) -> int:
    if not isinstance(answer.ref, int):
        raise KaggleError(
            f"Kaggle tells a submission number that is none: {answer.ref!r}",
            hint="pip install --upgrade kaggle",
        )
    return answer.ref


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
                f"Kaggle tells a submission status that this version does not know: {word!r}",
                hint="pip install --upgrade kaggle",
            )


def _score(text: str | None) -> float | None:
    """Scores come as strings, empty while there are none."""
    try:
        score = float(text) if text else math.nan
    except ValueError as error:
        raise KaggleError(
            f"Kaggle tells a score that is no number: {text!r}", hint="pip install --upgrade kaggle"
        ) from error
    return score if math.isfinite(score) else None
