"""What the loopback Kaggle saw, and what it can be told to do wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

EXPIRED = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>The "
    b"provided token has expired.</Message></Error>"
)
ALWAYS = 1_000_000  # times

Hash = Literal["right", "wrong", "absent"]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived.

    `what`: an API method ("ListDataFiles"), "storage" (a signed URL), "upload" (the PUT),
    "elsewhere" (another host) or the place of what was published.
    """

    what: str
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering properly.

    Bytes count from the start of what would be sent.
    """

    what: str
    times: int = 1
    skip: int = 0  # answer that many requests properly first
    name: str = ""  # only requests for this file
    # another answer
    status: int | None = None
    message: str = ""  # with status: Kaggle's own words, in its JSON form
    body: bytes | None = None  # the whole body instead, status 200 unless given
    content_type: str = "application/json"
    retry_after: str = ""
    location: str = ""
    patch: dict[str, Any] | None = None  # put into the JSON answer
    instead: bytes | None = None  # everything is done, then this page is the answer
    zero_ref: bool = False  # CreateSubmission: a reply with ref 0
    # another body
    truncate: int | None = None  # the headers promise all, the connection ends after so many bytes
    short: int | None = None  # the headers promise so many bytes, and there are no more
    promise: int | None = None  # the headers promise so many bytes, whatever is sent
    framing: Literal["length", "close", "chunked"] = "length"  # how the end of the body is told
    corrupt: bool = False  # one byte differs, headers and length as always
    md5: Hash = "right"
    crc32c: Hash = "right"
    ignore_range: bool = False  # all of it, status 200
    wrong_range: bool = False  # 206, from another place than asked for
    wrong_end: bool = False  # 206, whose Content-Range tells another size
    other_version: bool = False  # 206 with another ETag and date, all else as if it were the same
    foreign: int | None = None  # 206 with the right range, but so many bytes of something else
    slow_headers: float = 0.0  # seconds between the bytes of the headers
    # compressed, whatever was asked for, with the hashes and the length of what is sent
    gzip: bool = False
    weak_etag: bool = False  # an ETag that says "about the same"; no Last-Modified
    # another pace
    wait: float = 0.0  # seconds before anything is done
    until: Callable[[], bool] | None = None  # nothing is done before this is true
    late: float = 0.0  # seconds between what is done and its answer
    # after so many bytes nothing more comes, and the connection stays open
    stall: int | None = None
    # so many bytes, then so many seconds of nothing, again and again
    drip: tuple[int, float] | None = None
    # another end
    reset: bool = False  # the connection is reset before anything is done
    # everything is done, then `status`, `body`, `message` are answered all the same
    instead_status: bool = False
    lost: bool = False  # everything is done, then the connection is reset
    cut: int | None = None  # of an upload so many bytes are read, then the connection is reset
    then: Callable[[], None] | None = None  # called once the answer is sent
