"""`pcam submit`: a CSV checked, sent once, followed until it is scored, and recorded at each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcam_kit import kaggle_client
from pcam_kit.commands.console import say, warn
from pcam_kit.commands.folders import Folders
from pcam_kit.competitions import Competition
from pcam_kit.errors import AccessError, Interrupted, KaggleError, OutcomeUnknownError, SubmissionError, UsageError
from pcam_kit.files import locked, sha256_file
from pcam_kit.kaggle_client import RemoteSubmission
from pcam_kit.submissions import CheckedCsv, Entry, Ledger, check_csv

FIRST_POLL, LONGEST_POLL = 1.0, 20.0  # seconds between two looks at a submission that is being scored


@dataclass(frozen=True)
class Request:
    """What was asked for. `csv` None: the one written last. `timeout` in seconds bounds the wait for a score."""

    csv: Path | None = None
    competition: str | None = None
    message: str = ""
    wait: bool = True
    dry_run: bool = False
    again: bool = False
    timeout: float = 900.0


@dataclass(frozen=True)
class Submitted:
    """How it ended. status "dry-run": checked, not sent; "pending": sent, no score yet; "complete"; "error": it cannot be scored."""

    csv: CheckedCsv
    status: str
    ref: int | None = None
    public_score: float | None = None
    private_score: float | None = None
    error: str = ""  # Kaggle's own words, with status "error"


def submit(request: Request, folders: Folders, confirm: Callable[[str], bool]) -> Submitted:
    """Check the CSV and send it. Nothing is sent when a check fails or `confirm` (given a question) says no.

    Raises SubmissionError (refused CSV, bytes sent before, scoring failed), KaggleError, UsageError.
    """
    path, entry = _choose(request, folders.ledger)
    competition = _competition(request, entry, folders)
    store = folders.store(competition.slug)
    checked = check_csv(path, competition, [str(i) for i in store.ids[store.rows("test")]])
    say(f"{path}: {checked.rows:,} rows in the format of {competition.title}, {100 * checked.positive_rate:.1f}% positive")
    _tell_expectation(competition, entry)
    if request.dry_run:
        say("dry run: everything is in order, nothing was sent")
        return Submitted(checked, "dry-run")
    with locked(folders.submissions / ".lock", "submitting"):
        ref, number = _send(request, competition, checked, entry, folders.ledger, confirm)
    if not request.wait:
        say(f"sent as submission {ref}; its score comes with: pcam submissions --refresh")
        return Submitted(checked, "pending", ref)
    return _follow(checked, ref, number, folders.ledger, request.timeout)


def describe(submitted: Submitted) -> dict[str, Any]:
    """The JSON object of `pcam submit`."""
    return {
        "ref": submitted.ref,
        "status": submitted.status,
        "public_score": submitted.public_score,
        "private_score": submitted.private_score,
        "csv_sha256": submitted.csv.sha256,
    }


def show(submitted: Submitted) -> None:
    """The score on stdout, if there is one."""
    if submitted.status == "complete":
        private = "" if submitted.private_score is None else f", private score {submitted.private_score}"
        print(f"public score {submitted.public_score}{private}")


def raise_if_refused(submitted: Submitted) -> None:
    """Raises SubmissionError when Kaggle could not score it."""
    if submitted.status == "error":
        raise SubmissionError(
            f"Kaggle could not score submission {submitted.ref}: {submitted.error or 'it gives no reason'}",
            hint="compare the CSV with what the competition's page asks for",
        )


def refresh(ledger: Ledger) -> int:
    """Ask Kaggle about every submission without a final state; the number that got one."""
    settled = 0
    for entry in ledger.entries():
        if entry.id is None or entry.status not in {"pending", "sending", "unknown"}:
            continue
        ref = entry.ref if entry.ref is not None else _arrived(entry, ledger)
        if ref is not None:
            settled += _record(ledger, entry.id, kaggle_client.get_submission(ref)).status != "pending"
    return settled


def _choose(request: Request, ledger: Ledger) -> tuple[Path, Entry | None]:
    """The CSV and what the ledger knows of it."""
    if request.csv is None:
        newest = ledger.newest(request.competition)
        if newest is None:
            raise UsageError(f"no CSV was written yet: {ledger.path} has none", hint="write one: pcam predict")
        say(f"submitting {newest.csv}, the newest CSV")
        path = Path(newest.csv)
        if not path.is_file():
            raise UsageError(f"{path} is in the ledger, but the file is gone", hint="write it again: pcam predict")
        return path, ledger.by_sha256(sha256_file(path))
    return request.csv, ledger.by_sha256(sha256_file(request.csv)) if request.csv.is_file() else None


def _competition(request: Request, entry: Entry | None, folders: Folders) -> Competition:
    """Where the CSV goes. Raises SubmissionError when it was made for another competition than the one asked for."""
    if request.competition is None:
        return folders.store(entry.competition).profile if entry is not None else folders.competition(None)
    competition = folders.competition(request.competition)
    if entry is not None and entry.competition != competition.slug:
        raise SubmissionError(
            f"{request.csv or entry.csv} was written from a run on {entry.competition}, not for {competition.slug}",
            hint=f"predict with a run on {competition.slug}: pcam runs",
        )
    return competition


def _tell_expectation(competition: Competition, entry: Entry | None) -> None:
    if entry is None or entry.valid_score is None:
        say("this CSV was not written by pcam predict: no validation score is known for it")
    elif entry.valid_low is not None and entry.valid_high is not None:
        metric = "accuracy" if competition.metric == "accuracy" else "AUC"
        say(f"validation {metric} of {', '.join(entry.runs)}: {entry.valid_score:.4f} ({entry.valid_low:.4f}-{entry.valid_high:.4f})")


def _send(
    request: Request, competition: Competition, checked: CheckedCsv, entry: Entry | None, ledger: Ledger, confirm: Callable[[str], bool]
) -> tuple[int, str]:
    """Upload and submit once; the ref and the ledger's number. The intent is on disk before the first byte leaves."""
    kaggle_client.credentials_source()
    earlier = ledger.already_sent(checked.sha256, competition.slug)
    if earlier is not None and earlier.ref is None and earlier.id is not None:
        say("an earlier submission of these bytes has no known outcome; asking Kaggle")
        ref = _arrived(earlier, ledger)
        if ref is not None:
            say(f"it had arrived, as submission {ref}")
            return ref, earlier.id
        earlier = ledger.already_sent(checked.sha256, competition.slug)
    if earlier is not None and not request.again:
        score = "" if earlier.public_score is None else f", public score {earlier.public_score}"
        raise SubmissionError(
            f"these bytes were submitted to {competition.slug} on {earlier.sent or earlier.created} (submission {earlier.ref}{score})",
            hint="to spend a submission on them once more: pcam submit --again",
        )
    try:
        limits = kaggle_client.submission_limits(competition.slug)
    except AccessError as error:
        raise AccessError(error.message, hint=competition.missing_hint or error.hint) from error
    if limits.allowed_now <= 0:
        raise SubmissionError(
            f"no submission to {competition.slug} is left today ({limits.today} made)", hint="the count starts anew at 00:00 UTC"
        )
    if not confirm(f"Send {checked.path.name} to {competition.title}? ({limits.allowed_now} submissions left today)"):
        raise Interrupted("nothing was sent")
    message = request.message or _message(entry)
    number = ledger.intent(checked, competition.slug, message=message)
    try:
        ref = kaggle_client.submit_file(competition.slug, checked.path, message)
    except OutcomeUnknownError:
        raise  # the intent stays open: the next submit or refresh asks Kaggle
    except KaggleError as error:
        ledger.failed(number, error.message)
        raise
    ledger.sent(number, ref)
    return ref, number


def _message(entry: Entry | None) -> str:
    if entry is None or not entry.runs:
        return "pcam-kit"
    return f"pcam-kit {', '.join(entry.runs)} tta={entry.tta}" + (f" commit {entry.commit[:8]}" if entry.commit else "")


def _arrived(entry: Entry, ledger: Ledger) -> int | None:
    """The ref of a submission whose outcome is unknown; None, and marked as failed, when Kaggle does not have it."""
    if entry.id is None:
        return None
    taken = {other.ref for other in ledger.entries()}
    for remote in kaggle_client.list_submissions(entry.competition):
        if remote.ref not in taken and remote.file_name == entry.file_name and remote.description.strip() == entry.message.strip():
            ledger.sent(entry.id, remote.ref)
            return remote.ref
    ledger.failed(entry.id, "it never arrived at Kaggle")
    return None


def _follow(checked: CheckedCsv, ref: int, number: str, ledger: Ledger, timeout: float) -> Submitted:
    """Wait for the score."""
    say(f"sent as submission {ref}; waiting for its score")
    deadline = time.monotonic() + timeout
    pause = FIRST_POLL
    while True:
        remote = _record(ledger, number, kaggle_client.get_submission(ref))
        if remote.status != "pending":
            break
        if time.monotonic() + pause > deadline:
            warn(f"submission {ref} has no score after {timeout:.0f} s; it comes with: pcam submissions --refresh")
            return Submitted(checked, "pending", ref)
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_POLL)
    return Submitted(checked, remote.status, ref, remote.public_score, remote.private_score, remote.error)


def _record(ledger: Ledger, number: str, remote: RemoteSubmission) -> RemoteSubmission:
    if remote.status != "pending":
        ledger.scored(number, remote.status, remote.public_score, remote.private_score, remote.error or None)
    return remote


def ask(question: str) -> bool:
    """Ask on a terminal; without one, yes."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
