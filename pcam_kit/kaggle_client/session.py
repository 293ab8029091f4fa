"""The official client, held so that it cannot print, hang, exit or close stdin."""

from __future__ import annotations

import importlib
import io
import json
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter

from pcam_kit.errors import CredentialsError, KaggleError, PcamError, TransferError
from pcam_kit.kaggle_client.credentials import HOW_TO, credentials_source, fingerprint
from pcam_kit.kaggle_client.refusals import SAME_AGAIN, Subject, refusal, unreachable
from pcam_kit.kaggle_client.retry import TransientError, once, repeat

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 90.0  # seconds without a single byte
ANSWER_SECONDS = 120.0  # from the request to the end of the answer's headers; to the end of its body, where that is not streamed
SLOWEST_UPLOAD = 10_000.0  # bytes a second; a CSV gets more time by its size
PAGE = 200  # the most names Kaggle lists in one answer


@dataclass
class Glance:
    """How the calls inside `glance()` go: timeouts in seconds, and what was heard.

    `clock`: how many seconds Kaggle's clock is ahead of this machine's, None while it has not answered.
    """

    connect: float
    read: float
    clock: float | None = None


_glance: ContextVar[Glance | None] = ContextVar("glance", default=None)
_turn = threading.RLock()  # stdout, stdin and the client's class are the whole process's
_authenticated: dict[tuple[object, ...], Any] = {}


class BoundedAdapter(HTTPAdapter):
    """Requests that were sent without a timeout get one, and every answer has to come within ANSWER_SECONDS.

    The second is for servers that say a byte now and then, which no read timeout notices. It covers the headers, and unless the body is
    streamed the body.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        looking = _glance.get()
        if looking is not None:
            options["timeout"] = (looking.connect, looking.read)
        elif options.get("timeout") is None:
            options["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        body = request.body if isinstance(request.body, bytes) else b""
        response = _within(ANSWER_SECONDS + len(body) / SLOWEST_UPLOAD, lambda: self._whole(request, *args, **options), request)
        if looking is not None:
            heard = _ahead(response.headers.get("Date"))
            looking.clock = looking.clock if heard is None else heard
        return response

    def _whole(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        response = super().send(request, *args, **options)
        if not options.get("stream"):
            _ = response.content
        return response


def _within(seconds: float, work: Callable[[], requests.Response], request: requests.PreparedRequest) -> requests.Response:
    """The result of `work`, done in a thread that is left behind when it takes longer. Raises ReadTimeout then."""
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
        raise requests.ReadTimeout(f"no whole answer within {seconds:.0f} s", request=request) from None
    if isinstance(result, BaseException):
        raise result
    return result


@dataclass(frozen=True)
class Request:
    """A request in kagglesdk's names, of its `competitions` or its `datasets` service."""

    method: str
    type: str
    fields: dict[str, Any]
    service: Literal["competitions", "datasets"] = "competitions"


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


def call(request: Request, subject: Subject) -> Any:
    """Send a request, again while that may help, and return the client's response object. Raises KaggleError or one of its kinds."""
    return repeat(lambda: call_once(request, subject))


def items(request: Request, name: str, subject: Subject) -> Iterator[Any]:
    """Everything a listing has under `name`, page by page: the next page is asked for when it is wanted."""
    seen = {""}
    token = ""
    while True:
        asked = replace(request, fields={**request.fields, "page_size": PAGE, "page_token": token})
        page = call(asked, subject)
        if token and not getattr(page, name):  # it was promised: asked for once more, as a failure can look like an empty page
            page = call(asked, subject)
        yield from getattr(page, name)
        token = str(page.next_page_token or "")
        if not token:
            return
        if token in seen:
            raise TransferError(f"Kaggle could not {subject.doing}: its pages go round in circles", hint=f"{SAME_AGAIN} later")
        seen.add(token)


def call_once(request: Request, subject: Subject) -> Any:
    """Send a request once. Raises TransientError when it is not known what became of it, or when Kaggle says to come back later."""
    try:
        with _client() as client:
            one = request.service.removesuffix("s")
            types = importlib.import_module(f"kagglesdk.{request.service}.types.{one}_api_service")
            message: Any = vars(types)[request.type]()
            for name, value in request.fields.items():
                setattr(message, name, value)
            return getattr(getattr(getattr(client, request.service), f"{one}_api_client"), request.method)(message)
    except (PcamError, TransientError):
        raise
    except requests.HTTPError as error:
        if error.response is None:  # not truthiness: a response of 400 or above is False
            raise unreachable(error) from error
        raise refusal(subject, error.response) from error
    except requests.TooManyRedirects as error:
        if error.response is None or not request.method.startswith("download_"):
            raise TransientError(_unreadable(subject, "it points to another address")) from error
        try:
            return urljoin(error.response.url, error.response.headers["Location"])
        except ValueError:  # an address that is none; its text may hold a signature
            raise TransientError(_unreadable(subject, "it points to something that is no address")) from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
        raise KaggleError(
            "cannot reach Kaggle: the proxy's address cannot be used", hint="check http_proxy, https_proxy, all_proxy"
        ) from error
    except (json.JSONDecodeError, requests.JSONDecodeError, RecursionError) as error:  # a login page of the network, or an error page
        raise TransientError(_unreadable(subject, "it is not JSON")) from error
    except requests.exceptions.InvalidHeader as error:
        if error.request is not None:  # then it was sent, and the answer's headers contradict each other
            raise TransientError(_unreadable(subject, "its headers contradict each other")) from error
        raise _unsendable() from None  # the text holds the credentials
    except UnicodeEncodeError:
        raise _unsendable() from None
    except requests.RequestException as error:
        raise unreachable(error) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # KeyError: a word that kagglesdk's enums do not have
        if "header" in str(error):  # http.client's words, with the credentials in them
            raise _unsendable() from None
        raise KaggleError(
            f"Kaggle's answer to the request to {subject.doing} has a part that this version does not know: {error}",
            hint="update the client: pip install --upgrade kaggle",
        ) from error
    except OSError as error:
        raise KaggleError(
            f"the Kaggle client could not {subject.doing}: {error.strerror or type(error).__name__} {error.filename or ''}".rstrip()
        ) from error


def plain_session() -> requests.Session:
    """A session for signed URLs: timeouts and the environment's proxies, but no credentials, ~/.netrc included."""
    session = _PlainSession()
    session.auth = _no_auth
    session.mount("https://", BoundedAdapter())
    session.mount("http://", BoundedAdapter())
    return session


def _check_answer(response: requests.Response) -> None:
    """Refuse an answer with status 200 that is an error all the same; the client itself takes those without a message for empty lists."""
    if "application/json" not in response.headers.get("Content-Type", ""):
        return
    body: object = response.json()
    if isinstance(body, dict) and ("error" in body or (isinstance(body.get("code"), int) and body["code"] >= 400)):
        raise requests.HTTPError("an error in an answer with status 200", response=response)


class _PlainSession(requests.Session):
    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """After a redirect requests would look into ~/.netrc, whatever `auth` says."""
        prepared_request.headers.pop("Authorization", None)


def _ahead(date: str | None) -> float | None:
    """Seconds by which a Date header is ahead of this machine's clock; None when there is none that can be read."""
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds() if date else None
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _unsendable() -> CredentialsError:
    return CredentialsError(f"the credentials in {credentials_source()} hold characters that cannot be sent", hint=HOW_TO)


def _unreadable(subject: Subject, why: str) -> TransferError:
    return TransferError(
        f"Kaggle's answer to the request to {subject.doing} cannot be read: {why}",
        hint=f"check that no login page of the network stands between, then {SAME_AGAIN}",
    )


@contextmanager
def _client() -> Generator[Any, None, None]:
    """A kagglesdk client that is signed in, bounded in time, and does not follow redirects (their targets are fetched by us).

    Only making it touches what is the whole process's; its requests may wait for Kaggle side by side.
    """
    source = credentials_source()
    with ExitStack() as stack:
        try:
            with _turn, _contained(), _bounded():
                client: Any = stack.enter_context(_signed_in().build_kaggle_client())
        except SystemExit as error:
            raise CredentialsError(f"Kaggle's client does not accept the credentials in {source}", hint=HOW_TO) from error
        except ImportError as error:
            raise KaggleError(f"the kaggle package cannot be loaded: {error}", hint="pip install --upgrade kaggle six") from error
        http = client.http_client()
        http._verbose = False  # it would print requests, credentials included, on stdout
        http._response_processor = _check_answer  # instead of one that prints advice to update
        yield client


def _signed_in() -> Any:
    """The KaggleApi object for the credentials as they are now."""
    key = fingerprint()
    if key not in _authenticated:
        first = "kaggle" not in sys.modules
        import kaggle
        from kaggle.api.kaggle_api_extended import KaggleApi

        api: Any = kaggle.api
        if not (first and api._authenticated):
            api = KaggleApi()
            api.authenticate()
        _authenticated[key] = api
    return _authenticated[key]


@contextmanager
def _contained() -> Generator[None, None, None]:
    """Keep the client's prints off our stdout, and our stdin out of reach: its `exit(1)` closes sys.stdin."""
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin


@contextmanager
def _bounded() -> Generator[None, None, None]:
    """Put timeouts on every session the client opens meanwhile, those of its import and its sign-in included."""
    from kagglesdk.kaggle_http_client import KaggleHttpClient

    http: Any = KaggleHttpClient
    enter: Callable[[Any], Any] = http.__enter__

    def enter_bounded(self: Any) -> Any:
        entered = enter(self)
        self._session.mount("https://", BoundedAdapter())
        self._session.mount("http://", BoundedAdapter())
        self._session.max_redirects = 0
        return entered

    http.__enter__ = enter_bounded
    try:
        yield
    finally:
        http.__enter__ = enter
