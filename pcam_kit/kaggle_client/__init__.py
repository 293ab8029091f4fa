"""Kaggle through its official client: list, download, submit, poll.

The only part of this package that imports `kaggle`.

    account.py           does Kaggle answer; a competition's rules, deadline and limits
    downloads.py         the files of a competition or a dataset: listed, downloaded
    submitting.py        a submission: sent once, its score
    submission_list.py   a submission whose number was lost: found in Kaggle's list
    transfer.py          one download: resume, verify, rename
    parts.py             an unfinished download, and whether an answer continues it
    integrity.py         hashes and zip checksums
    session.py           the official client, wrapped so that it cannot print, hang or exit
    request.py           a request in kagglesdk's names, also one that kagglesdk is too old for
    http.py              requests that end: timeouts, sessions without credentials
    credentials.py       which credentials exist and which are used, without importing `kaggle`
    obstacles.py         proxies and certificates between this machine and Kaggle
    refusals.py          what Kaggle answered -> one error with a hint
    retry.py             how often and how long to wait

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
    display_path,
    exposed_files,
    find_faults,
    find_sources,
    key_file,
)
from pcam_kit.kaggle_client.downloads import RemoteFile, download_all, download_file, list_files
from pcam_kit.kaggle_client.http import Probe, kaggle_now, probe
from pcam_kit.kaggle_client.integrity import crc32c, zip_fault
from pcam_kit.kaggle_client.parts import discard_part, part_size
from pcam_kit.kaggle_client.submission_list import (
    LostSubmission,
    find_submission,
    matching_submissions,
)
from pcam_kit.kaggle_client.submitting import (
    Limits,
    RemoteStatus,
    RemoteSubmission,
    Upload,
    get_submission,
    submission_limits,
    submit_upload,
    upload_csv,
)

__all__ = [
    "CompetitionState",
    "Limits",
    "LostSubmission",
    "Probe",
    "RemoteFile",
    "RemoteStatus",
    "RemoteSubmission",
    "Upload",
    "competition_state",
    "crc32c",
    "credentials_source",
    "discard_part",
    "display_path",
    "download_all",
    "download_file",
    "exposed_files",
    "find_faults",
    "find_sources",
    "find_submission",
    "get_submission",
    "kaggle_now",
    "key_file",
    "list_files",
    "matching_submissions",
    "may_download",
    "part_size",
    "probe",
    "sign_in",
    "submission_limits",
    "submit_upload",
    "upload_csv",
    "zip_fault",
]
