"""Faults of Kaggle's answers and of the network on the way there."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate
from typing import Any

from acts import env, fails, then
from loopback import ALWAYS
from rows import FINE, Act, Ends, Row
from rows_downloads import PATIENCE
from world import World

PART_NAMES = ("train.h5.part", "train.h5.part.json")
LIST, DOWNLOAD = "ListDataFiles", "DownloadDataFile"
RULES = "You must accept this competition's rules before you'll be able to download files."


def row(id: str, fault: str, arrange: Act, ends: Ends = FINE, **more: Any) -> Row:
    return Row(id, "answers", fault, arrange, ends, **more)


def no_proxy(world: World) -> None:
    """No proxy at all, so that the names are looked up here."""
    world.env = {name: value for name, value in world.env.items() if not name.endswith("_proxy")}


def with_proxy(world: World) -> None:
    world.env = world.env | {
        "http_proxy": world.kaggle.url,
        "https_proxy": world.kaggle.url,
        "no_proxy": "",
    }


def proxy_gone(world: World) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env(http_proxy=f"http://127.0.0.1:{port}", https_proxy=f"http://127.0.0.1:{port}")(world)


def storage_unknown(world: World) -> None:
    world.competition.storage_host = "storage.invalid"
    env(no_proxy=".invalid")(world)


def storage_known(world: World) -> None:
    world.competition.storage_host = ""
    with_proxy(world)


def more_files(world: World) -> None:
    """Names as people choose them, and more than one page of them."""
    for name, data in {
        "notes (final).txt": b"n" * 2000,
        "extra/été ß 組織.csv": b"x" * 3000,
        "extra/deep/er/empty.txt": b"",
        "a+b%20c&d.txt": b"y" * 10,
    }.items():
        (world.remote / name).parent.mkdir(parents=True, exist_ok=True)
        (world.remote / name).write_bytes(data)
    world.kaggle.page_size = 3


def part_names(world: World) -> None:
    for name in PART_NAMES:
        (world.remote / name).write_bytes(b"{}" * 5000)


def no_part_names(world: World) -> None:
    for name in PART_NAMES:
        (world.remote / name).unlink()


def unsafe_name(name: str) -> Act:
    def act(world: World) -> None:
        world.competition.listed = {name: 5}

    return act


def safe_names(world: World) -> None:
    world.competition.listed = {}


def nothing_listed(world: World) -> None:
    world.kaggle.fail(LIST, body=b'{"files": []}', times=ALWAYS)


def clock(seconds: float) -> Act:
    """The server's clock, and a 429 whose Retry-After is a date of that clock."""

    def act(world: World) -> None:
        world.kaggle.clock = seconds
        world.kaggle.fail(
            DOWNLOAD,
            status=429,
            message="Too many requests",
            retry_after=formatdate(time.time() + seconds, usegmt=True),
        )

    return act


def accept_rules(world: World) -> None:
    world.competition.rules_accepted = True


def refuse_rules(world: World) -> None:
    world.competition.rules_accepted = False


def refuse_last(world: World) -> None:
    """train.h5 is refused when the others are whole, so that it is known what lies there then."""

    def others_whole() -> bool:
        return {"valid.h5", "test_x.h5"} <= world.whole_names()

    world.kaggle.fail(
        "storage", name="train.h5", until=others_whole, status=404, body=b"", times=ALWAYS
    )


def elsewhere(world: World) -> None:
    world.kaggle.other_hosts = {"elsewhere.test"}
    world.kaggle.fail(
        LIST, status=302, body=b"", location="http://elsewhere.test/api", times=ALWAYS
    )


def transient(status: int, words: str) -> list[Row]:
    return [
        row(
            f"{status}",
            f"{status} to a request for the list, once",
            fails(LIST, status=status, message=words),
        ),
        row(
            f"{status}-always",
            f"{status} to every request for the list",
            fails(LIST, status=status, message=words, times=ALWAYS),
            Ends(7, (words,)),
        ),
    ]


ROWS = [
    row(
        "401",
        "401: the credentials are refused",
        fails(LIST, status=401, message="Unauthenticated", times=ALWAYS),
        Ends(7, ("KAGGLE_KEY",)),
    ),
    row(
        "403-rules",
        "403: the rules are not accepted",
        refuse_rules,
        Ends(7, ("rules", "accept")),
        mend=accept_rules,
    ),
    row(
        "403-other",
        "403 for another reason",
        fails(DOWNLOAD, status=403, message="Permission denied", times=ALWAYS),
        Ends(7, ("Permission denied",)),
    ),
    row(
        "404",
        "404: no such competition",
        fails(LIST, status=404, message="Not found", times=ALWAYS),
        Ends(7, ("does not know",)),
    ),
    row(
        "404-file",
        "404: a listed file is gone",
        fails(DOWNLOAD, status=404, message="File not found", times=ALWAYS),
        Ends(7, ("train.h5",)),
    ),
    *transient(408, "Request timeout"),
    *transient(429, "Too many requests"),
    row(
        "429-soon",
        "429 with Retry-After of 0.2 seconds, once",
        fails(LIST, status=429, message="Too many requests", retry_after="0.2"),
    ),
    row(
        "429-late",
        "429 with Retry-After of an hour",
        fails(LIST, status=429, message="Too many requests", retry_after="3600", times=ALWAYS),
        Ends(7, ("60 minutes",)),
    ),
    *transient(500, "Internal error"),
    *transient(502, "Bad gateway"),
    *transient(503, "Unavailable"),
    row(
        "503-file",
        "503 to the request for a file, once",
        fails(DOWNLOAD, status=503, message="Unavailable"),
    ),
    row(
        "reset-list", "connection reset at the request for the list, once", fails(LIST, reset=True)
    ),
    row(
        "silent-list",
        "no answer to the request for the list, once",
        fails(LIST, wait=20.0, reset=True),
        set=PATIENCE,
    ),
    row(
        "login-page",
        "a login page of the network instead of the list",
        fails(LIST, body=b"<html>Log in</html>", content_type="text/html", times=ALWAYS),
        Ends(7),
    ),
    row(
        "error-in-200",
        "an error inside an answer with status 200",
        fails(LIST, body=b'{"code": 403, "message": "Permission denied"}', times=ALWAYS),
        Ends(7, ("Permission denied",)),
    ),
    row("elsewhere", "Kaggle's API redirects to another host", elsewhere, Ends(7)),
    row(
        "dns",
        "Kaggle's name cannot be looked up",
        no_proxy,
        Ends(7, ("looked up",)),
        hook={"unknown": ["localhost"]},
        mend=with_proxy,
    ),
    row(
        "dns-storage",
        "the storage's name cannot be looked up",
        storage_unknown,
        Ends(7, ("looked up",)),
        hook={"unknown": ["storage.invalid"]},
        mend=storage_known,
    ),
    row(
        "proxy-gone",
        "the proxy refuses connections",
        proxy_gone,
        Ends(7, ("proxy",)),
        mend=with_proxy,
    ),
    row(
        "proxy-nonsense",
        "the proxy's address is no address",
        env(http_proxy="http://[", https_proxy="http://["),
        Ends(7, ("proxy",)),
        mend=with_proxy,
    ),
    row(
        "clock-ahead",
        "Kaggle's clock is a day ahead, and it asks for a pause until its own now",
        clock(86_400),
    ),
    row(
        "clock-behind",
        "Kaggle's clock is a day behind, and it asks for a pause until its own now",
        clock(-86_400),
    ),
    row(
        "names",
        "3 pages of names: spaces, unicode, sub-folders, an empty file",
        more_files,
        fresh=True,
    ),
    row(
        "names-cut",
        "the same, each third answer cut",
        then(more_files, *[fails("storage", skip=2, truncate=1)] * 3),
        fresh=True,
    ),
    row("list-empty", "the list is empty", nothing_listed, Ends(7, ("lists no files",))),
    row(
        "unsafe-up",
        "a listed name leaves its folder: ../../x.h5",
        unsafe_name("../../x.h5"),
        Ends(3, ("unsafe",)),
        mend=safe_names,
    ),
    row(
        "unsafe-root",
        "a listed name is absolute: /etc/x.h5",
        unsafe_name("/etc/x.h5"),
        Ends(3, ("unsafe",)),
        mend=safe_names,
    ),
    row(
        "unsafe-part",
        "listed names that look like parts of a download",
        part_names,
        Ends(3, ("unsafe",)),
        fresh=True,
        mend=no_part_names,
    ),
    row(
        "one-of-several",
        "of several downloads at once one is refused by the storage, always",
        refuse_last,
        Ends(7, ("train.h5",)),
        fresh=True,
    ),
]
