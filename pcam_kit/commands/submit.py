"""`pcam submit`: check a CSV, send it once, follow it to its score, record each step."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pcam_kit import kaggle_client
from pcam_kit.commands.console import say, warn
from pcam_kit.commands.download import explained
from pcam_kit.commands.expectation import expectation
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.leak_guard import check_leaks
from pcam_kit.commands.outcomes import follow, repair, sending
from pcam_kit.commands.shift import drift_line
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.data.sources.files import find, open_files
from pcam_kit.data.sources.tables import read_columns
from pcam_kit.errors import (
    DataError,
    Interrupted,
    KaggleError,
    OutcomeUnknownError,
    StorageError,
    SubmissionError,
    UsageError,
)
from pcam_kit.files import sha256_file
from pcam_kit.submissions import CheckedCsv, Entry, Ledger, check_csv

SAMPLES = ("sample_submission.csv", "sampleSubmission.csv", "SampleSubmission.csv")


@dataclass(frozen=True)
class Request:
    """What was asked for.

    `csv` None: the one written last. `timeout` in seconds bounds the wait for a score.
    """

    csv: Path | None = None
    competition: str | None = None
    message: str = ""
    wait: bool = True
    dry_run: bool = False
    again: bool = False
    timeout: float = 900.0
    allow_leak: bool = False


@dataclass(frozen=True)
class Submitted:
    """How it ended. status "dry-run": checked, not sent; "pending": sent, no score yet; "complete";
    "error": it cannot be scored.
    """

    csv: CheckedCsv
    status: str
    ref: int | None = None
    public_score: float | None = None
    private_score: float | None = None
    error: str = ""  # Kaggle's own words, with status "error"


def submit(request: Request, folders: Folders, confirm: Callable[[str], bool]) -> Submitted:
    """Check the CSV and send it.

    Nothing is sent when a check fails or `confirm` (given a question) says no.

    Raises SubmissionError (refused CSV, bytes sent before, scoring failed), KaggleError,
    UsageError.
    """
    path, entry = _choose(request, folders.ledger)
    competition = _competition(request, entry, folders)
    checked = check_csv(path, competition, _test_ids(competition, folders))
    say(
        f"{path}: {checked.rows:,} rows in the format of {competition.title}, "
        f"{100 * checked.positive_rate:.1f}% positive"
    )
    ledger = folders.ledger
    for line in [
        *expectation(competition, entry, ledger.entries()),
        *_drift(competition, entry, folders),
    ]:
        say(line)
    if entry is not None:
        check_leaks(entry, competition, allowed=request.allow_leak)
    if request.dry_run:
        say("dry run: everything is in order, nothing was sent")
        return Submitted(checked, "dry-run")
    with sending(ledger):
        id, ref = _send(request, competition, checked, entry, ledger, confirm)
    if not request.wait:
        say("its score comes with: pcam submissions --refresh")
        return Submitted(checked, "pending", ref)
    say("waiting for its score")
    remote = follow(ledger, id, ref, request.timeout)
    if remote.status == "pending":
        warn(
            f"submission {ref} has no score after {request.timeout:.0f} s; it comes with: pcam "
            "submissions --refresh"
        )
    return Submitted(
        checked, remote.status, ref, remote.public_score, remote.private_score, remote.error
    )


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
        public = "not shown" if submitted.public_score is None else f"{submitted.public_score}"
        private = (
            "" if submitted.private_score is None else f", private score {submitted.private_score}"
        )
        print(f"public score {public}{private}")


def raise_if_refused(submitted: Submitted) -> None:
    """Raises SubmissionError when Kaggle could not score it."""
    if submitted.status == "error":
        raise SubmissionError(
            f"Kaggle could not score submission {submitted.ref}: "
            f"{submitted.error or 'it gives no reason'}",
            hint="compare the CSV with what the competition's page asks for",
        )


def _choose(request: Request, ledger: Ledger) -> tuple[Path, Entry | None]:
    """The CSV and what the ledger knows of it."""
    if request.csv is None:
        newest = ledger.newest(request.competition)
        if newest is None:
            raise UsageError(
                f"no CSV was written yet: {ledger.path} has none", hint="write one: pcam predict"
            )
        say(f"submitting {newest.csv}, the newest CSV")
        path = Path(newest.csv)
        if not path.is_file():
            raise UsageError(
                f"{path} is in the ledger, but the file is gone",
                hint="write it again: pcam predict",
            )
        return path, ledger.by_sha256(sha256_file(path))
    return request.csv, ledger.by_sha256(
        sha256_file(request.csv)
    ) if request.csv.is_file() else None


def _competition(request: Request, entry: Entry | None, folders: Folders) -> Competition:
    """Where the CSV goes.

    Raises SubmissionError when it was made for another competition than the one asked for.
    """
    if request.competition is None:
        if entry is not None and not (folders.home(entry.competition) / "store").is_dir():
            return find_competition(entry.competition)
        return (
            folders.store(entry.competition).profile
            if entry is not None
            else folders.competition(None)
        )
    competition = folders.competition(request.competition)
    if entry is not None and entry.competition != competition.slug:
        raise SubmissionError(
            f"{request.csv or entry.csv} was written from a run on {entry.competition}, not for "
            f"{competition.slug}",
            hint=f"predict with a run on {competition.slug}: pcam runs",
        )
    return competition


def _test_ids(competition: Competition, folders: Folders) -> list[str]:
    """Every test id, in submission order: from the store, or where there is none from the sample
    submission among the raw files.
    """
    home = folders.home(competition.slug)
    if not (home / "store").is_dir() and (home / "raw").is_dir():
        files = open_files(home / "raw", competition.slug, lambda name: name in SAMPLES)
        name = find(files, SAMPLES)
        if name is not None:
            say(
                f"{competition.slug} has no store here: the CSV is checked against "
                f"{home / 'raw' / name}"
            )
            return read_columns(files, name, competition.header)[0]
    try:
        store = folders.store(competition.slug)
    except DataError as error:
        if (home / "store").is_dir():
            raise
        alone = (
            f"to check and submit a CSV this is enough: pcam fetch {competition.slug} --only "
            f"{SAMPLES[0]}"
        )
        raise DataError(error.message, hint=f"{error.hint}; {alone}") from error
    return [str(i) for i in store.ids[store.rows("test")]]


def _drift(competition: Competition, entry: Entry | None, folders: Folders) -> list[str]:
    """One line when the test patches, as the runs saw them, are coloured unlike the training
    patches; none without a store to look at.
    """
    stain = None if entry is None else entry.stain
    if not folders.place(competition.slug, stain).is_dir():
        return []
    try:
        store = folders.store(competition.slug, stain)
    except DataError:  # not the one that was predicted from
        return []
    return drift_line(store)


def _send(
    request: Request,
    competition: Competition,
    checked: CheckedCsv,
    entry: Entry | None,
    ledger: Ledger,
    confirm: Callable[[str], bool],
) -> tuple[str, int]:
    """Upload and submit once; the ledger's id and the ref.

    The intent is on disk before the first byte leaves.

    A command that was stopped goes on with what it had sent: the newest submission of these bytes,
    if it has no score yet and was asked for in the same way (`again` or not).
    """
    kaggle_client.credentials_source()
    arrived = repair(ledger, competition.slug)
    earlier = ledger.already_sent(checked.sha256, competition.slug)
    if earlier is not None:
        own = earlier.id in arrived or (request.wait and (earlier.again or not request.again))
        if (
            own
            and earlier.status == "pending"
            and earlier.id is not None
            and earlier.ref is not None
        ):
            if earlier.id not in arrived:
                once_more = (
                    "; to send them once more all the same: --again --no-wait"
                    if request.again
                    else ""
                )
                say(
                    f"these bytes were sent already, as submission {earlier.ref}, which had no "
                    f"score yet: going on with that{once_more}"
                )
            return earlier.id, earlier.ref
        if not request.again:
            raise _refusal(earlier, competition)
    _check_limit(competition, checked, confirm)
    message = request.message or _message(entry, checked)
    alike = kaggle_client.submissions_alike(competition.slug, checked.path.name, message)
    id = ledger.intent(checked, competition.slug, message=message, again=request.again, alike=alike)
    try:
        ref = kaggle_client.submit_file(
            competition.slug, checked.path, message, alike=alike, sha256=checked.sha256
        )
    except OutcomeUnknownError:
        raise  # the intent stays open: the next submit or refresh asks Kaggle
    except (KaggleError, SubmissionError) as error:
        ledger.failed(id, error.message)
        raise
    try:
        ledger.sent(id, ref)
    except StorageError as error:
        hint = (
            "free some space, then run the same command again: it asks Kaggle, and does not "
            "send it a second time"
        )
        raise StorageError(
            f"{error.message}; the submission itself was sent, as {ref}", hint=hint
        ) from error
    say(f"sent as submission {ref}")
    return id, ref


def _refusal(earlier: Entry, competition: Competition) -> SubmissionError:
    """Why bytes are not sent a second time."""
    when = (earlier.sent or earlier.created)[:16].replace("T", " ")
    what, hint = (
        f"these bytes were submitted to {competition.slug} on {when} UTC (submission {earlier.ref}",
        "pcam submit --again",
    )
    match earlier.status:
        case "complete":
            what += (
                ", public score "
                f"{'not shown' if earlier.public_score is None else earlier.public_score})"
            )
        case "error":
            what += f", which Kaggle could not score: {earlier.error or 'it gives no reason'})"
        case _:
            return SubmissionError(
                f"{what}, no score yet)",
                hint="ask for its score: pcam submissions --refresh; to send them once more: "
                f"{hint}",
            )
    return SubmissionError(what, hint=f"to spend a submission on them once more: {hint}")


def _check_limit(
    competition: Competition, checked: CheckedCsv, confirm: Callable[[str], bool]
) -> None:
    """Tell how many submissions are left today, and ask whether to spend one."""
    with explained(competition):
        limits = kaggle_client.submission_limits(competition.slug)
    if limits.allowed_now <= 0:
        minutes = math.ceil(limits.reset_in / 60)
        raise SubmissionError(
            f"no submission to {competition.slug} is left today ({limits.today} made)",
            hint="the count starts anew at 00:00 UTC: by this machine's clock in "
            f"{minutes // 60} h {minutes % 60:02d} min",
        )
    say(f"submissions to {competition.slug} today: {limits.today} made, {limits.allowed_now} left")
    if not confirm(
        f"Send {checked.path.name} to {competition.title}? ({limits.allowed_now} submissions "
        "left today)"
    ):
        raise Interrupted("nothing was sent", hint="to send it without being asked: --yes")


def _message(entry: Entry | None, checked: CheckedCsv) -> str:
    """Says where it comes from, and is another one for other bytes: a lost submission is found
    again by it.
    """
    if entry is None or not entry.runs:
        return f"pcam-kit {checked.sha256[:8]}"
    return f"pcam-kit {', '.join(entry.runs)} tta={entry.tta}" + (
        f" commit {entry.commit[:8]}" if entry.commit else ""
    )


def ask(question: str) -> bool:
    """Ask on a terminal; without one, yes."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _is_terminal(stream: TextIO | None) -> bool:
    """None, or closed: a shell's `<&-`."""
    return stream is not None and not stream.closed and stream.isatty()
