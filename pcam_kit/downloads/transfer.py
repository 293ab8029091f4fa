"""Downloads that end complete and checked, or not at all.

Bytes go to `NAME.part` beside the destination. What is known about them (source, validator, size,
hashes) goes to `NAME.part.json`, before the first byte. Every attempt asks for the address anew:
Kaggle signs one for each. Bytes are appended only from an answer 206 that starts where the part
ends and is of the same version (If-Range; of published files the md5 tells at the end); any other
answer starts over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NoReturn

import requests
import urllib3

from pcam_kit.downloads.failures import SAME_AGAIN, TRANSIENT, status_text, unreachable
from pcam_kit.downloads.http import plain_session
from pcam_kit.downloads.integrity import (
    compare_hashes,
    crc32c,
    is_broken_zip,
    is_zip,
    unwrap,
    zip_fault,
)
from pcam_kit.downloads.obstacles import Server
from pcam_kit.downloads.parts import (
    Version,
    continued_size,
    discard_part,
    file_size,
    part_paths,
    read_notes,
    version_of,
    write_notes,
)
from pcam_kit.downloads.retry import ATTEMPTS, RetryBudget, TransientError, retry_after
from pcam_kit.errors import PcamError, StorageError, TransferError
from pcam_kit.files import check_space, move, storage_error, sync_file, sync_folder
from pcam_kit.parsing import open_own, reason_of
from pcam_kit.progress import Progress

CHUNK = 1 << 16  # the most bytes read at once
START = 64  # bytes that are enough to recognise an error page or a zip
# bytes; an attempt that gains this much does not count as a failure, so slow connections finish
GAIN = 8 << 20
# fewer bytes in that time: the connection is dead without having been closed
SLOW_SECONDS, SLOW_BYTES = 60.0, 16 << 10
PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml")
PAGE_TYPES = {"text/html", "application/xml", "text/xml"}


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source.

    name: with its folders ("train/a.tif"). size: in bytes, 0 when it is not known. md5: as
    published, in hex, "" when there is none.
    """

    name: str
    size: int
    md5: str = ""


@dataclass(frozen=True)
class Job:
    """One file to download.

    source: names what is downloaded, in the notes about the part. server: who is asked. lister: who
    told size and md5. locate: gives the address, or the body itself. size: in bytes, 0 when
    unknown. inspect: for a zip, raises a PcamError when it must not be kept; called before any
    member is unpacked. room: how many bytes must be free on the disk when so many are to come.

    md5: of a published file, in hex, else "". It tells whether the bytes are right, so any server
    can continue a part, and a server that sent others is not asked again.
    """

    source: str
    name: str
    destination: Path
    server: Server
    lister: str
    locate: Callable[[], str | requests.Response]
    size: int
    progress: Progress | None
    md5: str = ""
    inspect: Callable[[Path], None] | None = None
    room: Callable[[int], int] = int

    @property
    def part(self) -> Path:
        """The file for the bytes that have arrived."""
        part, _ = part_paths(self.destination)
        return part

    @property
    def may_be_page(self) -> bool:
        """Is the file itself HTML or XML, and so looks like an error page?"""
        return PurePosixPath(self.name).suffix.lower() in {".html", ".htm", ".xml", ".svg"}

    def report(self, done: int, total: int) -> None:
        """Report `done` of `total` bytes downloaded."""
        if self.progress is not None:
            self.progress(self.name, done, total)

    def report_verified(self, done: int, total: int) -> None:
        """Report `done` of `total` bytes verified."""
        if self.progress is not None:
            self.progress(f"verifying {self.name}", done, total)


def download(job: Job) -> str:
    """Download, check and rename a file; its CRC-32C in hex.

    Raises TransferError, StorageError, or what `locate` and `inspect` raise. The part is kept where
    a later attempt can resume from it.
    """
    budget, furthest = RetryBudget(), 0
    try:
        job.destination.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                return _finish(job, _download_rest(job))
            except TransientError as failure:
                size = file_size(job.part)
                if size >= furthest + GAIN:
                    furthest, budget = size, RetryBudget()
                budget.wait(failure)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, job.destination) from error


def _download_rest(job: Job) -> Version:
    """One attempt at downloading the missing bytes; the version of the file once all are there."""
    version = read_notes(job.destination, job.source)
    have = file_size(job.part) if version is not None else 0
    if version is not None and have == version.total > 0:
        return version
    location = job.locate()
    # compressed, it would have other sizes and hashes than those announced
    headers = {"Accept-Encoding": "identity"}
    if version is not None and have > 0:
        headers["Range"] = f"bytes={have}-"
        if version.validator:
            headers["If-Range"] = version.validator
    try:
        if isinstance(location, requests.Response):  # the body itself, without a redirect
            with location as response:
                return _receive(job, response, None, 0)
        with (
            plain_session() as session,
            session.get(location, headers=headers, stream=True) as response,
        ):
            return _receive(job, response, version, have)
    # not chained: their texts contain the signed URL
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        url = location if isinstance(location, str) else ""
        note = "what was downloaded so far is kept"
        raise unreachable(error, job.server, url, note=note) from None


def _receive(job: Job, response: requests.Response, version: Version | None, have: int) -> Version:
    """Write the body to the part, after its `have` bytes if it continues them, else from the start.

    Returns the version of the file. Raises TransientError, StorageError.
    """
    version, have = _prepare_part(job, response, version, have)
    done, total = have, version.total or job.size
    job.report(done, total)
    chunks = _long_start(_read_body(job, response))
    start = next(chunks, b"")
    if done == 0 and start:
        # before the part is opened: Windows deletes no open file
        _check_start(job, version, start)
    with open_own(job.part, "a") as part:
        for chunk in chain([start], chunks):
            part.write(chunk)
            done += len(chunk)
            job.report(done, total)
    if version.total and done != version.total:
        raise TransientError(_failure(job, f"{done:,} of {version.total:,} bytes arrived"))
    return version


def _prepare_part(
    job: Job, response: requests.Response, version: Version | None, have: int
) -> tuple[Version, int]:
    """Decide by the headers whether the body continues the part, and check the space on the disk.

    Returns the version of the file, and the size of the part to which the body is appended.
    """
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    status = response.status_code
    if status in (200, 206) and content_type in PAGE_TYPES and not job.may_be_page:
        raise TransientError(_failure(job, "an error page came instead of the file"), weight=2)
    if status == 206 and version is not None and have > 0:
        size = continued_size(response, have, version)
        if size > 0:
            if version.total == 0:  # it was not reported before
                version = replace(version, total=size)
                write_notes(job.destination, version)
            check_space(job.destination.parent, version.total - have)
            return version, have
    if status == 200:
        discard_part(job.destination)
        version = version_of(response, job.source)
        if job.md5:
            total = version.total or job.size
            version = Version(job.source, "", total, {"md5": job.md5}, fixed=True)
        # a zip is beside the file while it is unpacked
        unpacked = job.size if version.total != job.size else 0
        check_space(job.destination.parent, job.room(version.total) + unpacked)
        write_notes(job.destination, version)
        return version, 0
    if status in (206, 416):
        _reject(job, "the storage sent another part than the one asked for")
    # a signed URL expires, and the next one may do; an address that is fixed stays wrong
    final = bool(job.md5) and 400 <= status < 500 and status not in TRANSIENT
    raise TransientError(
        _failure(job, f"the storage answered {status_text(status)}"),
        after=retry_after(response.headers),
        weight=ATTEMPTS if final else 1,
    )


def _read_body(job: Job, response: requests.Response) -> Iterator[bytes]:
    """The body, in the pieces in which it arrives.

    Raises TransientError when hardly anything arrives, which no read timeout notices.
    """
    since, received = time.monotonic(), 0
    while data := response.raw.read1(CHUNK, decode_content=True):
        yield data
        received += len(data)
        now = time.monotonic()
        if now - since >= SLOW_SECONDS:
            if received < SLOW_BYTES:
                raise TransientError(
                    _failure(job, f"only {received:,} bytes arrived in {now - since:.0f} seconds")
                )
            since, received = now, 0


def _long_start(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, with a first piece of at least START bytes if there are as many."""
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= START:
            break
    if start:
        yield start
    yield from pieces


def _check_start(job: Job, version: Version, chunk: bytes) -> None:
    """Reject what cannot become the file before all of it is downloaded.

    That is an error page, or a body of another size that is no zip.
    """
    text = chunk[:START].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith(PAGE_STARTS) and not job.may_be_page:
        _reject(job, "an error page came instead of the file")
    if 0 < job.size != version.total > 0 and not chunk.startswith(b"PK"):
        announced = f"{version.total:,} bytes were announced"
        _reject(job, f"{announced} where {job.lister} lists {job.size:,}")


def _finish(job: Job, version: Version) -> str:
    """Check the part and rename it; its CRC-32C in hex.

    A part that fails a check is deleted, as resuming could not fix it.
    """
    size = file_size(job.part)
    expected = {"md5": job.md5} if job.md5 else version.hashes
    different, crc = compare_hashes(job.part, expected, job.report_verified)
    if different:
        _reject(
            job,
            f"other bytes arrived than {job.lister} lists ({different})",
            weight=ATTEMPTS if job.md5 else 2,
        )
    if job.inspect is not None:
        _check_archive(job, job.inspect)
    if _unwrap(job, size):
        crc = crc32c(job.destination, job.report_verified)
    elif 0 < job.size != size:
        _reject(job, f"{size:,} bytes arrived where {job.lister} lists {job.size:,}")
    else:
        sync_file(job.part)
        move(job.part, job.destination)
        sync_folder(job.destination.parent)
    discard_part(job.destination)
    return crc


def _unwrap(job: Job, size: int) -> bool:
    """Unpack a part of `size` bytes to the destination if Kaggle put the file into a zip."""
    if size == job.size or job.inspect is not None or job.md5:
        return False
    try:
        return unwrap(job.part, job.name, job.size, job.destination)
    except Exception as error:
        if not is_broken_zip(error):
            raise
        _reject(job, f"the zip around it cannot be unpacked ({reason_of(error)})")


def _check_archive(job: Job, inspect: Callable[[Path], None]) -> None:
    if not is_zip(job.part):
        _reject(job, "what arrived is not a whole zip")
    try:
        inspect(job.part)
    except PcamError:
        discard_part(job.destination)
        raise
    fault = zip_fault(job.part, job.report_verified)
    if fault:
        _reject(job, f"what arrived is not a whole zip ({fault})")


def _reject(job: Job, reason: str, weight: int = 2) -> NoReturn:
    """Delete the part. Raises TransientError, which counts twice: another attempt hardly helps."""
    discard_part(job.destination)
    raise TransientError(_failure(job, reason), weight=weight)


def _failure(job: Job, reason: str) -> TransferError:
    resumes = "; it goes on where it stopped" if file_size(job.part) > 0 else ""
    return TransferError(f"could not download {job.name}: {reason}", hint=f"{SAME_AGAIN}{resumes}")
