"""Kaggle through its official client: list, download, submit, poll. The only part of this package that imports `kaggle`.

    downloads.py    the files of a competition or a dataset: listed, downloaded
    submitting.py   a submission: sent once, looked up, followed
    transfer.py     downloads: resume, verify, rename
    session.py      the official client, held so that it cannot print, hang, exit or close stdin
    credentials.py  which credentials there are and which of them win, told without importing `kaggle`
    refusals.py     what Kaggle answered -> one error with a hint
    retry.py        how often and how long to wait

Every failure is a KaggleError (CredentialsError, AccessError, TransferError), or a StorageError where the disk is at fault.
"""

from __future__ import annotations

from pcam_kit.kaggle_client.credentials import credentials_source
from pcam_kit.kaggle_client.downloads import RemoteFile, download_all, download_file, list_files
from pcam_kit.kaggle_client.submitting import (
    Limits,
    RemoteSubmission,
    get_submission,
    list_submissions,
    submission_limits,
    submit_file,
)
from pcam_kit.kaggle_client.transfer import Progress, discard_part

__all__ = [
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
