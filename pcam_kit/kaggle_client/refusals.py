"""Turns what Kaggle refused into one error with a hint, which never contains a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass

import requests

from pcam_kit.downloads.failures import SAME_AGAIN, TRANSIENT, status_text
from pcam_kit.downloads.obstacles import Server, proxy_password
from pcam_kit.downloads.retry import TransientError, retry_after
from pcam_kit.errors import AccessError, CredentialsError, KaggleError, TransferError
from pcam_kit.kaggle_client.credentials import (
    SETTINGS_URL,
    TOKEN_HINT,
    find_faults,
    find_sources,
)
from pcam_kit.parsing import parse_json

KAGGLE = Server("Kaggle", "www.kaggle.com, api.kaggle.com and storage.googleapis.com")
TOO_LARGE = r"too (large|big)|file ?size|size limit|(maximum|max\.?) size|exceeds? .*\d ?[kmg]b\b"
PACK_HINT = "a packed CSV is smaller, and taken as well: gzip -k NAME.csv, then submit NAME.csv.gz"


@dataclass(frozen=True)
class Subject:
    """What a call is about, for its error messages.

    doing: e.g. "list the files of x". thing: e.g. "the competition x". slug: of the competition,
    OWNER/SLUG of a dataset, "" for neither. submits: it is about sending a submission. code: it is
    about a notebook, and slug is its OWNER/SLUG.
    """

    doing: str
    thing: str
    slug: str = ""
    submits: bool = False
    code: bool = False

    @property
    def is_dataset(self) -> bool:
        """Is it a dataset, not a competition?"""
        return "/" in self.slug and not self.code

    @property
    def url(self) -> str:
        """The page at Kaggle."""
        kind = "datasets" if self.is_dataset else "competitions"
        if self.code:
            kind = "code"
        return f"https://www.kaggle.com/{kind}/{self.slug}".rstrip("/")


def refusal(subject: Subject, response: requests.Response) -> KaggleError | TransientError:
    """The error for an answer of Kaggle that is not a success.

    TransientError where the same request may succeed later.
    """
    status, message = status_and_message(response)
    quoted = f': "{message}"' if message else f" ({status_text(status)})"
    words = message.lower()
    if status in {400, 403, 409, 413, 429} and (subject.submits or "submi" in words):
        hint = _why_not_submitted(413 if status == 413 else 0, words, subject)
        if hint:
            return KaggleError(f"Kaggle refused to {subject.doing}{quoted}", hint=hint)
    if status in TRANSIENT or status >= 500:
        error = TransferError(
            f"Kaggle could not {subject.doing}{quoted}",
            hint=f"wait a few minutes, then {SAME_AGAIN}",
        )
        return TransientError(error, after=retry_after(response.headers))
    match status:
        case 401:
            return refused_credentials()
        case 407:
            wanted, hint = proxy_password(response.url)
            return TransferError(wanted, hint=f"{hint}, then {SAME_AGAIN}")
        case 403 if "rule" in words:
            return AccessError(
                f"the rules of {subject.slug} are not accepted yet",
                hint=f"accept the rules at {subject.url}/rules, then {SAME_AGAIN}",
            )
        case 403 | 404 if subject.code:
            return AccessError(
                f"Kaggle refused to {subject.doing}{quoted}",
                hint=f"see {subject.url}; notebooks with a GPU need an account with a verified "
                "phone number",
            )
        case 403 if subject.is_dataset:
            return AccessError(
                f"Kaggle refused to {subject.doing}{quoted}",
                hint=f"it may be private: see {subject.url}, then {SAME_AGAIN}",
            )
        case 403:
            return AccessError(
                f"Kaggle refused to {subject.doing}{quoted}",
                hint=f"join the competition at {subject.url} (it may ask for an invitation or a "
                f"verified phone number), then {SAME_AGAIN}",
            )
        case 404 if subject.thing.startswith("the file"):
            return AccessError(
                f"Kaggle lists {subject.thing}, but does not have it",
                hint=f"see {subject.url}, or {SAME_AGAIN} later",
            )
        case 404 if subject.is_dataset:
            return AccessError(
                f"Kaggle does not know {subject.thing}",
                hint="check the name: it is the end of the dataset's address, "
                "https://www.kaggle.com/datasets/OWNER/SLUG",
            )
        case 404 if subject.slug:
            return AccessError(
                f"Kaggle does not know {subject.thing}",
                hint="check the slug: it is the last part of the competition's address, "
                "https://www.kaggle.com/competitions/SLUG; "
                f"pcam fetch {subject.slug} --from PATH takes files already on disk",
            )
        case 404:
            return AccessError(
                f"Kaggle does not know {subject.thing}",
                hint=f"look at the competition's submissions, from {subject.url}",
            )
        case _:
            return KaggleError(
                f"Kaggle refused to {subject.doing}{quoted}", hint=f"see {subject.url}"
            )


def _why_not_submitted(status: int, words: str, subject: Subject) -> str:
    """The hint for a submission that Kaggle does not take; "" where its words tell no cause."""
    page = f"{subject.url}/submissions"
    if status == 413 or re.search(TOO_LARGE, words):
        return f"{PACK_HINT}; see {subject.url}"
    for pattern, hint in (
        (r"\brules?\b", ""),  # as for any other request
        (r"notebook|kernel", f"it takes the output of notebooks on Kaggle only: {subject.url}"),
        (
            r"deadline|(has|is|already|now) (ended|over|closed|finished|complete)|no longer accept",
            f"it takes no submissions any more; see {subject.url}",
        ),
        (
            r"(limit|quota|allowance|maximum|cap)\b.*\b(total|lifetime|overall)|"
            r"\b(total|lifetime|overall)\b.*(limit|quota|allowance|maximum|cap)\b",
            f"the submissions of the whole competition are used up, and none come back; see {page}",
        ),
        (
            r"limit|quota|allowance|maximum",
            f"the daily count starts again at 00:00 UTC; see {page}",
        ),
        (r"\bteam\b", f"look at your team: {subject.url}/team"),
    ):
        if re.search(pattern, words):
            return hint
    return ""


def refused_credentials() -> CredentialsError:
    """The error for a 401: names the source that is used, and those it hides."""
    source, *hidden = [*find_sources()] or ["its own store"]
    message = f"Kaggle refused the credentials in {source}"
    hint = f"create a new token at {SETTINGS_URL} and put it there"
    if "kaggle.json" in source or "KAGGLE_KEY" in source:
        # the settings page gives tokens now; one in the place of a key is refused as well
        hint = f"{TOKEN_HINT}; only a legacy key goes into {source}"
    for fault in find_faults():
        message += f"; {fault.text}"
        hint = f"{fault.fix}; or {hint}"
    if hidden:
        message += f", which hides the one in {' and '.join(hidden)}"
        hint += f"; or remove {source}, so that {hidden[0]} is used"
    return CredentialsError(message, hint=hint)


def status_and_message(response: requests.Response) -> tuple[int, str]:
    """The HTTP status, and Kaggle's own message, "" without one.

    The status is the `code` inside a JSON answer that claims success but is an error.
    """
    try:
        body: object = parse_json(response.content)
    except (ValueError, requests.RequestException):
        return response.status_code, ""
    if not isinstance(body, dict):
        return response.status_code, ""
    code = body.get("code", 500) if body.get("error") else body.get("code")
    status = code if response.status_code < 400 and isinstance(code, int) else response.status_code
    message = one_line(str(body.get("message") or body.get("error") or "")).rstrip(".")
    if len(message) > 300:
        message = message[:297] + "..."
    return status, message


def one_line(text: str) -> str:
    """Kaggle's text on one line, without control characters."""
    characters = (character if character.isprintable() else " " for character in text)
    return " ".join("".join(characters).split())
