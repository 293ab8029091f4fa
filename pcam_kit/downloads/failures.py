"""Connections that failed -> one error with a hint; never with a secret or a signed URL."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from pcam_kit.downloads.obstacles import Server, causes_of, never_left, obstacle_of, tunnel_status
from pcam_kit.downloads.retry import TransientError
from pcam_kit.errors import TransferError, UnreachableError

TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # statuses that another attempt may not get
SAME_AGAIN = "run the same command again"


def unreachable(
    error: Exception, server: Server, url: str = "", *, note: str = ""
) -> TransientError | TransferError:
    """The error for a connection that was refused, broke off or timed out.

    url: of the request, where `error` does not have it. note: what is not lost, for the hint. What
    another attempt cannot fix, as a proxy that wants a password, is no TransientError.
    """
    request = getattr(error, "request", None)
    url = url or (request.url if request is not None else "") or ""
    kind = UnreachableError if never_left(error) else TransferError
    obstacle = obstacle_of(error, server, url)
    after = f"; {note}" if note else ""
    if obstacle is not None:
        message, hint = obstacle
        return kind(message, hint=f"{hint}, then {SAME_AGAIN}{after}")
    hint = f"check the connection and the proxy settings, then {SAME_AGAIN}{after}"
    message = f"cannot reach {server.at(urlsplit(url).hostname)}: {_cause(error)}"
    return TransientError(kind(message, hint=hint))


def status_text(status: int) -> str:
    """`404` -> `HTTP 404 Not Found`."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _cause(error: BaseException) -> str:
    """The cause in a few words.

    The errors' own texts contain whole URLs, signatures included, so they are not shown.
    """
    causes = causes_of(error)
    status = tunnel_status(causes)
    if status:
        return f"the proxy answered {status_text(status)}"
    text = " ".join(type(cause).__name__ for cause in causes)
    for sign, words in (
        ("SSL", "its certificate could not be checked"),
        ("NameResolution", "its name could not be looked up"),
        ("gaierror", "its name could not be looked up"),
        ("Proxy", "the proxy did not answer"),
        ("ConnectTimeout", "no connection in time"),
        ("Timeout", "no answer in time"),
        ("NewConnection", "the connection was refused"),
        ("ConnectionRefused", "the connection was refused"),
    ):
        if sign in text:
            return words
    return "the connection broke off"
