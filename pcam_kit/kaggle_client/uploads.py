"""Bytes to the address that Kaggle gives for them, without credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from pcam_kit.downloads import retry
from pcam_kit.downloads.failures import SAME_AGAIN, status_text, unreachable
from pcam_kit.downloads.http import plain_session
from pcam_kit.errors import KaggleError, TransferError
from pcam_kit.files import storage_error
from pcam_kit.kaggle_client.refusals import KAGGLE, PACK_HINT, Subject
from pcam_kit.kaggle_client.request import Request
from pcam_kit.kaggle_client.session import call_once


def upload(path: Path, about: Subject) -> str:
    """Upload a file for a dataset; its token. Tried again while that may help.

    Raises KaggleError, StorageError.
    """
    from kagglesdk.blobs.types.blob_api_service import ApiBlobType

    try:
        data, modified = path.read_bytes(), int(path.stat().st_mtime)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    fields: dict[str, Any] = {
        "type": ApiBlobType.DATASET,
        "name": path.name,
        "content_length": len(data),
        "last_modified_epoch_seconds": modified,
    }
    request = Request("start_blob_upload", "ApiStartBlobUploadRequest", fields, "blobs")
    return retry.with_retries(lambda: put(request, path.name, data, about))


def put(request: Request, name: str, data: bytes, about: Subject) -> str:
    """Ask for an address with `request`, send the bytes there; their token.

    Raises TransientError, KaggleError.
    """
    target = call_once(request, about)
    if not target.create_url or not target.token:
        raise KaggleError(
            f"Kaggle gave no address to upload {name} to",
            hint=f"wait a few minutes, then {SAME_AGAIN}",
        )
    try:
        with plain_session() as session, session.put(target.create_url, data=data) as response:
            status, pause = response.status_code, retry.retry_after(response.headers)
    except requests.RequestException as error:  # not chained: its text contains the signed URL
        raise unreachable(error, KAGGLE, target.create_url) from None
    consequence = "; nothing was submitted" if about.submits else ""
    if status == 413:
        raise TransferError(
            f"the upload of {name} was refused: it is too large, {len(data):,} bytes "
            f"({status_text(status)}){consequence}",
            hint=PACK_HINT if about.submits else f"see {about.url}",
        )
    if status not in {200, 201}:
        error = TransferError(
            f"the upload of {name} was refused ({status_text(status)}){consequence}",
            hint=SAME_AGAIN,
        )
        raise retry.TransientError(error, after=pause)
    return str(target.token)
