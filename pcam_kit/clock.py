"""Times as they are kept in files: they sort as text, also when a clock was set back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

PRECISION = "milliseconds"


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec=PRECISION)


def behind(earlier: Iterable[str], time: str) -> str:
    """`time`, or just after the latest of the `earlier` ones where that is later.

    The clock was set back then, or another machine's was ahead. Texts that are no times do not
    count.
    """
    latest = max((text for text in earlier if _is_time(text)), default="")
    if latest < time:
        return time
    try:
        after = datetime.fromisoformat(latest) + timedelta(milliseconds=1)
    except OverflowError:  # the end of the year 9999
        return time
    return after.isoformat(timespec=PRECISION)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
