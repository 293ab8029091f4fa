"""Private datasets of the account: whether there is one, and how it is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pcam_kit.downloads import retry
from pcam_kit.errors import AccessError
from pcam_kit.kaggle_client.downloads import source_fields
from pcam_kit.kaggle_client.refusals import Subject
from pcam_kit.kaggle_client.request import Request, status_word
from pcam_kit.kaggle_client.session import call, call_once
from pcam_kit.kaggle_client.uploads import upload

DatasetStatus = Literal["ready", "processing", "failed"]


def dataset_status(dataset: str) -> DatasetStatus | None:
    """How far Kaggle is with a dataset, OWNER/SLUG; None where it shows none. Raises KaggleError.

    Kaggle answers 403, not 404, for one of the account's own that does not exist.
    """
    about = Subject(f"tell about {dataset}", f"the dataset {dataset}", dataset)
    names = source_fields(dataset)
    request = Request("get_dataset_status", "ApiGetDatasetStatusRequest", names, "datasets")
    try:
        status = call(request, about).status
    except AccessError:
        return None
    match status_word(status):
        case "ready":
            return "ready"
        case "failed" | "deleted":
            return "failed"
        case _:
            return "processing"


def create_dataset(dataset: str, title: str, files: Sequence[Path], *, licence: str) -> None:
    """Upload `files` and make a private dataset, OWNER/SLUG, of them.

    It can be used once its status is "ready". The request is sent once: where its answer was lost,
    the status tells whether it arrived. Raises KaggleError, StorageError.
    """
    about = Subject(f"make the dataset {dataset}", f"the dataset {dataset}", dataset)
    tokens = [upload(path, about) for path in files]
    from kagglesdk.datasets.types.dataset_api_service import ApiDatasetNewFile

    uploaded: list[Any] = []
    for token in tokens:
        file: Any = ApiDatasetNewFile()
        file.token = token
        uploaded.append(file)
    owner, _, slug = dataset.partition("/")
    fields: dict[str, Any] = {
        "owner_slug": owner,
        "slug": slug,
        "title": title,
        "license_name": licence,
        "is_private": True,
        "files": uploaded,
    }
    request = Request("create_dataset", "ApiCreateDatasetRequest", fields, "datasets")
    try:
        call_once(request, about)
    except retry.TransientError as failure:
        if dataset_status(dataset) is None:
            raise failure.error from failure
