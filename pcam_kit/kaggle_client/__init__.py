"""Kaggle through its official client: list, download, submit, poll. The only part of this package that imports `kaggle`.

    service.py      the calls, as functions on plain dataclasses
    transfer.py     downloads: resume, verify, rename
    session.py      the official client, held so that it cannot print, hang, exit or close stdin
    credentials.py  which credentials there are and which of them win, told without importing `kaggle`
    refusals.py     what Kaggle answered -> one error with a hint
    retry.py        how often and how long to wait

Every failure is a KaggleError (CredentialsError, AccessError, TransferError), or a StorageError where the disk is at fault.
"""

from __future__ import annotations

from pcam_kit.kaggle_client.credentials import credentials_source
from pcam_kit.kaggle_client.service import (
    FileListing,
    Limits,
    RemoteFile,
    RemoteSubmission,
    download_all,
    download_file,
    get_submission,
    list_files,
    list_submissions,
    submission_limits,
    submit_file,
)
from pcam_kit.kaggle_client.transfer import Progress, discard_part

__all__ = [
    "FileListing",
    "Limits",
    "Progress",
    "RemoteFile",
    "RemoteSubmission",
    "credentials_source",
    "discard_part",
    "download_all",
    "download_file",
    "get_submission",
    "list_files",
    "list_submissions",
    "submission_limits",
    "submit_file",
]
