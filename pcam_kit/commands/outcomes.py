"""What became of submissions: asked of Kaggle, written to the ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from pcam_kit import kaggle_client
from pcam_kit.commands.console import say, warn
from pcam_kit.errors import CredentialsError, KaggleError, StorageError
from pcam_kit.files import locked
from pcam_kit.kaggle_client import LostSubmission, RemoteSubmission
from pcam_kit.submissions import Entry, Ledger

# seconds between two looks at a submission that is being scored
FIRST_POLL, LONGEST_POLL = 1.0, 20.0
# seconds; before, a submission may still be on its way, or Kaggle's list may not show it yet
SETTLED = 30.0


def repair(ledger: Ledger, competition: str) -> set[str]:
    """Find out about every submission to `competition` whose outcome is unknown; the ids of those
    that had arrived.

    All of them, before another is sent: two unknown ones of the same name and message could be
    taken for each other. The caller holds the lock of `sending`, so none of them is one that
    another process is sending now. Raises KaggleError when Kaggle cannot be asked; the ledger then
    stays as it is.
    """
    return {
        entry.id
        for entry in ledger.entries()
        if entry.id is not None
        and entry.competition == competition
        and entry.is_lost
        and find_out(ledger, entry) is not None
    }


def find_out(ledger: Ledger, entry: Entry) -> int | None:
    """The ref of a submission whose outcome is unknown; None, and in the ledger as failed, when
    Kaggle does not have it.
    """
    assert entry.id is not None
    say(
        f"a submission of {entry.file_name} to {entry.competition} has no known outcome; asking "
        "Kaggle"
    )
    claimed = frozenset(other.ref for other in ledger.entries() if other.ref is not None)
    alike = None if entry.alike is None else frozenset(entry.alike)
    lost = LostSubmission(
        entry.competition, entry.file_name, entry.message, alike, claimed, entry.size
    )
    seconds = _unsettled(entry)
    if seconds > 0:
        say(f"it may still be on its way: looking for it for {seconds:.0f} s")
    ref = kaggle_client.find_submission(lost, seconds=seconds)
    if ref is None:
        say("it never arrived")
        ledger.failed(entry.id, "it never arrived at Kaggle")
    else:
        say(f"it had arrived, as submission {ref}")
        ledger.sent(entry.id, ref)
    return ref


def follow(ledger: Ledger, id: str, ref: int, timeout: float) -> RemoteSubmission:
    """Wait until it is scored, for at most `timeout` seconds: what Kaggle says of it then."""
    deadline = time.monotonic() + timeout
    pause = FIRST_POLL
    while True:
        remote = look(ledger, id, ref)
        if remote.status != "pending" or time.monotonic() + pause > deadline:
            return remote
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_POLL)


def look(ledger: Ledger, id: str, ref: int) -> RemoteSubmission:
    """What Kaggle says of a submission; a final state is written to the ledger."""
    remote = kaggle_client.get_submission(ref)
    if remote.status != "pending":
        ledger.scored(
            id, remote.status, remote.public_score, remote.private_score, remote.error or None
        )
    return remote


def refresh(ledger: Ledger) -> KaggleError | None:
    """Ask Kaggle about every submission without a final state.

    One that cannot be asked about does not keep the others from it:
    the first such error is returned. Raises CredentialsError, as that would go wrong for all.
    """
    errors: list[KaggleError] = []
    lost = [entry for entry in ledger.entries() if entry.is_lost]
    if lost:
        try:
            with sending(ledger):
                _each(ledger, [entry for entry in ledger.entries() if entry.is_lost], errors)
        except StorageError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            say("another process is submitting; its submission is left to it")
    _each(ledger, [entry for entry in ledger.entries() if entry.is_open], errors)
    return errors[0] if errors else None


def sending(ledger: Ledger) -> AbstractContextManager[None]:
    """The lock under which submissions are sent, and unknown outcomes looked into: one process at a
    time.
    """
    return locked(ledger.path.with_name(".lock"), "submitting")


def _each(ledger: Ledger, entries: Sequence[Entry], errors: list[KaggleError]) -> None:
    for entry in entries:
        try:
            if entry.is_lost:
                find_out(ledger, entry)
            elif entry.id is not None and entry.ref is not None:
                look(ledger, entry.id, entry.ref)
        except CredentialsError:
            raise
        except KaggleError as error:
            warn(
                "cannot ask about submission "
                f"{entry.ref if entry.ref is not None else f'of {entry.file_name}'}: {error}"
            )
            errors.append(error)


def _unsettled(entry: Entry) -> float:
    """For how many more seconds it may turn up in Kaggle's list.

    By this machine's clock, so never more than SETTLED, and all of it for a
    time in the future or one that cannot be read.
    """
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(entry.sent or "")).total_seconds()
    except (ValueError, TypeError):
        age = 0.0
    return min(SETTLED, max(0.0, SETTLED - age))
