"""The ledger: an append-only record of every CSV written and every submission sent.

Each event is one JSON line:

    written   a CSV was written                      -> status "written"
    intent    about to upload; on disk before it     -> "sending" in its own process, else "unknown"
    submitting  uploaded, about to submit; on disk before it: from here on it may have arrived
    missing   Kaggle's list did not show it in time  -> stays "unknown"
    sent      Kaggle accepted it and gave a number   -> "pending"
    scored    Kaggle's answer                        -> "pending", "complete" or "error"
    failed    it certainly did not reach Kaggle      -> "failed"

A submission whose outcome is not known (killed, connection lost after the request) must get no
`failed` line: it stays "unknown", and the same bytes are then not sent twice by accident.

In storage each machine appends to a file of its own, `ledger-<8 hex>.jsonl`, so that none can
overwrite another's lines; the ledger is all of them together. What must be on disk before
something is sent must be there, too.

Lines that cannot be read are skipped with a warning, and stay in the file.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pcam_kit import files, mirrors
from pcam_kit.clock import PRECISION, now
from pcam_kit.errors import SubmissionError
from pcam_kit.formatting import few
from pcam_kit.submissions.csv_file import CheckedCsv
from pcam_kit.submissions.entry import Entry, Origin
from pcam_kit.submissions.events import SCHEMA_VERSION, DamagedLine, merge_events, read_lines
from pcam_kit.submissions.history import OPTIONAL, SCORES, History, read_events

log = logging.getLogger(__name__)

DEFAULTS = Origin()
BEFORE_SENDING = ("intent", "submitting")  # events that must be kept before something is sent
_warned: set[tuple[Path, tuple[int, ...]]] = set()  # one warning for the same damage is enough


class Ledger:
    """The ledger at `path` (`submissions_dir/ledger.jsonl`).

    The first event creates the file; without it there are no entries.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sending: set[str] = set()  # ids of submissions that this process is sending now

    def record_written(self, csv: CheckedCsv, competition: str, origin: Origin) -> None:
        """Record that a CSV was written and checked."""
        scores = {name: _finite_or_none(getattr(origin, name)) for name in SCORES}
        optional = {name: getattr(origin, name) for name in OPTIONAL}
        self._append(
            "written",
            csv=self._stored_path(csv.path),
            sha256=csv.sha256,
            competition=competition,
            rows=csv.rows,
            runs=list(origin.runs),
            configs=list(origin.configs),
            commit=origin.commit,
            tta=origin.tta,
            **scores,
            **{name: value for name, value in optional.items() if value != getattr(DEFAULTS, name)},
        )

    def record_intent(
        self,
        csv: CheckedCsv,
        competition: str,
        *,
        message: str,
        again: bool = False,
        alike: Collection[int] | None = None,
    ) -> str:
        """Record that an upload is about to begin; on disk when this returns.

        The result is the submission's id, for the methods below. again: it is sent as a repetition.
        alike: the submissions that Kaggle lists now with the same name and message, so none of them
        is this one. Call `already_sent` first, under one lock (`files.locked`) with this, where two
        processes could submit at once.
        """
        id = secrets.token_hex(8)
        is_packed = csv.content_sha256 not in ("", csv.sha256)
        packed = {"content_sha256": csv.content_sha256} if is_packed else {}
        self._append(
            "intent",
            id=id,
            csv=self._stored_path(csv.path),
            sha256=csv.sha256,
            competition=competition,
            message=message,
            file_name=csv.path.name,
            size=csv.size,
            again=again,
            alike=None if alike is None else sorted(alike),
            submitting=False,
            **packed,
        )
        self._sending.add(id)
        return id

    def record_submitting(self, id: str, kaggle_time: datetime | None) -> None:
        """Record that the request that submits it is about to be sent; on disk when this returns.

        kaggle_time: now by Kaggle's clock, so that another process can tell how long ago it was.
        """
        time = None if kaggle_time is None else kaggle_time.isoformat(timespec=PRECISION)
        self._append("submitting", id=id, kaggle_time=time)

    def record_missing(self, id: str) -> None:
        """Record that Kaggle's list did not show it in time. It may have arrived all the same."""
        self._append("missing", id=id)

    def record_sent(self, id: str, ref: int) -> None:
        """Record that Kaggle accepted it as submission number `ref`."""
        if ref <= 0:
            raise SubmissionError(
                f"Kaggle's answer holds no submission number (found {ref}), so the upload cannot "
                "be taken as accepted"
            )
        self._append_result(id, "sent", ref=ref)

    def record_scored(
        self,
        id: str,
        status: Literal["pending", "complete", "error"],
        public: float | None = None,
        private: float | None = None,
        error: str | None = None,
    ) -> None:
        """Record what Kaggle reports of it. A later "pending" never undoes a score."""
        self._append_result(
            id,
            "scored",
            status=status,
            public_score=_finite_or_none(public),
            private_score=_finite_or_none(private),
            error=error,
        )

    def record_failed(self, id: str, error: str) -> None:
        """Record that it certainly did not reach Kaggle. Not for an unknown outcome."""
        self._append_result(id, "failed", error=error)

    def entries(self) -> list[Entry]:
        """Every submission, and every CSV never sent, oldest first.

        Lines that cannot be read are skipped, with one warning. Raises SubmissionError when a newer
        pcam-kit wrote the ledger.
        """
        return self._history().entries()

    def entries_of(self, runs: Sequence[str]) -> list[Entry]:
        """The entries that come from any of these runs, oldest first. Raises as `entries`."""
        entries = [entry for entry in self.entries() if set(runs) & set(entry.runs)]
        return sorted(entries, key=lambda entry: entry.time)

    def already_sent(self, sha256: str, competition: str) -> Entry | None:
        """The newest submission of these bytes that Kaggle accepted, or may have accepted.

        Also one in which they were packed. One that failed does not count.
        """
        return _last(
            self.entries(),
            lambda entry: (
                sha256 in (entry.sha256, entry.content_sha256)
                and entry.competition == competition
                and entry.status not in ("written", "failed")
            ),
        )

    def find_by_sha256(self, sha256: str) -> Entry | None:
        """The newest entry of a CSV with these bytes, to any competition."""
        return _last(self.entries(), lambda entry: entry.sha256 == sha256)

    def damaged_intent(self, sha256: str) -> DamagedLine | None:
        """A line that cannot be read, names these bytes, and may be of a submission of them."""
        for path in self._paths():
            for line in read_lines(path).damaged:
                if sha256 in line.text and '"written"' not in line.text:
                    return line
        return None

    def newest(self, competition: str | None = None) -> Entry | None:
        """The entry of the CSV written last, sent or not; the newest of its submissions.

        competition: only CSVs for this one.
        """
        history = self._history()
        for key in reversed(history.csvs):
            if competition in (None, key[1]):
                return _last(
                    history.entries(),
                    lambda entry, key=key: (entry.sha256, entry.competition) == key,
                )
        return None

    def _history(self) -> History:
        return read_events(self._read(), self.path.parent, self._sending)

    def _append(self, event: str, **values: Any) -> None:
        path, writer = self.path, mirrors.writer_of(self.path.parent)
        if writer is not None:
            path = path.with_name(f"{path.stem}-{writer}{path.suffix}")
        files.append_json_line(
            path, {"schema_version": SCHEMA_VERSION, "event": event, "time": now(), **values}
        )
        if event in BEFORE_SENDING:
            mirrors.push(path)

    def _paths(self) -> list[Path]:
        """The ledger's file; in storage those of all machines."""
        folder = self.path.parent
        if mirrors.writer_of(folder) is None:
            return [self.path]
        mirrors.refresh(folder)
        return sorted(folder.glob(f"{self.path.stem}*{self.path.suffix}"))

    def _append_result(
        self, id: str, event: Literal["sent", "scored", "failed"], **values: Any
    ) -> None:
        if id not in self._sending and id not in self._history().submissions:
            raise SubmissionError(f"the ledger {self.path} holds no submission {id!r}")
        self._append(event, id=id, **values)
        self._sending.discard(id)

    def _stored_path(self, csv: Path) -> str:
        """Relative to the ledger for a CSV in its folder, absolute elsewhere.

        So the folder can be moved, and contains no paths of a machine.
        """
        path, folder = csv.resolve(), self.path.parent.resolve()
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

    def _read(self) -> list[dict[str, Any]]:
        """The events in the file. Raises StorageError, SubmissionError."""
        several: list[list[dict[str, Any]]] = []
        for path in self._paths():
            lines = read_lines(path)
            if lines.damaged:
                self._warn(path, lines.damaged)
            several.append(lines.events)
        return several[0] if len(several) == 1 else merge_events(several)

    def _warn(self, path: Path, damaged: Sequence[DamagedLine]) -> None:
        numbers = tuple(line.number for line in damaged)
        if (path, numbers) in _warned:
            return
        _warned.add((path, numbers))
        listed = few((f"{n}" for n in numbers), len(numbers))
        noun = "line" if len(numbers) == 1 else "lines"
        log.warning(
            f"{path}: {noun} {listed} cannot be read and left out "
            f"(line {numbers[0]}: {damaged[0].reason})"
        )


def _last(entries: Sequence[Entry], matches: Callable[[Entry], bool]) -> Entry | None:
    return next((entry for entry in reversed(entries) if matches(entry)), None)


def _finite_or_none(score: float | None) -> float | None:
    return float(score) if score is not None and math.isfinite(score) else None
