"""How often a request is repeated, and how long to wait before.

Only for requests that may safely be sent twice.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pcam_kit.errors import PcamError

ATTEMPTS = 6  # failures in a row before giving up; with the delays below about 12 seconds
# seconds, doubled each time, times a random 0.5 to 1 so that many clients do not come back together
FIRST_DELAY = 0.5
MAX_DELAY = 30.0  # seconds
LOGGED_DELAY = 5.0  # seconds; a wait of this length or more is logged
MAX_RETRY_AFTER = 300.0  # seconds; when a longer pause is asked for, the command ends instead

Result = TypeVar("Result")
log = logging.getLogger(__name__)
_no_retries: ContextVar[bool] = ContextVar("no_retries", default=False)


class TransientError(Exception):
    """A failure that another attempt may fix.

    error: what the user sees if none does. after: seconds to wait, as the server asked. weight: the
    number of attempts that it counts as.
    """

    def __init__(self, error: PcamError, *, after: float = 0.0, weight: int = 1) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after
        self.weight = weight


class RetryBudget:
    """Counts failures in a row, and waits after each until there were too many."""

    def __init__(self) -> None:
        self.failures = 0

    def wait(self, failure: TransientError) -> None:
        """Sleep before the next attempt. Raises the failure's error when there must be none."""
        self.failures += failure.weight
        if failure.after > MAX_RETRY_AFTER:
            error = failure.error
            minutes = math.ceil(failure.after / 60)
            message = f"{error.message}; it asks for a pause of {minutes} minutes"
            raise type(error)(
                message, hint=f"wait {minutes} minutes, then run the same command again"
            ) from failure
        if self.failures >= ATTEMPTS or _no_retries.get():
            raise failure.error from failure
        pause = backoff(self.failures, failure.after)
        if pause >= LOGGED_DELAY:
            log.warning("%s; again in %.0f s", failure, pause)
        time.sleep(pause)


@contextmanager
def without_retries() -> Generator[None]:
    """While the block runs, the first failure is raised.

    For checking whether a server answers at all.
    """
    before = _no_retries.set(True)
    try:
        yield
    finally:
        _no_retries.reset(before)


def with_retries(attempt: Callable[[], Result]) -> Result:
    """Call `attempt` until it does not raise TransientError.

    Raises the last failure's error when there were too many.
    """
    budget = RetryBudget()
    while True:
        try:
            return attempt()
        except TransientError as failure:
            budget.wait(failure)


def backoff(failures: int, minimum: float = 0.0) -> float:
    """Seconds to wait after that many failures in a row; at least `minimum`."""
    longest = min(MAX_DELAY, FIRST_DELAY * 2 ** (failures - 1))
    return max(minimum, longest * random.uniform(0.5, 1.0))


def retry_after(headers: Mapping[str, str]) -> float:
    """The Retry-After header, seconds or a date, in seconds; 0 when absent or unreadable.

    A date is compared with the server's own clock.
    """
    value = headers.get("Retry-After")
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        end, now = read_date(value), read_date(headers.get("Date")) or datetime.now(UTC)
        seconds = 0.0 if end is None else (end - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def read_date(text: str | None) -> datetime | None:
    """The time in a header; None when absent or unreadable."""
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)
