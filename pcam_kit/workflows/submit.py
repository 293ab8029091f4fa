"""`pcam submit`: check a CSV, send it once, wait for its score, record each step."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcam_kit import mirrors
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.data.shift import drift_sentence
from pcam_kit.data.sources.opening import open_files
from pcam_kit.data.sources.search import find_file
from pcam_kit.data.sources.tables import read_columns
from pcam_kit.errors import DataError, SubmissionError, UsageError
from pcam_kit.formatting import Summary
from pcam_kit.submissions import CheckedCsv, Entry, Ledger, check_csv, read_csv_file
from pcam_kit.submissions.expected_score import expectation
from pcam_kit.workflows.outcomes import submission_lock, wait_for_score
from pcam_kit.workflows.sending import send
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

# of the test patches; training on copies of so few changes an accuracy by less than a hundredth
MAX_SEEN = 0.01
SAMPLE_NAMES = ("sample_submission.csv", "sampleSubmission.csv", "SampleSubmission.csv")


@dataclass(frozen=True)
class SubmitRequest:
    """What to submit, and how.

    csv None: the one written last. competition None: the one that the CSV was written for. message
    "": one that says where the CSV comes from. again: send it although it was sent before. timeout:
    the longest wait for a score, in seconds.
    """

    csv: Path | None = None
    competition: str | None = None
    message: str = ""
    wait: bool = True
    dry_run: bool = False
    again: bool = False
    timeout: float = 900.0
    allow_leak: bool = False


@dataclass(frozen=True, repr=False)
class SubmissionResult(Summary):
    """How a submission ended.

    status: "dry-run" (checked, not sent), "pending" (sent, no score yet), "complete", or "error"
    (Kaggle cannot score it). error: Kaggle's own message, with status "error".
    """

    csv: CheckedCsv
    status: str
    ref: int | None = None
    public_score: float | None = None
    private_score: float | None = None
    error: str = ""

    def summary(self) -> dict[str, str]:
        """The file, its status, and its scores so far."""
        values = {"csv": str(self.csv.path), "status": self.status}
        if self.ref is not None:
            values["submission"] = str(self.ref)
        if self.public_score is not None:
            values["public score"] = f"{self.public_score}"
        if self.private_score is not None:
            values["private score"] = f"{self.private_score}"
        if self.error:
            values["error"] = self.error
        return values

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam submit`."""
        return {
            "ref": self.ref,
            "status": self.status,
            "public_score": self.public_score,
            "private_score": self.private_score,
            "csv_sha256": self.csv.sha256,
        }

    def raise_if_refused(self) -> None:
        """Raise SubmissionError when Kaggle could not score it."""
        if self.status == "error":
            raise SubmissionError(
                f"Kaggle could not score submission {self.ref}: "
                f"{self.error or 'it gives no reason'}",
                hint="compare the CSV with what the competition's page asks for",
            )


def submit(
    request: SubmitRequest, workspace: Workspace, confirm: Callable[[str], bool]
) -> SubmissionResult:
    """Check a CSV, send it, and wait for its score.

    confirm: answers a question with yes or no. Nothing is sent when a check fails or the answer is
    no. Raises SubmissionError for an invalid CSV and for bytes that were sent before, KaggleError,
    UsageError, DataError, StorageError, Interrupted.
    """
    path, entry = _choose_csv(request, workspace.ledger)
    competition = _competition(request, entry, workspace)
    checked = check_csv(path, competition, _test_ids(competition, workspace))
    log.info(
        f"{path}: {checked.rows:,} rows in the format of {competition.title}, "
        f"{100 * checked.positive_rate:.1f}% positive"
    )
    for note in checked.notes:
        log.info(f"note: {note}")
    ledger = workspace.ledger
    for line in expectation(competition, entry, ledger.entries()):
        log.info(line)
    drift = _drift(competition, entry, workspace)
    if drift is not None:
        log.info(drift)
    if entry is not None:
        check_leaks(entry, competition, allowed=request.allow_leak)
    if request.dry_run:
        log.info("dry run: everything is in order, nothing was sent")
        return SubmissionResult(checked, "dry-run")
    with submission_lock(ledger):
        id, ref = send(
            checked,
            competition,
            entry,
            ledger,
            confirm,
            message=request.message,
            again=request.again,
            wait=request.wait,
        )
    if not request.wait:
        log.info("its score comes with: pcam submissions --refresh")
        return SubmissionResult(checked, "pending", ref)
    log.info("waiting for its score")
    remote = wait_for_score(ledger, id, ref, request.timeout)
    if remote.status == "pending":
        log.warning(
            f"submission {ref} has no score after {request.timeout:.0f} s; it comes with: pcam "
            "submissions --refresh"
        )
    return SubmissionResult(
        csv=checked,
        status=remote.status,
        ref=ref,
        public_score=remote.public_score,
        private_score=remote.private_score,
        error=remote.error,
    )


def check_leaks(entry: Entry, competition: Competition, *, allowed: bool) -> None:
    """Log the leaks of a CSV.

    Raises SubmissionError when its runs were trained on too many of the test patches, unless
    `allowed`.
    """
    for label in entry.leaks:
        log.info(f"leak: {label}")
    if entry.test_seen > MAX_SEEN and not allowed:
        raise SubmissionError(
            f"{entry.csv} comes from a training on exact copies, with their labels, of "
            f"{100 * entry.test_seen:.1f}% of the test patches of {competition.slug} "
            f"(allowed: {100 * MAX_SEEN:.0f}%): its score would say little about new tissue",
            hint="train without them: pcam train --set data.drop_copies=true; to send it all the "
            "same: pcam submit --allow-leak",
        )


def _choose_csv(request: SubmitRequest, ledger: Ledger) -> tuple[Path, Entry | None]:
    """The path of the CSV, and its entry in the ledger."""
    if request.csv is None:
        newest = ledger.newest(request.competition)
        if newest is None:
            raise UsageError(
                f"no CSV was written yet: {ledger.path} has none", hint="write one: pcam predict"
            )
        log.info(f"submitting {newest.csv}, the newest CSV")
        path = Path(newest.csv)
        mirrors.bring(path)
        if not path.is_file():
            raise UsageError(
                f"{path} is in the ledger, but the file is gone",
                hint="write it again: pcam predict",
            )
        return path, _entry_of(path, ledger)
    mirrors.bring(request.csv)
    if not request.csv.is_file():
        return request.csv, None
    return request.csv, _entry_of(request.csv, ledger)


def _entry_of(path: Path, ledger: Ledger) -> Entry | None:
    """What the ledger has about a file, or about the CSV packed in it."""
    data, content = read_csv_file(path)
    for found in (data, content):
        entry = ledger.find_by_sha256(hashlib.sha256(found).hexdigest())
        if entry is not None:
            return entry
    return None


def _competition(request: SubmitRequest, entry: Entry | None, workspace: Workspace) -> Competition:
    """The competition that the CSV is sent to.

    Raises SubmissionError when it was written for another one than requested.
    """
    if request.competition is None:
        if entry is None:
            return workspace.competition(None)
        if (workspace.competition_path(entry.competition) / "store").is_dir():
            return workspace.store(entry.competition).profile
        return find_competition(entry.competition)
    competition = workspace.competition(request.competition)
    if entry is not None and entry.competition != competition.slug:
        raise SubmissionError(
            f"{request.csv or entry.csv} was written from a run on {entry.competition}, not for "
            f"{competition.slug}",
            hint=f"predict with a run on {competition.slug}: pcam runs",
        )
    return competition


def _test_ids(competition: Competition, workspace: Workspace) -> list[str]:
    """Every test id, in submission order.

    From the store or, without one, from the sample submission among the raw files.
    """
    home = workspace.competition_path(competition.slug)
    if not (home / "store").is_dir() and (home / "raw").is_dir():
        files = open_files(home / "raw", competition.slug)
        name = find_file(files, SAMPLE_NAMES)
        if name is not None:
            log.info(
                f"{competition.slug} has no store here: the CSV is checked against "
                f"{home / 'raw' / name}"
            )
            return read_columns(files, name, competition.header)[0]
    try:
        store = workspace.store(competition.slug)
    except DataError as error:
        if (home / "store").is_dir():
            raise
        sample_only = (
            f"to check and submit a CSV this is enough: pcam fetch {competition.slug} --only "
            f"{SAMPLE_NAMES[0]}"
        )
        raise DataError(error.message, hint=f"{error.hint}; {sample_only}") from error
    return [str(i) for i in store.ids[store.rows("test")]]


def _drift(competition: Competition, entry: Entry | None, workspace: Workspace) -> str | None:
    """A sentence on how the colours of the test patches differ from those of train.

    The patches are those that the runs saw. None without a difference, or without a store.
    """
    stain = None if entry is None else entry.stain
    if not workspace.store_path(competition.slug, stain).is_dir():
        return None
    try:
        store = workspace.store(competition.slug, stain)
    except DataError:  # not the store that was predicted from
        return None
    return drift_sentence(store)
