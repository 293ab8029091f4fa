"""Kaggle through its official client: list, download, submit, poll.

The only part of this package that imports `kaggle`.

    account.py      does Kaggle answer; a competition's rules, deadline and limits
    downloads.py    the files of a competition or a dataset: listed, downloaded
    submitting.py   a submission: sent once, looked up, followed
    transfer.py     one download: resume, verify, rename
    parts.py        an unfinished download, and whether an answer continues it
    integrity.py    hashes and zip checksums
    session.py      the official client, held so that it cannot print, hang, exit or close stdin
    http.py         requests that end: timeouts, sessions without credentials
    credentials.py  which credentials exist and which win, without importing `kaggle`
    refusals.py     what Kaggle answered -> one error with a hint
    retry.py        how often and how long to wait

Every failure is a KaggleError (CredentialsError, AccessError, TransferError), or a StorageError
where the disk is at fault.
"""

from __future__ import annotations

from pcam_kit.kaggle_client.account import (
    CompetitionState,
    competition_state,
    may_download,
    sign_in,
)
from pcam_kit.kaggle_client.credentials import (
    credentials_source,
    exposed_files,
    find_sources,
    key_file,
    shown,
)
from pcam_kit.kaggle_client.downloads import RemoteFile, download_all, download_file, list_files
from pcam_kit.kaggle_client.http import Glance, glance
from pcam_kit.kaggle_client.integrity import crc32c, zip_fault
from pcam_kit.kaggle_client.parts import discard_part, part_size
from pcam_kit.kaggle_client.submitting import (
    Limits,
    LostSubmission,
    RemoteSubmission,
    find_submission,
    get_submission,
    submission_limits,
    submissions_alike,
    submit_file,
)
from pcam_kit.kaggle_client.transfer import Progress

__all__ = [
    "CompetitionState",
    "Glance",
    "Limits",
    "LostSubmission",
    "Progress",
    "RemoteFile",
    "RemoteSubmission",
    "competition_state",
    "crc32c",
    "credentials_source",
    "discard_part",
    "download_all",
    "download_file",
    "exposed_files",
    "find_sources",
    "find_submission",
    "get_submission",
    "glance",
    "key_file",
    "list_files",
    "may_download",
    "part_size",
    "shown",
    "sign_in",
    "submission_limits",
    "submissions_alike",
    "submit_file",
    "zip_fault",
]
