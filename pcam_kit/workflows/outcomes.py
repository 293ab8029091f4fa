"""Outcomes of submissions: requested from Kaggle, recorded in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from pcam_kit import kaggle_client
from pcam_kit.errors import CredentialsError, KaggleError, LockedError
from pcam_kit.files import locked
from pcam_kit.kaggle_client import LostSubmission, RemoteSubmission
from pcam_kit.submissions import Entry, Ledger

log = logging.getLogger(__name__)

# seconds between two requests for a submission that is being scored
FIRST_POLL, LONGEST_POLL = 1.0, 20.0
# seconds; until then a submission may still be on its way, or missing in Kaggle's list
LISTING_DELAY = 60.0


def resolve_unknown(ledger: Ledger, competition: str) -> set[str]:
    """Resolve the unknown outcomes of submissions to `competition`, as far as Kaggle shows them.

    Returns the ids of those that arrived. All are asked for before another is sent: two with the
    same name and message could be taken for each other. So those that were looked for in vain
    before come last. The caller holds the `submission_lock`, so none of them is being sent by
    another process. Raises KaggleError when Kaggle cannot be asked; the ledger then stays as it is.
    """
    lost = [
        entry for entry in ledger.entries() if entry.competition == competition and entry.is_lost
    ]
    arrived: set[str] = set()
    for entry in sorted(lost, key=lambda entry: entry.missing):
        if entry.id is not None and resolve(ledger, entry) is not None:
            arrived.add(entry.id)
    return arrived


def resolve(ledger: Ledger, entry: Entry) -> int | None:
    """The number of a submission with an unknown outcome, from Kaggle's list; else None.

    The outcome is recorded in the ledger. What the list does not show stays unknown, however long
    ago it was sent: a list may lag, and only a person can decide to send it again. Raises
    KaggleError.
    """
    assert entry.id is not None
    log.info(
        f"a submission of {entry.file_name} to {entry.competition} has no known outcome; asking "
        "Kaggle"
    )
    if not entry.submitting:  # it was stopped before the request that submits it
        log.info("it never arrived")
        ledger.record_failed(entry.id, "it was stopped before it was submitted")
        return None
    lost = LostSubmission(
        slug=entry.competition,
        file_name=entry.file_name,
        message=entry.message,
        earlier=None if entry.alike is None else frozenset(entry.alike),
        claimed=frozenset(known.ref for known in ledger.entries() if known.ref is not None),
        size=entry.size,
    )
    ref = kaggle_client.find_submission(lost)  # its answer also tells Kaggle's time
    seconds = 0.0 if entry.missing else _remaining_delay(entry)
    if ref is None and seconds > 0:
        log.info(f"it may still be on its way: looking for it for {seconds:.0f} s")
        ref = kaggle_client.find_submission(lost, seconds=seconds)
    if ref is not None:
        log.info(f"it had arrived, as submission {ref}")
        ledger.record_sent(entry.id, ref)
        return ref
    log.info("Kaggle's list of submissions does not show it")
    if not entry.missing:
        ledger.record_missing(entry.id)
    return None


def wait_for_score(ledger: Ledger, id: str, ref: int, timeout: float) -> RemoteSubmission:
    """Wait until a submission is scored, for at most `timeout` seconds; its state then.

    Raises KaggleError.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_POLL
    while True:
        remote = poll(ledger, id, ref)
        if remote.status != "pending" or time.monotonic() + pause > deadline:
            return remote
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_POLL)


def poll(ledger: Ledger, id: str, ref: int) -> RemoteSubmission:
    """Ask Kaggle for the state of a submission; a final one is recorded in the ledger.

    Raises KaggleError.
    """
    remote = kaggle_client.get_submission(ref)
    if remote.status != "pending":
        ledger.record_scored(
            id, remote.status, remote.public_score, remote.private_score, remote.error or None
        )
    return remote


def refresh(ledger: Ledger) -> KaggleError | None:
    """Ask Kaggle about every submission without a final state.

    An error with one of them does not stop the rest; the first such error is returned. Raises
    CredentialsError, which would occur for all, and StorageError.
    """
    errors: list[KaggleError] = []
    if any(entry.is_lost for entry in ledger.entries()):
        try:
            with submission_lock(ledger):
                lost = [entry for entry in ledger.entries() if entry.is_lost]
                _update(ledger, lost, errors)
        except LockedError:
            log.info("another process is submitting; its submission is left to it")
    _update(ledger, [entry for entry in ledger.entries() if entry.is_open], errors)
    return errors[0] if errors else None


def submission_lock(ledger: Ledger) -> AbstractContextManager[None]:
    """The lock under which submissions are sent and unknown outcomes resolved.

    One process at a time holds it. Raises LockedError, StorageError.
    """
    return locked(ledger.path.with_name(".lock"), "submitting")


def _update(ledger: Ledger, entries: Sequence[Entry], errors: list[KaggleError]) -> None:
    """Ask Kaggle about each entry; errors are logged and appended to `errors`."""
    for entry in entries:
        try:
            if entry.is_lost:
                resolve(ledger, entry)
            elif entry.id is not None and entry.ref is not None:
                poll(ledger, entry.id, entry.ref)
        except CredentialsError:
            raise
        except KaggleError as error:
            name = f"of {entry.file_name}" if entry.ref is None else f"{entry.ref}"
            log.warning(f"cannot ask about submission {name}: {error}")
            errors.append(error)


def _remaining_delay(entry: Entry) -> float:
    """For how many more seconds a submission may be missing in Kaggle's list.

    By Kaggle's clock, then and now. All of LISTING_DELAY where one of the two is not known, and
    never more.
    """
    now = kaggle_client.kaggle_now()
    if now is None or entry.kaggle_time is None:
        return LISTING_DELAY
    age = (now - datetime.fromisoformat(entry.kaggle_time)).total_seconds()
    return min(LISTING_DELAY, max(0.0, LISTING_DELAY - age))
