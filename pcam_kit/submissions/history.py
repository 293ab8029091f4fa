"""What the events of a ledger add up to: submissions, and CSVs never sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, assert_never

from pcam_kit.submissions.entry import Entry, SubmissionStatus

CsvKey = tuple[str, str]  # sha256, competition

# Fields of the event "written", those of an Origin. The optional ones are left out where they have
# their default value.
SCORES = ("valid_auc", "valid_accuracy", "valid_score", "valid_low", "valid_high")
OPTIONAL = ("leaks", "test_seen", "mean", "weights", "assumed_positive", "stain", "metric")
_ALWAYS = ("runs", "configs", "commit", "tta", *SCORES)
_WRITTEN = ("sha256", "competition", *_ALWAYS)

_INTENT = ("id", "sha256", "competition", "message", "file_name")
# ledgers of version 0.1 do not have them
_INTENT_OPTIONAL = ("again", "alike", "size", "content_sha256", "submitting")


@dataclass(frozen=True)
class History:
    """All that the events of a ledger say.

    csvs: by SHA-256 and competition, the one written last at the end. submissions: by id. order:
    the keys of both, oldest first.
    """

    csvs: dict[CsvKey, Entry] = field(default_factory=dict[CsvKey, Entry])
    submissions: dict[str, Entry] = field(default_factory=dict[str, Entry])
    order: dict[str | CsvKey, None] = field(default_factory=dict[str | CsvKey, None])

    def entries(self) -> list[Entry]:
        """Every submission, and every CSV never sent, oldest first."""
        sent = {
            (sha256, entry.competition)
            for entry in self.submissions.values()
            for sha256 in (entry.sha256, entry.content_sha256)
        }
        entries: list[Entry] = []
        for key in self.order:
            if isinstance(key, str):
                entries.append(self.submissions[key])
            elif key not in sent:
                entries.append(self.csvs[key])
        return entries


def read_events(
    events: Sequence[dict[str, Any]], folder: Path, sending: Collection[str]
) -> History:
    """The history of these events, which are checked (`events.read_lines`), oldest first.

    folder: the ledger's. sending: ids of submissions that this process is sending now; others
    without a result are "unknown". Equal bytes are equal predictions, so the same bytes written
    again replace the earlier CSV, and are the origin of all submissions of them.
    """
    history = History()
    for event in events:
        try:
            _apply(history, event, folder, sending)
        except KeyError:
            continue  # a result whose intent was lost with the disk
    for id, entry in history.submissions.items():
        csv = history.csvs.get((entry.content_sha256 or entry.sha256, entry.competition))
        if csv is not None:
            origin = {name: getattr(csv, name) for name in (*_ALWAYS, *OPTIONAL)}
            history.submissions[id] = replace(entry, csv=csv.csv, created=csv.created, **origin)
    return history


def _apply(history: History, event: dict[str, Any], folder: Path, sending: Collection[str]) -> None:
    """Add an event to the history.

    Raises KeyError for a result without its intent; the history is then unchanged.
    """
    match event["event"]:
        case "written":
            key = (event["sha256"], event["competition"])
            optional = {name: event[name] for name in OPTIONAL if name in event}
            entry = replace(_entry(event, _WRITTEN, folder), **optional)
            # the newest is at the end
            history.csvs.pop(key, None)
            history.order.pop(key, None)
            history.csvs[key] = entry
            history.order[key] = None
        case "intent":
            status: SubmissionStatus = "sending" if event["id"] in sending else "unknown"
            optional = {name: event[name] for name in _INTENT_OPTIONAL if name in event}
            history.submissions[event["id"]] = replace(
                _entry(event, _INTENT, folder), sent=event["time"], status=status, **optional
            )
            history.order[event["id"]] = None
        case "submitting" | "missing" | "sent" | "scored" | "failed":
            entry = history.submissions[event["id"]]
            history.submissions[event["id"]] = _with_result(entry, event)
        case _:
            pass  # of a later version


def _entry(event: dict[str, Any], names: tuple[str, ...], folder: Path) -> Entry:
    values: dict[str, Any] = {name: event[name] for name in names}
    return Entry(created=event["time"], csv=str(folder / event["csv"]), **values)


def _with_result(entry: Entry, event: dict[str, Any]) -> Entry:
    kind: Literal["submitting", "missing", "sent", "scored", "failed"] = event["event"]
    is_final = entry.status in ("complete", "error")
    match kind:
        case "submitting":
            return replace(entry, submitting=True, kaggle_time=event.get("kaggle_time"))
        case "missing":
            return replace(entry, missing=True)
        case "sent":
            status = entry.status if is_final else "pending"
            return replace(entry, ref=event["ref"], status=status)
        case "scored":
            if is_final and event["status"] == "pending":
                return entry
            return replace(
                entry,
                status=event["status"],
                public_score=event["public_score"],
                private_score=event["private_score"],
                error=event["error"],
            )
        case "failed":
            # with a number from Kaggle it did arrive: what failed was asking about it
            arrived = entry.ref is not None or is_final
            status = entry.status if arrived else "failed"
            return replace(entry, error=event["error"], status=status)
        case _:
            assert_never(kind)
