"""Faults of a download.

The file is train.h5, 300,000 bytes; two other files were finished before.
"""

from __future__ import annotations

from typing import Any

from acts import fails, served, then
from loopback import ALWAYS, EXPIRED
from rows import FINE, Act, Ends, Row
from world import SIZE, World

TRAIN = "train.h5"
HALF = SIZE // 2
GIVES_UP = Ends(7, (f"could not download {TRAIN}",))
SLOW = "pcam_kit.downloads.transfer."
PATIENCE = {"pcam_kit.downloads.http.READ_TIMEOUT": 0.6}


def storage(**how: Any) -> Act:
    """A fault of the next answer of the storage about train.h5."""

    def act(world: World) -> None:
        world.kaggle.fail("storage", name=TRAIN, **how)

    return act


def change_file(world: World) -> None:
    """Another version of train.h5, as long as the one before: what HDF5 files end with is not read,
    so the store stays the same.
    """
    path = world.remote / TRAIN
    path.write_bytes(path.read_bytes()[:-1000] + b"z" * 1000)


def cut_then_change(world: World) -> None:
    world.kaggle.fail("storage", name=TRAIN, truncate=HALF, then=lambda: change_file(world))


def row(id: str, fault: str, arrange: Act, ends: Ends = FINE, **more: Any) -> Row:
    return Row(id, "downloads", fault, arrange, ends, **more)


def to_another_host(world: World) -> None:
    world.kaggle.other_hosts = {"elsewhere.test"}
    world.competition.storage_host = "elsewhere.test"


def storage_redirects(world: World) -> None:
    """The storage sends on to another host, which serves."""
    world.kaggle.other_hosts = {"elsewhere.test"}
    world.kaggle.serve("other", world.remote)
    url = world.kaggle.sign(world.kaggle._competitions["other"], TRAIN).replace(
        world.kaggle.url, "http://elsewhere.test"
    )
    world.kaggle.fail("storage", name=TRAIN, status=302, body=b"", location=url)


ROWS = [
    row("cut-0", "body cut before its first byte", storage(truncate=0)),
    row("cut-1", "body cut after 1 byte", storage(truncate=1)),
    row("cut-half", "body cut in the middle", storage(truncate=HALF)),
    row("cut-last", "body cut before its last byte", storage(truncate=SIZE - 1)),
    row(
        "cut-always",
        "body cut after 1,000 bytes, at every attempt",
        storage(truncate=1000, times=ALWAYS),
        Ends(7),
    ),
    row(
        "promise-less", "header promises fewer bytes than are sent, once", storage(promise=200_000)
    ),
    row(
        "promise-less-always",
        "header promises fewer bytes than are sent, always",
        storage(promise=200_000, times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "promise-more",
        "header promises more bytes than are sent, once",
        storage(promise=SIZE + 500),
    ),
    row(
        "promise-more-always",
        "header promises more bytes than are sent, always",
        storage(promise=SIZE + 500, times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "short",
        "half the body, headers that agree with it, no hash, once",
        then(served(hashes=False), storage(short=HALF)),
    ),
    row(
        "short-always",
        "half the body, headers that agree with it, no hash, always",
        then(served(hashes=False), storage(short=HALF, times=ALWAYS)),
        GIVES_UP,
    ),
    row(
        "short-unlisted",
        "the same where Kaggle lists no size: nothing tells that the body is short",
        then(served(hashes=False, listed={TRAIN: 0}), storage(short=HALF)),
        Ends(3, (TRAIN,)),
    ),
    row(
        "no-length",
        "no Content-Length, the end is the end of the connection",
        storage(framing="close"),
    ),
    row(
        "no-length-cut",
        "no Content-Length, connection ends in the middle",
        storage(framing="close", truncate=HALF),
    ),
    row("chunked", "chunked body", storage(framing="chunked")),
    row("chunked-cut", "chunked body cut in the middle", storage(framing="chunked", truncate=HALF)),
    row("corrupt", "one byte differs from the md5 told, once", storage(corrupt=True)),
    row(
        "corrupt-always",
        "one byte differs from the md5 told, always",
        storage(corrupt=True, times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "corrupt-crc32c",
        "one byte differs from the crc32c told (no md5), once",
        storage(corrupt=True, md5="absent"),
    ),
    row(
        "corrupt-crc32c-always",
        "one byte differs from the crc32c told (no md5), always",
        storage(corrupt=True, md5="absent", times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "wrong-md5",
        "right bytes, wrong md5 told, always",
        storage(md5="wrong", times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "wrong-crc32c",
        "right bytes, wrong crc32c told (no md5), always",
        storage(md5="absent", crc32c="wrong", times=ALWAYS),
        GIVES_UP,
    ),
    row("no-hash", "no hash told", served(hashes=False)),
    row(
        "expired",
        "cut in the middle, then the signed URL has expired (403 and an error page)",
        then(
            storage(truncate=HALF),
            storage(status=403, body=EXPIRED, content_type="application/xml"),
        ),
    ),
    row(
        "expired-200",
        "cut in the middle, then an error page with status 200",
        then(storage(truncate=HALF), storage(body=EXPIRED, content_type="application/xml")),
    ),
    row(
        "expired-206",
        "cut in the middle, then an error page with status 206, sent as if it were data",
        then(
            storage(truncate=HALF),
            storage(status=206, body=EXPIRED, content_type="application/octet-stream"),
        ),
    ),
    row(
        "expired-always",
        "every signed URL has expired",
        storage(status=403, body=EXPIRED, times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "page-always",
        "an error page with status 200 instead of the file, always",
        storage(body=EXPIRED, content_type="application/octet-stream", times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "changed",
        "cut in the middle, and the file is another one at the next attempt",
        cut_then_change,
    ),
    row(
        "range-ignored",
        "cut in the middle, then the range is ignored (200)",
        then(storage(truncate=HALF), storage(ignore_range=True)),
    ),
    row(
        "range-wrong",
        "cut in the middle, then another range than asked for",
        then(storage(truncate=HALF), storage(wrong_range=True)),
    ),
    row(
        "range-416",
        "cut in the middle, then 416",
        then(storage(truncate=HALF), storage(status=416, body=b"")),
    ),
    row("reset", "connection reset, once", storage(reset=True)),
    row(
        "reset-always",
        "connection reset, always",
        storage(reset=True, times=ALWAYS),
        Ends(7, ("cannot reach Kaggle",)),
    ),
    row("stall", "silence in the middle of the body, once", storage(stall=HALF), set=PATIENCE),
    row(
        "stall-always",
        "silence after 1,000 bytes, always",
        storage(stall=1000, times=ALWAYS),
        Ends(7),
        set=PATIENCE,
        slow=True,
    ),
    row(
        "silent", "silence instead of an answer, once", storage(wait=20.0, reset=True), set=PATIENCE
    ),
    row(
        "drip",
        "100 bytes every 0.02 s, once",
        storage(drip=(100, 0.02)),
        set={f"{SLOW}SLOW_SECONDS": 0.2, f"{SLOW}SLOW_BYTES": 16 << 10},
        rough=True,
    ),
    row(
        "drip-always",
        "100 bytes every 0.02 s, always",
        storage(drip=(100, 0.02), times=ALWAYS),
        GIVES_UP,
        set={f"{SLOW}SLOW_SECONDS": 0.2, f"{SLOW}SLOW_BYTES": 16 << 10},
        rough=True,
        slow=True,
    ),
    row("storage-503", "the storage answers 503, once", storage(status=503, body=b"")),
    row(
        "storage-503-always",
        "the storage answers 503, always",
        storage(status=503, body=b"", times=ALWAYS),
        GIVES_UP,
    ),
    row(
        "storage-404",
        "the storage answers 404, always",
        storage(status=404, body=b"", times=ALWAYS),
        GIVES_UP,
    ),
    row("other-host", "the signed URL is of another host", to_another_host),
    row("redirect-host", "the storage redirects to another host", storage_redirects),
    row(
        "zipped",
        "Kaggle sends the file as a zip of itself, cut in the middle",
        then(served(zipped=frozenset({TRAIN})), storage(truncate=HALF)),
    ),
    row(
        "zipped-corrupt",
        "Kaggle sends the file as a zip of itself, damaged, no hash, always",
        then(served(zipped=frozenset({TRAIN}), hashes=False), storage(corrupt=True, times=ALWAYS)),
        GIVES_UP,
    ),
    row(
        "direct",
        "the file comes without a redirect, cut in the middle",
        then(served(direct=True), fails("DownloadDataFile", truncate=HALF)),
    ),
]
