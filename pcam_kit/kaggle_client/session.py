"""The official client, held so that it cannot print, hang, exit or close stdin."""

from __future__ import annotations

import importlib
import io
import json
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urljoin

import requests

from pcam_kit.errors import CredentialsError, KaggleError, PcamError, TransferError
from pcam_kit.kaggle_client.credentials import HOW_TO, credentials_source, fingerprint
from pcam_kit.kaggle_client.http import BoundedAdapter
from pcam_kit.kaggle_client.refusals import SAME_AGAIN, Subject, refusal, unreachable
from pcam_kit.kaggle_client.retry import TransientError, repeat

PAGE = 200  # the most names Kaggle lists in one answer


_turn = threading.RLock()  # stdout, stdin and the client's class are the whole process's
_authenticated: dict[tuple[object, ...], Any] = {}


@dataclass(frozen=True)
class Request:
    """A request in kagglesdk's names, of its `competitions` or its `datasets` service."""

    method: str
    type: str
    fields: dict[str, Any]
    service: Literal["competitions", "datasets"] = "competitions"


def call(request: Request, subject: Subject) -> Any:
    """Send a request, again while that may help, and return the client's response object.

    Raises KaggleError or one of its kinds.
    """
    return repeat(lambda: call_once(request, subject))


def items(request: Request, name: str, subject: Subject) -> Iterator[Any]:
    """Everything a listing has under `name`, page by page: the next page is asked for when it is
    wanted.
    """
    seen = {""}
    token = ""
    while True:
        asked = replace(request, fields={**request.fields, "page_size": PAGE, "page_token": token})
        page = call(asked, subject)
        # it was promised: asked for once more, as a failure can look like an empty page
        if token and not getattr(page, name):
            page = call(asked, subject)
        yield from getattr(page, name)
        token = str(page.next_page_token or "")
        if not token:
            return
        if token in seen:
            raise TransferError(
                f"Kaggle could not {subject.doing}: its pages go round in circles",
                hint=f"{SAME_AGAIN} later",
            )
        seen.add(token)


def call_once(request: Request, subject: Subject) -> Any:
    """Send a request once.

    Raises TransientError when it is not known what became of it, or when Kaggle says to come back
    later.
    """
    try:
        with _client() as client:
            one = request.service.removesuffix("s")
            types = importlib.import_module(f"kagglesdk.{request.service}.types.{one}_api_service")
            message: Any = vars(types)[request.type]()
            for name, value in request.fields.items():
                setattr(message, name, value)
            return getattr(
                getattr(getattr(client, request.service), f"{one}_api_client"), request.method
            )(message)
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
            raise TransientError(
                _unreadable(subject, "it points to something that is no address")
            ) from None
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as error:
        raise KaggleError(
            "cannot reach Kaggle: the proxy's address cannot be used",
            hint="check http_proxy, https_proxy, all_proxy",
        ) from error
    # a login page of the network, or an error page
    except (json.JSONDecodeError, requests.JSONDecodeError, RecursionError) as error:
        raise TransientError(_unreadable(subject, "it is not JSON")) from error
    except requests.exceptions.InvalidHeader as error:
        # then it was sent, and the answer's headers contradict each other
        if error.request is not None:
            raise TransientError(
                _unreadable(subject, "its headers contradict each other")
            ) from error
        raise _unsendable() from None  # the text holds the credentials
    except UnicodeEncodeError:
        raise _unsendable() from None
    except requests.RequestException as error:
        raise unreachable(error) from error
    # KeyError: a word that kagglesdk's enums do not have
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if "header" in str(error):  # http.client's words, with the credentials in them
            raise _unsendable() from None
        raise KaggleError(
            f"Kaggle's answer to the request to {subject.doing} has a part that this version "
            f"does not know: {error}",
            hint="update the client: pip install --upgrade kaggle",
        ) from error
    except OSError as error:
        raise KaggleError(
            f"the Kaggle client could not {subject.doing}: "
            f"{error.strerror or type(error).__name__} {error.filename or ''}".rstrip()
        ) from error


def _check_answer(response: requests.Response) -> None:
    """Refuse an answer with status 200 that is an error all the same; the client itself takes those
    without a message for empty lists.
    """
    if "application/json" not in response.headers.get("Content-Type", ""):
        return
    body: object = response.json()
    if isinstance(body, dict) and (
        "error" in body or (isinstance(body.get("code"), int) and body["code"] >= 400)
    ):
        raise requests.HTTPError("an error in an answer with status 200", response=response)


def _unsendable() -> CredentialsError:
    return CredentialsError(
        f"the credentials in {credentials_source()} hold characters that cannot be sent",
        hint=HOW_TO,
    )


def _unreadable(subject: Subject, why: str) -> TransferError:
    return TransferError(
        f"Kaggle's answer to the request to {subject.doing} cannot be read: {why}",
        hint=f"check that no login page of the network stands between, then {SAME_AGAIN}",
    )


@contextmanager
def _client() -> Generator[Any, None, None]:
    """A kagglesdk client that is signed in, bounded in time, and does not follow redirects (their
    targets are fetched by us).

    Only making it touches what is the whole process's; its requests may wait for Kaggle side by
    side.
    """
    source = credentials_source()
    with ExitStack() as stack:
        try:
            with _turn, _contained(), _bounded():
                client: Any = stack.enter_context(_signed_in().build_kaggle_client())
        except SystemExit as error:
            raise CredentialsError(
                f"Kaggle's client does not accept the credentials in {source}", hint=HOW_TO
            ) from error
        except ImportError as error:
            raise KaggleError(
                f"the kaggle package cannot be loaded: {error}",
                hint="pip install --upgrade kaggle six",
            ) from error
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
    """Keep the client's prints off our stdout, and our stdin out of reach: its `exit(1)` closes
    sys.stdin.
    """
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin


@contextmanager
def _bounded() -> Generator[None, None, None]:
    """Put timeouts on every session the client opens meanwhile, those of its import and its sign-in
    included.
    """
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
