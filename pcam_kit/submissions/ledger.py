"""The ledger: an append-only record, one JSON line an event, of every CSV written and every
submission sent.

    written   a CSV was written                      -> status "written"
    intent    about to upload; on disk before it     -> "sending" in its own process, else "unknown"
    sent      Kaggle took it and gave a reference    -> "pending"
    scored    Kaggle's answer                        -> "pending", "complete" or "error"
    failed    it certainly did not reach Kaggle      -> "failed"

An upload whose outcome is not known (killed, connection lost after the request) must get no
`failed` line: it stays "unknown", and the same bytes are then not sent twice by accident.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, assert_never

from pcam_kit import files
from pcam_kit.errors import StorageError, SubmissionError
from pcam_kit.submissions.csv_file import CheckedCsv
from pcam_kit.submissions.entry import Entry, Origin

SCHEMA_VERSION = 1


class Ledger:
    """The ledger at `path` (`submissions_dir/ledger.jsonl`).

    The file is made by the first event; without it there are no entries.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: set[str] = set()  # submissions this process is sending now

    def written(self, csv: CheckedCsv, competition: str, origin: Origin) -> None:
        """A CSV was written and checked."""
        scores = {name: getattr(origin, name) for name in _SCORES}
        self._append(
            "written",
            csv=self._stored(csv.path),
            sha256=csv.sha256,
            competition=competition,
            rows=csv.rows,
            runs=list(origin.runs),
            configs=list(origin.configs),
            commit=origin.commit,
            tta=origin.tta,
            **{name: _finite(score) for name, score in scores.items()},
            **{
                name: value
                for name in _UNUSUAL
                if (value := getattr(origin, name)) != getattr(_USUAL, name)
            },
        )

    def intent(
        self,
        csv: CheckedCsv,
        competition: str,
        *,
        message: str,
        again: bool = False,
        alike: Collection[int] | None = None,
    ) -> str:
        """About to upload; on disk when this returns.

        The result is the submission's id, for `sent`, `scored` and `failed`.

        `again`: asked for as a repetition. `alike`: what Kaggle lists now under the same name and
        message, and so is not this one. Look with `already_sent` first, holding one lock
        (`files.locked`) over both where two processes could submit at once.
        """
        name = secrets.token_hex(8)
        self._append(
            "intent",
            id=name,
            csv=self._stored(csv.path),
            sha256=csv.sha256,
            competition=competition,
            message=message,
            file_name=csv.path.name,
            size=csv.size,
            again=again,
            alike=None if alike is None else sorted(alike),
        )
        self._open.add(name)
        return name

    def sent(self, id: str, ref: int) -> None:
        """Kaggle took it as submission number `ref`."""
        if ref <= 0:
            raise SubmissionError(
                f"Kaggle's answer holds no submission number (found {ref}), so the upload cannot "
                "be taken as accepted"
            )
        self._result(id, "sent", ref=ref)

    def scored(
        self,
        id: str,
        status: Literal["pending", "complete", "error"],
        public: float | None = None,
        private: float | None = None,
        error: str | None = None,
    ) -> None:
        """What Kaggle says of it. A later "pending" never undoes a score."""
        self._result(
            id,
            "scored",
            status=status,
            public_score=_finite(public),
            private_score=_finite(private),
            error=error,
        )

    def failed(self, id: str, error: str) -> None:
        """It certainly did not reach Kaggle. Not for an outcome that is unknown."""
        self._result(id, "failed", error=error)

    def entries(self) -> list[Entry]:
        """Every submission, and every CSV never sent, oldest first.

        Lines that a killed writer left half done are passed over.

        Raises SubmissionError when a newer pcam-kit wrote the ledger.
        """
        written, submissions, order = self._fold()
        sent = {(entry.sha256, entry.competition) for entry in submissions.values()}
        found: list[Entry] = []
        for key in order:
            if isinstance(key, str):
                found.append(submissions[key])
            elif key not in sent:
                found.append(written[key])
        return found

    def already_sent(self, sha256: str, competition: str) -> Entry | None:
        """The newest submission of these bytes to this competition that Kaggle took, or may have
        taken. One that failed does not count.
        """
        return _last(
            self.entries(),
            lambda e: (
                e.sha256 == sha256
                and e.competition == competition
                and e.status not in ("written", "failed")
            ),
        )

    def by_sha256(self, sha256: str) -> Entry | None:
        """The newest entry of a CSV with these bytes, to any competition."""
        return _last(self.entries(), lambda e: e.sha256 == sha256)

    def newest(self, competition: str | None = None) -> Entry | None:
        """The entry of the CSV written last (to `competition`), sent or not; of its submissions the
        newest.
        """
        written, _, _ = self._fold()
        for sha256, slug in reversed(written):
            if competition in (None, slug):
                return _last(
                    self.entries(), lambda e, key=(sha256, slug): (e.sha256, e.competition) == key
                )
        return None

    def _append(self, event: str, **values: Any) -> None:
        files.append_json_line(
            self.path, {"schema_version": SCHEMA_VERSION, "event": event, "time": _now(), **values}
        )

    def _stored(self, csv: Path) -> str:
        """Relative to the ledger where the CSV lies beside it, so that the folder can be moved and
        no machine's paths get into it.
        """
        whole, folder = csv.resolve(), self.path.parent.resolve()
        return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)

    def _result(self, id: str, event: Literal["sent", "scored", "failed"], **values: Any) -> None:
        if id not in self._open and id not in self._fold()[1]:
            raise SubmissionError(f"the ledger {self.path} holds no submission {id!r}")
        self._append(event, id=id, **values)
        self._open.discard(id)

    def _fold(
        self,
    ) -> tuple[dict[tuple[str, str], Entry], dict[str, Entry], list[str | tuple[str, str]]]:
        """CSVs by (sha256, competition), the one written last at the end; submissions by id; the
        keys of both, oldest first.

        The same bytes written again replace the earlier CSV, and are the origin of all submissions
        of them: equal bytes, equal predictions.
        """
        written: dict[tuple[str, str], Entry] = {}
        submissions: dict[str, Entry] = {}
        order: dict[str | tuple[str, str], None] = {}
        for line in self._lines():
            try:
                match line["event"]:
                    case "written":
                        key = (line["sha256"], line["competition"])
                        made = replace(
                            self._entry(line, _WRITTEN),
                            **{name: line[name] for name in _UNUSUAL if name in line},
                        )
                        for table in (written, order):
                            table.pop(key, None)
                        written[key], order[key] = made, None
                    case "intent":
                        status = "sending" if line["id"] in self._open else "unknown"
                        told = {name: line[name] for name in _NEWER if name in line}
                        submissions[line["id"]] = replace(
                            self._entry(line, _INTENT), sent=line["time"], status=status, **told
                        )
                        order[line["id"]] = None
                    case "sent" | "scored" | "failed":
                        submissions[line["id"]] = _with_result(submissions[line["id"]], line)
                    case _:
                        continue
            except (KeyError, TypeError):
                continue  # half a line closed off, or a result whose intent was lost with the disk
        for name, entry in submissions.items():
            made = written.get((entry.sha256, entry.competition))
            if made is not None:
                submissions[name] = replace(
                    entry,
                    csv=made.csv,
                    created=made.created,
                    **{key: getattr(made, key) for key in _ORIGIN},
                )
        return written, submissions, list(order)

    def _entry(self, line: dict[str, Any], names: tuple[str, ...]) -> Entry:
        values: dict[str, Any] = {name: line[name] for name in names}
        return Entry(created=line["time"], csv=str(self.path.parent / line["csv"]), **values)

    def _lines(self) -> list[dict[str, Any]]:
        try:
            values, _ = files.read_json_lines(self.path)
        except OSError as error:
            raise StorageError(
                f"cannot read the ledger {self.path}: {error.strerror or error}"
            ) from error
        lines = [value for value in values if isinstance(value, dict)]
        for line in lines:
            version = line.get("schema_version")
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise SubmissionError(
                    f"the ledger {self.path} was written by a newer pcam-kit (schema {version}, "
                    f"this one knows {SCHEMA_VERSION})",
                    hint="update pcam-kit, or use another folder with --submissions-dir",
                )
        return lines


_SCORES = ("valid_auc", "valid_accuracy", "valid_score", "valid_low", "valid_high")
# of a CSV, only where there is something to tell
_UNUSUAL = ("leaks", "test_seen", "mean", "weights", "assumed_positive", "stain")
_USUAL = Origin()
_WRITTEN = ("sha256", "competition", "runs", "configs", "commit", "tta", *_SCORES)
_ORIGIN = (*_WRITTEN[2:], *_UNUSUAL)
_NEWER = ("again", "alike", "size")  # of an intent; ledgers of earlier versions do not have them
_INTENT = ("id", "sha256", "competition", "message", "file_name")


def _with_result(entry: Entry, line: dict[str, Any]) -> Entry:
    event: Literal["sent", "scored", "failed"] = line["event"]
    final = entry.status in ("complete", "error")
    match event:
        case "sent":
            return replace(entry, ref=line["ref"], status=entry.status if final else "pending")
        case "scored":
            if final and line["status"] == "pending":
                return entry
            scores = {
                name: line[name] for name in ("status", "public_score", "private_score", "error")
            }
            return replace(entry, **scores)
        case "failed":
            # Kaggle numbered it, so it did arrive: what failed was asking about it.
            return replace(
                entry,
                error=line["error"],
                status="failed" if entry.ref is None and not final else entry.status,
            )
        case _:
            assert_never(event)


def _last(entries: list[Entry], fits: Callable[[Entry], bool]) -> Entry | None:
    return next((entry for entry in reversed(entries) if fits(entry)), None)


def _finite(score: float | None) -> float | None:
    return float(score) if score is not None and math.isfinite(score) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
