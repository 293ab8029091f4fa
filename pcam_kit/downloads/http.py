"""Requests that always end: timeouts, also for slow answers, and sessions without credentials."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from pcam_kit import __version__
from pcam_kit.downloads.retry import read_date, without_retries
from pcam_kit.errors import TransferError

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 90.0  # seconds without a single byte
# from the request to the end of the answer's headers, and of its body unless that is streamed
ANSWER_SECONDS = 120.0
SLOWEST_UPLOAD = 10_000.0  # bytes a second; an upload gets more time for its size
ANSWER_BYTES = 64 << 20  # the most that is read of an answer into memory; a page of 200 has 50 KB


@dataclass
class Probe:
    """The timeouts of the requests inside `probe()`, in seconds, and what the answers show.

    clock: how many seconds the server's clock is ahead of this machine's; None before an answer.
    """

    connect: float
    read: float
    clock: float | None = None


_probe: ContextVar[Probe | None] = ContextVar("probe", default=None)


class BoundedAdapter(HTTPAdapter):
    """An HTTP adapter whose requests have a timeout, and whose answers end in time.

    ANSWER_SECONDS is for servers that send a byte now and then, which no read timeout notices. It
    covers the headers, and the body unless that is streamed.
    """

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        """Send a request as HTTPAdapter does. Raises ReadTimeout after ANSWER_SECONDS."""
        current = _probe.get()
        if current is not None:
            options["timeout"] = (current.connect, current.read)
        elif options.get("timeout") is None:
            options["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        body = request.body if isinstance(request.body, bytes) else b""
        response = _run_within(
            ANSWER_SECONDS + len(body) / SLOWEST_UPLOAD,
            lambda: self._send_and_read(request, *args, **options),
            request,
        )
        if current is not None:
            date = read_date(response.headers.get("Date"))
            if date is not None:
                current.clock = (date - datetime.now(UTC)).total_seconds()
        return response

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Set the trusted certificates. Raises TransferError when their file is not there."""
        try:
            super().cert_verify(conn, url, verify, cert)
        except OSError as error:
            raise TransferError(
                f"the trusted certificates cannot be read: there is no {verify}",
                hint="REQUESTS_CA_BUNDLE must name a .pem file: correct it, or unset it",
            ) from error

    def _send_and_read(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        response = super().send(request, *args, **options)
        if self._reads_body(response, is_stream=bool(options.get("stream"))):
            _read_body(response)
        return response

    def _reads_body(self, response: requests.Response, *, is_stream: bool) -> bool:
        return not is_stream


def _read_body(response: requests.Response) -> None:
    """Read the body as `response.content` does, but at most ANSWER_BYTES. Raises TransferError."""
    body = bytearray()
    for piece in response.iter_content(1 << 16):
        body += piece
        if len(body) > ANSWER_BYTES:
            response.close()
            raise TransferError(
                f"the answer of {urlsplit(response.url).hostname} does not end: more than "
                f"{ANSWER_BYTES:,} bytes came where an answer has some thousand",
                hint="check that nothing stands between this machine and that server: pcam doctor",
            )
    read: Any = response  # as its own `content` leaves it
    read._content, read._content_consumed = bytes(body), True


def _run_within(
    seconds: float, work: Callable[[], requests.Response], request: requests.PreparedRequest
) -> requests.Response:
    """The result of `work`, which runs in a thread.

    Raises ReadTimeout when it takes longer; the thread is then abandoned.
    """
    results: queue.SimpleQueue[requests.Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except BaseException as error:
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise requests.ReadTimeout(
            f"no whole answer within {seconds:.0f} s", request=request
        ) from None
    if isinstance(result, BaseException):
        raise result
    return result


@contextmanager
def probe(connect: float, read: float) -> Generator[Probe]:
    """While the block runs, every request is sent once, with these timeouts in seconds."""
    current = Probe(connect, read)
    before = _probe.set(current)
    try:
        with without_retries():
            yield current
    finally:
        _probe.reset(before)


def plain_session() -> requests.Session:
    """A session for public and signed URLs: timeouts, the environment's proxies, no credentials.

    Those of ~/.netrc are not sent either.
    """
    session = _PlainSession()
    session.auth = _no_auth
    # Zenodo answers 403 to the one of requests
    session.headers["User-Agent"] = f"pcam-kit/{__version__}"
    session.mount("https://", BoundedAdapter())
    session.mount("http://", BoundedAdapter())
    return session


class _PlainSession(requests.Session):
    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Remove credentials: after a redirect requests reads ~/.netrc, whatever `auth` is."""
        prepared_request.headers.pop("Authorization", None)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
