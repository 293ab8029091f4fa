"""Published files, which several addresses have: the first that gives one is enough."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from pcam_kit.downloads import transfer
from pcam_kit.downloads.obstacles import Server
from pcam_kit.downloads.transfer import RemoteFile
from pcam_kit.errors import TransferError, UnreachableError
from pcam_kit.progress import Progress

log = logging.getLogger(__name__)


class Mirrors:
    """Addresses of the same files, in the order in which they are tried.

    addresses: URLs with `{name}` for the name of the file. One that failed is tried last from then
    on. May be used from several threads.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._failures: Counter[str] = Counter()
        self._told: set[str] = set()

    def download(
        self, file: RemoteFile, destination: Path, *, progress: Progress | None = None
    ) -> str:
        """Download one file, whose md5 is known, to `destination`; its CRC-32C in hex.

        Resumes an earlier attempt, whichever address its bytes are from. Raises TransferError when
        no address gives the file, or StorageError.
        """
        failed: dict[str, TransferError] = {}
        waiting = sorted(self._addresses, key=lambda address: self._failures[address])
        while waiting:
            address = waiting.pop(0)
            try:
                return transfer.download(_job(file, destination, address, progress))
            except TransferError as error:
                self._failures[address] += 1
                failed[address] = error
                if isinstance(error, UnreachableError):
                    host = urlsplit(address).netloc
                    waiting = [other for other in waiting if urlsplit(other).netloc != host]
                if waiting:
                    self._tell(f"{error} ({_place(address)}); trying {_place(waiting[0])}")
        *_, last = failed.values()
        if len(failed) == 1:
            raise last
        reasons = [f"{_place(address)}: {error}" for address, error in failed.items()]
        text = "\n  ".join([f"no address gives {file.name}", *reasons])
        raise TransferError(text, hint=last.hint) from last

    def _tell(self, text: str) -> None:
        """Log a warning once: files that come at the same time fail for the same reason."""
        if text not in self._told:
            self._told.add(text)
            log.warning(text)


def _job(
    file: RemoteFile, destination: Path, address: str, progress: Progress | None
) -> transfer.Job:
    return transfer.Job(
        source=f"md5:{file.md5}",
        name=file.name,
        destination=destination,
        server=Server(),
        lister="the profile",
        locate=partial(str, address.replace("{name}", quote(file.name))),
        size=file.size,
        progress=progress,
        md5=file.md5,
    )


def _place(address: str) -> str:
    """Host and path of an address: the rest may hold a password."""
    parts = urlsplit(address)
    return f"{parts.hostname}{parts.path}"
