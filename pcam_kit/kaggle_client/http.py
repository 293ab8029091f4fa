"""Requests that end: timeouts, a limit for answers that drip, sessions without credentials, a short
look for the doctor.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from pcam_kit.kaggle_client.retry import once, read_date

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 90.0  # seconds without a single byte
# from the request to the end of the answer's headers; to the end of its body, where that is not
# streamed
ANSWER_SECONDS = 120.0
SLOWEST_UPLOAD = 10_000.0  # bytes a second; a CSV gets more time by its size


@dataclass
class Glance:
    """How the calls inside `glance()` go: timeouts in seconds, and what was heard.

    `clock`: how many seconds Kaggle's clock is ahead of this machine's, None while it has not
    answered.
    """

    connect: float
    read: float
    clock: float | None = None


_glance: ContextVar[Glance | None] = ContextVar("glance", default=None)


class BoundedAdapter(HTTPAdapter):
    """Requests that were sent without a timeout get one, and every answer has to come within
    ANSWER_SECONDS.

    The second is for servers that say a byte now and then, which no read timeout notices. It covers
    the headers, and unless the body is streamed the body.
    """

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        looking = _glance.get()
        if looking is not None:
            options["timeout"] = (looking.connect, looking.read)
        elif options.get("timeout") is None:
            options["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        body = request.body if isinstance(request.body, bytes) else b""
        response = _within(
            ANSWER_SECONDS + len(body) / SLOWEST_UPLOAD,
            lambda: self._whole(request, *args, **options),
            request,
        )
        if looking is not None:
            theirs = read_date(response.headers.get("Date"))
            looking.clock = (
                looking.clock if theirs is None else (theirs - datetime.now(UTC)).total_seconds()
            )
        return response

    def _whole(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        response = super().send(request, *args, **options)
        if not options.get("stream"):
            _ = response.content
        return response


def _within(
    seconds: float, work: Callable[[], requests.Response], request: requests.PreparedRequest
) -> requests.Response:
    """The result of `work`, done in a thread that is left behind when it takes longer.

    Raises ReadTimeout then.
    """
    ended: queue.SimpleQueue[requests.Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put(work())
        except BaseException as error:
            ended.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = ended.get(timeout=seconds)
    except queue.Empty:
        raise requests.ReadTimeout(
            f"no whole answer within {seconds:.0f} s", request=request
        ) from None
    if isinstance(result, BaseException):
        raise result
    return result


@contextmanager
def glance(connect: float, read: float) -> Generator[Glance]:
    """While the block runs every request is tried once, with these timeouts."""
    looking = Glance(connect, read)
    before = _glance.set(looking)
    try:
        with once():
            yield looking
    finally:
        _glance.reset(before)


def plain_session() -> requests.Session:
    """A session for signed URLs: timeouts and the environment's proxies, but no credentials,
    ~/.netrc included.
    """
    session = _PlainSession()
    session.auth = _no_auth
    session.mount("https://", BoundedAdapter())
    session.mount("http://", BoundedAdapter())
    return session


class _PlainSession(requests.Session):
    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """After a redirect requests would look into ~/.netrc, whatever `auth` says."""
        prepared_request.headers.pop("Authorization", None)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
