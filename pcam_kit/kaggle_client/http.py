"""Kaggle's answers: errors are read within limits, and their time is remembered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import requests

from pcam_kit.downloads.http import BoundedAdapter
from pcam_kit.downloads.retry import read_date


@dataclass(frozen=True)
class _Answered:
    """Kaggle's time in its last answer, and this process's monotonic clock then."""

    date: datetime
    monotonic: float


_answered: list[_Answered] = []  # the last one only


class ApiAdapter(BoundedAdapter):
    """For Kaggle's API: also reads what comes instead of a file that is to be streamed.

    The client reads an error or a JSON object itself, and would do so without end.
    """

    def _reads_body(self, response: requests.Response, *, is_stream: bool) -> bool:
        is_json = "application/json" in response.headers.get("Content-Type", "")
        return not is_stream or is_json or response.status_code >= 400


def note_date(response: requests.Response) -> None:
    """Remember the time in an answer of Kaggle, for `kaggle_now`."""
    date = read_date(response.headers.get("Date"))
    if date is not None:
        _answered[:] = [_Answered(date, time.monotonic())]


def kaggle_now() -> datetime | None:
    """The time by Kaggle's clock; None before its first answer in this process.

    That is the date of its last answer plus what a monotonic clock has measured since. This
    machine's own clock, which people and programs set, has no part in it.
    """
    if not _answered:
        return None
    last = _answered[-1]
    return last.date + timedelta(seconds=time.monotonic() - last.monotonic)
