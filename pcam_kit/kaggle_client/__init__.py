"""Kaggle through its official client: list, download, submit, poll.

The only part of this package that imports `kaggle`.

    account.py           does Kaggle answer; a competition's rules, deadline and limits
    downloads.py         the files of a competition or a dataset: listed, downloaded
    submitting.py        a submission: sent once, its score
    submission_list.py   a submission whose number was lost: found in Kaggle's list
    session.py           the official client, wrapped so that it cannot print, hang or exit
    request.py           a request in kagglesdk's names, also one that kagglesdk is too old for
    http.py              its answers: read within limits, their time remembered
    credentials.py       which credentials exist and which are used, without importing `kaggle`
    refusals.py          what Kaggle answered -> one error with a hint

The bytes are streamed, resumed and checked by `downloads`.

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
from pcam_kit.kaggle_client.downloads import download_all, download_file, list_files
from pcam_kit.kaggle_client.http import kaggle_now
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
    "RemoteStatus",
    "RemoteSubmission",
    "Upload",
    "competition_state",
    "credentials_source",
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
    "sign_in",
    "submission_limits",
    "submit_upload",
    "upload_csv",
]
