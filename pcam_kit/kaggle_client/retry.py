"""How often something is tried again and how long to wait before.

Only for what may safely be done twice.
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

from pcam_kit.errors import KaggleError

ATTEMPTS = 6  # failures in a row before giving up; with the delays below about 12 seconds
# seconds, doubled each time, times a random 0.5 to 1 so that many clients do not come back together
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0  # seconds
LONG = 5.0  # seconds; a longer wait is said, through logging, whose default is a line on stderr
# seconds; when Kaggle asks for a longer pause (Retry-After), the command ends and says so
LONGEST_ASKED = 300.0

Result = TypeVar("Result")
log = logging.getLogger(__name__)
_once: ContextVar[bool] = ContextVar("once", default=False)


class TransientError(Exception):
    """A failure that another attempt may mend.

    `error` is what the person sees if none does, `after` the seconds that Kaggle asked for,
    `weight` the attempts it counts for.
    """

    def __init__(self, error: KaggleError, *, after: float = 0.0, weight: int = 1) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after
        self.weight = weight


class Patience:
    """Counts failures in a row; `wait` sleeps, or raises the failure's error when there were too
    many.
    """

    def __init__(self) -> None:
        self.failures = 0

    def wait(self, failure: TransientError) -> None:
        self.failures += failure.weight
        if failure.after > LONGEST_ASKED:
            error = failure.error
            minutes = math.ceil(failure.after / 60)
            message = f"{error.message}; it asks for a pause of {minutes} minutes"
            raise type(error)(
                message, hint=f"wait {minutes} minutes, then run the same command again"
            ) from failure
        if self.failures >= ATTEMPTS or _once.get():
            raise failure.error from failure
        pause = delay(self.failures, failure.after)
        if pause >= LONG:
            log.warning("%s; again in %.0f s", failure, pause)
        time.sleep(pause)


@contextmanager
def once() -> Generator[None]:
    """While the block runs nothing is tried again: for a look at whether Kaggle answers, where the
    first failure is the answer.
    """
    before = _once.set(True)
    try:
        yield
    finally:
        _once.reset(before)


def repeat(attempt: Callable[[], Result]) -> Result:
    """Call `attempt` until it does not raise TransientError. Raises the last failure's error."""
    patience = Patience()
    while True:
        try:
            return attempt()
        except TransientError as failure:
            patience.wait(failure)


def delay(failures: int, asked: float = 0.0) -> float:
    """Seconds to wait after that many failures in a row, never less than `asked`."""
    return max(
        asked, min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
    )


def asked_pause(headers: Mapping[str, str]) -> float:
    """A Retry-After header (seconds or a date) in seconds; 0 when absent or unreadable.

    A date is compared with the server's own clock.
    """
    retry_after = headers.get("Retry-After")
    if retry_after is None:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        then, now = read_date(retry_after), read_date(headers.get("Date")) or datetime.now(UTC)
        seconds = 0.0 if then is None else (then - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def read_date(text: str | None) -> datetime | None:
    """The time in a header; None when there is none that can be read."""
    try:
        when = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError):
        return None
    return when.replace(tzinfo=when.tzinfo or UTC)
