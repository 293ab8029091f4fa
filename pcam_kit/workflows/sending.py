"""Sends a checked CSV to Kaggle at most once, and records each step in the ledger."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress

from pcam_kit import kaggle_client
from pcam_kit.competitions import Competition
from pcam_kit.errors import (
    Interrupted,
    KaggleError,
    OutcomeUnknownError,
    StorageError,
    SubmissionError,
)
from pcam_kit.kaggle_client import Limits
from pcam_kit.submissions import CheckedCsv, Entry, Ledger
from pcam_kit.workflows.outcomes import resolve_unknown
from pcam_kit.workflows.raw_source import with_profile_hint

log = logging.getLogger(__name__)


def send(
    checked: CheckedCsv,
    competition: Competition,
    entry: Entry | None,
    ledger: Ledger,
    confirm: Callable[[str], bool],
    *,
    message: str = "",
    again: bool = False,
    wait: bool = True,
) -> tuple[str, int]:
    """Upload and submit a CSV once; the ledger's id and Kaggle's number of the submission.

    entry: what the ledger has about the CSV. The intent is on disk before the first byte is sent.
    The caller holds the `submission_lock`. A command that was stopped resumes with what it had
    sent: the newest submission of these bytes, if it has no score yet and was requested in the same
    way (`again` or not). What may have arrived is sent once more only with `again`. Raises
    SubmissionError, KaggleError, StorageError, Interrupted.
    """
    kaggle_client.credentials_source()  # raises early when there are none
    arrived = resolve_unknown(ledger, competition.slug)
    earlier = ledger.already_sent(checked.sha256, competition.slug)
    if earlier is None:  # the same CSV, sent before it was packed
        earlier = ledger.already_sent(checked.content_sha256, competition.slug)
    if earlier is not None:
        is_ours = earlier.id in arrived or (wait and (earlier.again or not again))
        is_pending = earlier.status == "pending"
        if is_ours and is_pending and earlier.id is not None and earlier.ref is not None:
            if earlier.id not in arrived:
                log.info(_resuming(earlier, again=again))
            return earlier.id, earlier.ref
        if not again:
            raise _sent_before(earlier, competition)
    if not again:
        _check_damage(ledger, checked)
    _check_limit(competition, checked, confirm)
    return _send(checked, competition, ledger, message or _default_message(entry, checked), again)


def _send(
    checked: CheckedCsv, competition: Competition, ledger: Ledger, message: str, again: bool
) -> tuple[str, int]:
    csv, slug = checked.path, competition.slug
    matching = kaggle_client.matching_submissions(slug, csv.name, message)
    id = ledger.record_intent(checked, slug, message=message, again=again, alike=matching)
    try:
        upload = kaggle_client.upload_csv(slug, csv, checked.sha256)
        ledger.record_submitting(id, kaggle_client.kaggle_now())
        ref = kaggle_client.submit_upload(upload, message, earlier=matching)
    except OutcomeUnknownError:
        raise  # the intent stays open: the next submit or refresh asks Kaggle
    except (KaggleError, SubmissionError) as error:
        ledger.record_failed(id, error.message)
        raise
    try:
        ledger.record_sent(id, ref)
    except StorageError as error:
        hint = (
            "free some space, then run the same command again: it asks Kaggle, and does not "
            "send it a second time"
        )
        raise StorageError(
            f"{error.message}; the submission itself was sent, as {ref}", hint=hint
        ) from error
    log.info(f"sent as submission {ref}")
    return id, ref


def _resuming(earlier: Entry, *, again: bool) -> str:
    message = (
        f"these bytes were sent already, as submission {earlier.ref}, which had no score yet: "
        "going on with that"
    )
    if again:
        message += "; to send them once more all the same: --again --no-wait"
    return message


def _sent_before(earlier: Entry, competition: Competition) -> SubmissionError | KaggleError:
    """The error for bytes that must not be sent a second time."""
    if earlier.is_lost:
        return _may_have_arrived(earlier, competition)
    when = (earlier.sent or earlier.created)[:16].replace("T", " ")
    message = (
        f"these bytes were submitted to {competition.slug} on {when} UTC (submission {earlier.ref}"
    )
    hint = "to spend a submission on them once more: pcam submit --again"
    match earlier.status:
        case "complete":
            score = "not shown" if earlier.public_score is None else earlier.public_score
            message += f", public score {score})"
        case "error":
            message += f", which Kaggle could not score: {earlier.error or 'it gives no reason'})"
        case _:
            message += ", no score yet)"
            hint = (
                "ask for its score: pcam submissions --refresh; to send them once more: "
                "pcam submit --again"
            )
    return SubmissionError(message, hint=hint)


def _may_have_arrived(earlier: Entry, competition: Competition) -> OutcomeUnknownError:
    """The error for bytes that were sent, and that Kaggle's list does not show."""
    when = (earlier.sent or earlier.created)[:16].replace("T", " ")
    return OutcomeUnknownError(
        f"these bytes may have been submitted to {competition.slug} on {when} UTC: Kaggle's answer "
        "was lost, and its list of submissions does not show them",
        hint=f"look at {competition.url}/submissions; if they are not there: pcam submit --again "
        "sends them, and may spend a second submission; the same command asks Kaggle once more",
    )


def _check_damage(ledger: Ledger, checked: CheckedCsv) -> None:
    """Raise SubmissionError when a damaged line of the ledger may be of these bytes."""
    line = ledger.damaged_intent(checked.sha256)
    if line is not None:
        raise SubmissionError(
            f"these bytes may have been submitted before: line {line.number} of {line.path} "
            f"names them, and cannot be read ({line.reason})",
            hint="look at the competition's submissions at Kaggle; if they are not there: "
            "pcam submit --again",
        )


def _check_limit(
    competition: Competition, checked: CheckedCsv, confirm: Callable[[str], bool]
) -> None:
    """Report how many submissions are left today, and ask whether to spend one.

    Raises SubmissionError when none is left, Interrupted when `confirm` says no.
    """
    with with_profile_hint(competition):
        limits = kaggle_client.submission_limits(competition.slug)
    if limits.allowed_now <= 0:
        raise _none_left(competition, limits)
    log.info(
        f"submissions to {competition.slug} today: {limits.today} made, {limits.allowed_now} left"
    )
    question = (
        f"Send {checked.path.name} to {competition.title}? ({limits.allowed_now} submissions "
        "left today)"
    )
    if not confirm(question):
        raise Interrupted("nothing was sent", hint="to send it without being asked: --yes")


def _none_left(competition: Competition, limits: Limits) -> SubmissionError:
    """Why Kaggle takes no submission now: the error names the cause."""
    slug, page = competition.slug, f"{competition.url}/submissions"
    if limits.limited_by_total:
        return SubmissionError(
            f"no submission to {slug} is left at all: {limits.total} made in the whole competition",
            hint=f"its limit is on all submissions of a team, and does not start anew; see {page}",
        )
    why = ""
    if limits.today == 0:  # so it is not the daily limit, unless that is 0
        with suppress(KaggleError):  # without an answer the limits are what is known
            why = kaggle_client.competition_state(slug).why_closed(slug)
    if why:
        return SubmissionError(f"no submission to {slug} is possible: {why}", hint=f"see {page}")
    minutes = math.ceil(limits.reset_in / 60)
    return SubmissionError(
        f"no submission to {slug} is left today ({limits.today} made)",
        hint="the count starts anew at 00:00 UTC: by this machine's clock in "
        f"{minutes // 60} h {minutes % 60:02d} min",
    )


def _default_message(entry: Entry | None, checked: CheckedCsv) -> str:
    """A description that says where the CSV comes from, and differs for other bytes.

    A lost submission is found by it.
    """
    if entry is None or not entry.runs:
        return f"pcam-kit {checked.sha256[:8]}"
    message = f"pcam-kit {', '.join(entry.runs)} tta={entry.tta}"
    if entry.commit:
        message += f" commit {entry.commit[:8]}"
    return message
