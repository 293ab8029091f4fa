"""Downloads over HTTP that end complete and checked, or not at all.

    transfer.py    one download: resume, verify, rename
    mirrors.py     a published file: from the first of its addresses that gives it
    parts.py       an unfinished download, and whether an answer continues it
    integrity.py   hashes and zip checksums
    http.py        requests that end: timeouts, sessions without credentials
    obstacles.py   proxies and certificates between this machine and a server
    failures.py    a connection that failed -> one error with a hint
    retry.py       how often and how long to wait

Every failure is a TransferError, or a StorageError where the disk is at fault.
"""

from __future__ import annotations

from pcam_kit.downloads.http import Probe, probe
from pcam_kit.downloads.integrity import compare_hashes, crc32c, zip_fault
from pcam_kit.downloads.mirrors import Mirrors
from pcam_kit.downloads.parts import discard_part, part_size
from pcam_kit.downloads.transfer import RemoteFile

__all__ = [
    "Mirrors",
    "Probe",
    "RemoteFile",
    "compare_hashes",
    "crc32c",
    "discard_part",
    "part_size",
    "probe",
    "zip_fault",
]
