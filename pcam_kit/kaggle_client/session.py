"""The official client, wrapped so that it cannot print, hang, exit or close stdin."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import requests

from pcam_kit.downloads.failures import SAME_AGAIN, unreachable
from pcam_kit.downloads.retry import TransientError, with_retries
from pcam_kit.errors import CredentialsError, KaggleError, PcamError, TransferError
from pcam_kit.kaggle_client.credentials import CREDENTIALS_HINT, credentials_source, fingerprint
from pcam_kit.kaggle_client.http import ApiAdapter, note_date
from pcam_kit.kaggle_client.refusals import KAGGLE, Subject, refusal
from pcam_kit.kaggle_client.request import Request, send

PAGE_SIZE = 200  # the most items that Kaggle lists in one answer

# stdout, stdin and the client's class, which _client() changes, belong to the whole process
_process_lock = threading.RLock()
_authenticated: dict[tuple[object, ...], Any] = {}  # by fingerprint of the credentials


def call(request: Request, subject: Subject) -> Any:
    """Send a request, repeated while that may help; the client's response object.

    Raises KaggleError or a subclass.
    """
    return with_retries(lambda: call_once(request, subject))


def list_items(request: Request, name: str, subject: Subject) -> Iterator[Any]:
    """Everything that a listing has under `name`; each page is requested when it is needed.

    Raises as `call` does.
    """
    tokens = {""}
    token = ""
    while True:
        fields = {**request.fields, "page_size": PAGE_SIZE, "page_token": token}
        page_request = replace(request, fields=fields)
        page = call(page_request, subject)
        # a page with a token is not empty, but a failure can look like an empty page
        if token and not getattr(page, name):
            page = call(page_request, subject)
        yield from getattr(page, name)
        token = str(page.next_page_token or "")
        if not token:
            return
        if token in tokens:
            raise TransferError(
                f"Kaggle could not {subject.doing}: its pages go round in circles",
                hint=f"{SAME_AGAIN} later",
            )
        tokens.add(token)


def call_once(request: Request, subject: Subject) -> Any:
    """Send a request once; the client's response object, or the address of a download.

    Raises TransientError when its outcome is not known, or when Kaggle says to try again later;
    otherwise KaggleError or a subclass.
    """
    try:
        with _client() as client:
            return send(client, request)
    except (PcamError, TransientError):
        raise
    except requests.HTTPError as error:
        if error.response is None:  # not truthiness: a response of 400 or above is False
            raise unreachable(error, KAGGLE) from error
        raise refusal(subject, error.response) from error
    except requests.TooManyRedirects as error:
        if error.response is None or not request.method.startswith("download_"):
            raise TransientError(_unreadable(subject, "it points to another address")) from error
        try:
            return urljoin(error.response.url, error.response.headers["Location"])
        except ValueError:  # not an address; the error's text may contain a signature
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
    # the answer is a login page of the network, or an error page
    except (json.JSONDecodeError, requests.JSONDecodeError, RecursionError) as error:
        raise TransientError(_unreadable(subject, "it is not JSON")) from error
    except requests.exceptions.InvalidHeader as error:
        # with a request it was sent, and the headers of the answer are invalid
        if error.request is not None:
            raise TransientError(
                _unreadable(subject, "its headers contradict each other")
            ) from error
        raise _unsendable() from None  # the error's text contains the credentials
    except UnicodeEncodeError:
        raise _unsendable() from None
    except requests.RequestException as error:
        raise unreachable(error, KAGGLE) from error
    # KeyError: a value that kagglesdk's enums do not have
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if "header" in str(error):  # from http.client, and its text contains the credentials
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
    """Raise HTTPError for an answer with status 200 that is an error all the same.

    The client itself would take one without a message for an empty list.
    """
    note_date(response)
    if "application/json" not in response.headers.get("Content-Type", ""):
        return
    body: object = response.json()
    # of a new dataset Kaggle says "error": "" where there is none
    if isinstance(body, dict) and (
        body.get("error") or (isinstance(body.get("code"), int) and body["code"] >= 400)
    ):
        raise requests.HTTPError("an error in an answer with status 200", response=response)


def _unsendable() -> CredentialsError:
    return CredentialsError(
        f"the credentials in {credentials_source()} hold characters that cannot be sent",
        hint=CREDENTIALS_HINT,
    )


def _unreadable(subject: Subject, why: str) -> TransferError:
    return TransferError(
        f"Kaggle's answer to the request to {subject.doing} cannot be read: {why}",
        hint=f"check that no login page of the network stands between, then {SAME_AGAIN}",
    )


@contextmanager
def _client() -> Generator[Any, None, None]:
    """A kagglesdk client that is signed in, has timeouts and does not follow redirects.

    The lock is held only while it is created, so requests of several threads run side by side.
    """
    source = credentials_source()
    with ExitStack() as stack:
        try:
            with _process_lock, _without_stdio(), _with_timeouts():
                client: Any = stack.enter_context(_signed_in().build_kaggle_client())
        except SystemExit as error:
            hint = CREDENTIALS_HINT
            if source.endswith("credentials.json"):
                hint = f"pip install --upgrade kaggle (2.1.1 does not read that file); or {hint}"
            raise CredentialsError(
                f"Kaggle's client does not accept the credentials in {source}", hint=hint
            ) from error
        except ImportError as error:
            raise KaggleError(
                f"the kaggle package cannot be loaded: {error}",
                hint="pip install --upgrade kaggle six",
            ) from error
        http = client.http_client()
        http._verbose = False  # otherwise it prints requests, credentials included, to stdout
        http._response_processor = _check_answer  # the default one prints advice to update
        yield client


def user_name() -> str:
    """The name of the account, as in its addresses at Kaggle.

    Raises CredentialsError when Kaggle refuses the credentials, or does not say whose they are.
    """
    with _client():
        name = _signed_in().config_values.get("username")
    if not name:
        raise CredentialsError(
            f"Kaggle does not say whose account the credentials in {credentials_source()} are for",
            hint=CREDENTIALS_HINT,
        )
    return str(name)


def _signed_in() -> Any:
    """The KaggleApi object for the current credentials."""
    key = fingerprint()
    if key not in _authenticated:
        is_first_import = "kaggle" not in sys.modules
        import kaggle
        from kaggle.api.kaggle_api_extended import KaggleApi

        api: Any = kaggle.api
        # the import itself signs in; since 2.2 a failure of that is silent
        if not (is_first_import and api.CONFIG_NAME_AUTH_METHOD in api.config_values):
            api = KaggleApi()
            api.authenticate()
        _authenticated[key] = api
    return _authenticated[key]


@contextmanager
def _without_stdio() -> Generator[None, None, None]:
    """Keep the client off stdout and stdin: it prints, and its `exit(1)` closes sys.stdin."""
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin


@contextmanager
def _with_timeouts() -> Generator[None, None, None]:
    """Set timeouts on every session that the client opens, also during its import and sign-in."""
    from kagglesdk.kaggle_http_client import KaggleHttpClient

    client_class: Any = KaggleHttpClient
    original_enter: Callable[[Any], Any] = client_class.__enter__

    def enter(self: Any) -> Any:
        client = original_enter(self)
        self._session.mount("https://", ApiAdapter())
        self._session.mount("http://", ApiAdapter())
        self._session.max_redirects = 0
        return client

    client_class.__enter__ = enter
    try:
        yield
    finally:
        client_class.__enter__ = original_enter
