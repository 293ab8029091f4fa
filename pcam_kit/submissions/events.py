"""The lines of a ledger, read and checked: what is wrongly typed counts as unreadable.

A ledger is a file that people, other programs and broken disks can change. What passes here can be
shown, compared and summed without further checks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from pcam_kit.config.schema import StainMethod
from pcam_kit.errors import StorageError, SubmissionError
from pcam_kit.parsing import parse_json, read_bytes, reason_of

SCHEMA_VERSION = 1
LEDGER_BYTES = 256 << 20  # the largest ledger that is read; a line has about 600 bytes
LARGEST_NUMBER = 2**63  # of what is counted: submissions, bytes

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return False
    return True


def _is_moment(value: Any) -> bool:
    """Is it a time with its zone, which can be compared with others?"""
    return _is_time(value) and datetime.fromisoformat(value).tzinfo is not None


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_NUMBER


def _is_score(value: Any) -> bool:
    # False for NaN and infinity; a comparison, unlike float(), takes the longest whole numbers
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def _is_share(value: Any) -> bool:
    return _is_score(value) and 0 <= value <= 1


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(*names: str) -> Check:
    return lambda value: isinstance(value, str) and value in names


_TEXTS, _TEXT_OR_NONE, _SCORE_OR_NONE = _list_of(_is_text), _or_none(_is_text), _or_none(_is_score)

# What each event must have, and what it may have: other fields are of later versions.
REQUIRED: Mapping[str, Mapping[str, Check]] = {
    "written": {
        "csv": _is_text,
        "sha256": _is_text,
        "competition": _is_text,
        "runs": _TEXTS,
        "configs": _TEXTS,
        "commit": _TEXT_OR_NONE,
        "tta": _is_text,
        "valid_auc": _SCORE_OR_NONE,
        "valid_accuracy": _SCORE_OR_NONE,
        "valid_score": _SCORE_OR_NONE,
        "valid_low": _SCORE_OR_NONE,
        "valid_high": _SCORE_OR_NONE,
    },
    "intent": {
        "id": _is_text,
        "csv": _is_text,
        "sha256": _is_text,
        "competition": _is_text,
        "message": _is_text,
        "file_name": _is_text,
    },
    "submitting": {"id": _is_text},
    "missing": {"id": _is_text},
    "sent": {"id": _is_text, "ref": _is_count},
    "scored": {
        "id": _is_text,
        "status": _one_of("pending", "complete", "error"),
        "public_score": _SCORE_OR_NONE,
        "private_score": _SCORE_OR_NONE,
        "error": _TEXT_OR_NONE,
    },
    "failed": {"id": _is_text, "error": _TEXT_OR_NONE},
}
OPTIONAL: Mapping[str, Mapping[str, Check]] = {
    "written": {
        "leaks": _TEXTS,
        "test_seen": _is_share,
        "mean": _TEXT_OR_NONE,
        "weights": _TEXT_OR_NONE,
        "assumed_positive": _or_none(_is_share),
        "stain": _or_none(_one_of(*get_args(StainMethod))),
        "metric": _TEXT_OR_NONE,
    },
    "intent": {
        "again": _is_flag,
        "alike": _or_none(_list_of(_is_count)),
        "size": _is_count,
        "content_sha256": _is_text,
        "submitting": _is_flag,
    },
    "submitting": {"kaggle_time": _or_none(_is_moment)},
}


@dataclass(frozen=True)
class DamagedLine:
    """A line that cannot be used. number: from 1. reason: one printable line."""

    path: Path
    number: int
    text: str
    reason: str


@dataclass(frozen=True)
class Lines:
    """What a ledger holds: its events, oldest first, and the lines that cannot be used."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    damaged: list[DamagedLine] = field(default_factory=list[DamagedLine])


def read_lines(path: Path) -> Lines:
    """The lines of the ledger at `path`; none where there is no file.

    Raises StorageError when it cannot be read, SubmissionError when it is no ledger or when a
    newer pcam-kit wrote it.
    """
    lines = Lines()
    if not path.exists():
        return lines
    try:
        text = read_bytes(path, LEDGER_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise StorageError(f"cannot read the ledger {path}: {reason_of(error)}") from error
    except ValueError as error:
        raise SubmissionError(
            f"{path} is no ledger: {error}",
            hint="move it away, or use another folder with --submissions-dir",
        ) from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            event: object = parse_json(line)
        except ValueError:
            lines.damaged.append(DamagedLine(path, number, line, "it is not JSON"))
            continue
        fault = _fault(event, path)
        if isinstance(event, dict) and not fault:
            lines.events.append(event)
        else:
            lines.damaged.append(DamagedLine(path, number, line, fault))
    return lines


def merge_events(several: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The events of several ledgers, each in its own order, as one in order of time.

    The clocks of two machines differ: what follows an intent is never put before it.
    """
    keyed: list[tuple[datetime, bool, dict[str, Any]]] = []
    for events in several:
        latest = datetime.min.replace(tzinfo=UTC)
        for event in events:
            latest = max(latest, _moment(event))
            keyed.append((latest, event["event"] != "intent", event))
    intents = {event.get("id"): time for time, follows, event in keyed if not follows}
    ordered = [
        (max(time, intents.get(event.get("id"), time)), follows, event)
        for time, follows, event in keyed
    ]
    ordered.sort(key=lambda item: item[:2])
    return [event for _, _, event in ordered]


def _moment(event: dict[str, Any]) -> datetime:
    """The time of an event of a known kind; of a later version's the earliest there is."""
    earliest = datetime.min.replace(tzinfo=UTC)
    if not _is_time(event.get("time")):
        return earliest
    time = datetime.fromisoformat(event["time"])
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _fault(event: object, path: Path) -> str:
    """Why an event cannot be used; "" where it can. Raises SubmissionError for a later schema."""
    if not isinstance(event, dict):
        return "it is no object"
    version: Any = event.get("schema_version")
    if _is_count(version) and version > SCHEMA_VERSION:
        raise SubmissionError(
            f"the ledger {path} was written by a newer pcam-kit (schema {version}, "
            f"this one knows {SCHEMA_VERSION})",
            hint="update pcam-kit, or use another folder with --submissions-dir",
        )
    kind = event.get("event")
    if not isinstance(kind, str):
        return "it names no event"
    if kind not in REQUIRED:
        return ""  # of a later version
    for name, check in {"time": _is_time, **REQUIRED[kind]}.items():
        if name not in event:
            return f"it has no {name}"
        if not check(event[name]):
            return f"its {name} is not of the expected type"
    for name, check in OPTIONAL.get(kind, {}).items():
        if name in event and not check(event[name]):
            return f"its {name} is not of the expected type"
    return ""
