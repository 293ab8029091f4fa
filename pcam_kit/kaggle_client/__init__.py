"""Kaggle through its official client: list, download, submit, poll.

The only part of this package that imports `kaggle`.

    account.py           does Kaggle answer; a competition's rules, deadline and limits
    downloads.py         the files of a competition or a dataset: listed, downloaded
    submitting.py        a submission: sent once, its score
    kernels.py           a notebook that runs at Kaggle: pushed once, followed, its output
    datasets.py          a private dataset: whether there is one, how it is made
    uploads.py           bytes to the address that Kaggle gives for them
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
from pcam_kit.kaggle_client.datasets import create_dataset, dataset_status
from pcam_kit.kaggle_client.downloads import download_all, download_file, list_files
from pcam_kit.kaggle_client.http import kaggle_now
from pcam_kit.kaggle_client.kernels import (
    KernelSource,
    KernelStatus,
    Quota,
    download_output,
    gpu_quota,
    kernel_log,
    kernel_status,
    push_kernel,
)
from pcam_kit.kaggle_client.session import user_name
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
    "KernelSource",
    "KernelStatus",
    "Limits",
    "LostSubmission",
    "Quota",
    "RemoteStatus",
    "RemoteSubmission",
    "Upload",
    "competition_state",
    "create_dataset",
    "credentials_source",
    "dataset_status",
    "display_path",
    "download_all",
    "download_file",
    "download_output",
    "exposed_files",
    "find_faults",
    "find_sources",
    "find_submission",
    "get_submission",
    "gpu_quota",
    "kaggle_now",
    "kernel_log",
    "kernel_status",
    "key_file",
    "list_files",
    "matching_submissions",
    "may_download",
    "push_kernel",
    "sign_in",
    "submission_limits",
    "submit_upload",
    "upload_csv",
    "user_name",
]
