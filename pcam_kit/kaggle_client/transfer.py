"""Downloads that end whole and checked, or not at all.

Bytes go to `NAME.part` beside the destination; what is known about them (where from, validator,
size, hashes) to `NAME.part.json`, written before the first byte. Every attempt asks Kaggle for a
fresh signed URL. Bytes are appended only to an answer 206 that starts where the part ends and is of
the same version (If-Range); anything else starts over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NoReturn

import requests
import urllib3

from pcam_kit.errors import PcamError, StorageError, TransferError
from pcam_kit.files import check_space, storage_error, sync_folder
from pcam_kit.kaggle_client.http import plain_session
from pcam_kit.kaggle_client.integrity import (
    BROKEN_ZIP,
    Tell,
    compare,
    crc32c,
    is_zip,
    unwrap,
    zip_fault,
)
from pcam_kit.kaggle_client.parts import (
    Version,
    beside,
    continued_size,
    discard_part,
    read_notes,
    size_of,
    version_of,
    write_notes,
)
from pcam_kit.kaggle_client.refusals import SAME_AGAIN, answered, unreachable
from pcam_kit.kaggle_client.retry import Patience, TransientError, asked_pause

Progress = Callable[[str, int, int], None]  # what, bytes done, bytes in all (0 when unknown)

CHUNK = 1 << 16  # the most bytes taken at once
START = 64  # bytes by which an error page or a zip is known
# bytes; an attempt that got this much further does not count as a failure, so slow lines finish
GAIN = 8 << 20
# less than this in that time is a connection that died without saying so
SLOW_SECONDS, SLOW_BYTES = 60.0, 16 << 10
PAGES = (b"<!doctype html", b"<html", b"<?xml")
PAGE_TYPES = {"text/html", "application/xml", "text/xml"}


@dataclass(frozen=True)
class Job:
    """One file to download. `locate` asks Kaggle for a signed URL (or the body itself).

    `size` in bytes, 0 when unknown. `room(total)` is how many bytes must be free on the disk for it
    when `total` are to come. `inspect`, for a zip, raises a PcamError when it must not be kept; it
    is called before any member is unpacked.
    """

    source: str
    name: str
    destination: Path
    locate: Callable[[], str | requests.Response]
    size: int
    progress: Progress | None
    inspect: Callable[[Path], None] | None = None
    room: Callable[[int], int] = int

    @property
    def part(self) -> Path:
        return beside(self.destination)[0]


def download(job: Job) -> str:
    """Fetch, check, rename; the CRC-32C of the file in hex.

    Raises KaggleError's kinds or StorageError.

    The part stays where going on from it makes sense.
    """
    patience, furthest = Patience(), 0
    try:
        job.destination.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                return _finish(job, _advance(job))
            except TransientError as failure:
                here = size_of(job.part)
                if here >= furthest + GAIN:
                    furthest, patience = here, Patience()
                patience.wait(failure)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, job.destination) from error


def _advance(job: Job) -> Version:
    """One attempt at getting the bytes that are missing; what the storage said of the file, when
    all are there.
    """
    version = read_notes(job.destination, job.source)
    have = size_of(job.part) if version is not None else 0
    if version is not None and have == version.total > 0:
        return version
    place = job.locate()
    # else sizes and hashes would be those of something else
    headers = {"Accept-Encoding": "identity"}
    if version is not None and have > 0:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.validator}
    try:
        if isinstance(place, requests.Response):  # the body itself, without a redirect
            with place as response:
                return _receive(job, response, None, 0)
        with (
            plain_session() as session,
            session.get(place, headers=headers, stream=True) as response,
        ):
            return _receive(job, response, version, have)
    # whose texts hold the signed URL: not chained
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise unreachable(
            error,
            place if isinstance(place, str) else "",
            kept="what was downloaded so far is kept",
        ) from None


def _receive(job: Job, response: requests.Response, version: Version | None, have: int) -> Version:
    """Write the body to the part: behind the `have` bytes there when it continues them, else from
    the start.
    """
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    match response.status_code:
        case 200 | 206 if kind in PAGE_TYPES and not _may_be_page(job):
            raise TransientError(_failed(job, "an error page came instead of the file"), weight=2)
        case 206 if (
            version is not None
            and have > 0
            and (size := continued_size(response, have, version)) > 0
        ):
            if version.total == 0:  # now it is told
                version = replace(version, total=size)
                write_notes(job.destination, version)
            check_space(job.destination.parent, version.total - have)
        case 200:
            discard_part(job.destination)
            version, have = version_of(response, job.source), 0
            # in a zip that will lie beside it for a moment
            wrapped = job.size if version.total != job.size else 0
            check_space(job.destination.parent, job.room(version.total) + wrapped)
            write_notes(job.destination, version)
        case 206 | 416:
            _reject(job, "the storage sent another part than the one asked for")
        case status:
            raise TransientError(
                _failed(job, f"the storage answered {answered(status)}"),
                after=asked_pause(response.headers),
            )
    done, total = have, version.total or job.size
    _tell(job, done, total)
    with open(job.part, "ab") as part:
        for chunk in _long_start(_arriving(job, response)):
            if done == 0:
                _check_start(job, version, chunk)
            part.write(chunk)
            done += len(chunk)
            _tell(job, done, total)
    if version.total and done != version.total:
        raise TransientError(_failed(job, f"{done:,} of {version.total:,} bytes arrived"))
    return version


def _arriving(job: Job, response: requests.Response) -> Iterator[bytes]:
    """The body in the pieces in which it comes.

    Raises TransientError where hardly anything comes, which no read timeout notices.
    """
    since, got = time.monotonic(), 0
    while data := response.raw.read1(CHUNK, decode_content=True):
        yield data
        got += len(data)
        now = time.monotonic()
        if now - since >= SLOW_SECONDS:
            if got < SLOW_BYTES:
                raise TransientError(
                    _failed(job, f"only {got:,} bytes arrived in {now - since:.0f} seconds")
                )
            since, got = now, 0


def _long_start(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, the first piece long enough to tell what it is the start of."""
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= START:
            break
    if first:
        yield first
    yield from pieces


def _check_start(job: Job, version: Version, chunk: bytes) -> None:
    """Refuse what cannot become the file before all of it is fetched: an error page, or a body of
    another size that is no zip.
    """
    if chunk[:START].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(PAGES) and not _may_be_page(
        job
    ):
        _reject(job, "an error page came instead of the file")
    if 0 < job.size != version.total > 0 and not chunk.startswith(b"PK"):
        _reject(job, f"{version.total:,} bytes were announced where Kaggle lists {job.size:,}")


def _finish(job: Job, version: Version) -> str:
    """Check the part and rename it; its CRC-32C. What fails a check is thrown away: going on from
    it could not mend it.
    """
    size = size_of(job.part)
    wrong, crc = compare(job.part, version.hashes, _verifying(job))
    if wrong:
        _reject(job, f"the bytes that arrived are not those Kaggle has ({wrong})")
    if job.inspect is not None:
        _check_archive(job, job.inspect)
    try:
        unwrapped = (
            size != job.size
            and job.inspect is None
            and unwrap(job.part, job.name, job.size, job.destination)
        )
    except BROKEN_ZIP as error:
        _reject(job, f"the zip around it cannot be unpacked ({error})")
    if unwrapped:
        crc = crc32c(job.destination, _verifying(job))
    elif 0 < job.size != size:
        _reject(job, f"{size:,} bytes arrived where Kaggle lists {job.size:,}")
    else:
        with open(job.part, "rb") as part:
            os.fsync(part.fileno())
        job.part.replace(job.destination)
        sync_folder(job.destination.parent)
    discard_part(job.destination)
    return crc


def _check_archive(job: Job, inspect: Callable[[Path], None]) -> None:
    if not is_zip(job.part):
        _reject(job, "what arrived is not a whole zip")
    try:
        inspect(job.part)
    except PcamError:
        discard_part(job.destination)
        raise
    if fault := zip_fault(job.part, _verifying(job)):
        _reject(job, f"what arrived is not a whole zip ({fault})")


def _may_be_page(job: Job) -> bool:
    return PurePosixPath(job.name).suffix.lower() in {".html", ".htm", ".xml", ".svg"}


def _tell(job: Job, done: int, total: int) -> None:
    if job.progress is not None:
        job.progress(job.name, done, total)


def _verifying(job: Job) -> Tell:
    def tell(done: int, total: int) -> None:
        if job.progress is not None:
            job.progress(f"verifying {job.name}", done, total)

    return tell


def _reject(job: Job, why: str) -> NoReturn:
    discard_part(job.destination)
    raise TransientError(_failed(job, why), weight=2)


def _failed(job: Job, why: str) -> TransferError:
    resumes = "; it goes on where it stopped" if size_of(job.part) > 0 else ""
    return TransferError(f"could not download {job.name}: {why}", hint=f"{SAME_AGAIN}{resumes}")
