"""What Kaggle hands out: the files of a competition or of a dataset, listed and downloaded.

A source is a competition's slug ("tnm-112-lab-2-2024") or a dataset's OWNER/SLUG, as Kaggle writes
them in their addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pcam_kit.errors import KaggleError
from pcam_kit.kaggle_client import transfer
from pcam_kit.kaggle_client.refusals import Subject
from pcam_kit.kaggle_client.session import Request, call_once, items


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source.

    `name` may hold folders ("train/a.tif"); `size` in bytes, 0 when Kaggle does not tell.
    """

    name: str
    size: int


def list_files(source: str) -> Iterator[RemoteFile]:
    """The files of a source in Kaggle's order, page by page as they are asked for: 200 a page, so
    220,025 take 1,101 requests.
    """
    about = _about(source, f"list the files of {source}")
    if "/" in source:
        found = items(
            Request("list_dataset_files", "ApiListDatasetFilesRequest", _names(source), "datasets"),
            "dataset_files",
            about,
        )
    else:
        found = items(
            Request("list_data_files", "ApiListDataFilesRequest", _names(source)), "files", about
        )
    for file in found:
        size: object = file.total_bytes
        if not isinstance(size, int) or size < 0:
            raise KaggleError(
                f"Kaggle lists {file.name} with a size that is none: {size!r}",
                hint=f"see {about.url}, or use --from",
            )
        yield RemoteFile(str(file.name or file.ref), size)


def download_file(
    source: str, file: RemoteFile, destination: Path, *, progress: transfer.Progress | None = None
) -> str:
    """Download one file to `destination`, going on where an earlier try stopped; unwraps it if
    Kaggle zipped it. Its CRC-32C in hex.

    `destination` appears only when whole and checked. Raises KaggleError's kinds, or StorageError.
    """
    about = _about(source, f"hand out {file.name} of {source}", f"the file {file.name} of ")
    named = {**_names(source), "file_name": file.name}
    if "/" in source:
        request = Request("download_dataset", "ApiDownloadDatasetRequest", named, "datasets")
    else:
        request = Request("download_data_file", "ApiDownloadDataFileRequest", named)
    job = transfer.Job(
        f"{source}/{file.name}",
        file.name,
        destination,
        lambda: call_once(request, about),
        file.size,
        progress,
    )
    return transfer.download(job)


def download_all(
    source: str,
    destination: Path,
    *,
    inspect: Callable[[Path], None],
    progress: transfer.Progress | None = None,
    room: Callable[[int], int] = int,
) -> str:
    """Download everything as one zip to `destination`, checked member by member; its CRC-32C.
    `inspect` and `room`: see transfer.Job.
    """
    about = _about(source, f"hand out {source}")
    if "/" in source:
        request = Request(
            "download_dataset", "ApiDownloadDatasetRequest", _names(source), "datasets"
        )
    else:
        request = Request("download_data_files", "ApiDownloadDataFilesRequest", _names(source))
    name = f"{source.rpartition('/')[2]}.zip"
    job = transfer.Job(
        f"{source} (all)",
        name,
        destination,
        lambda: call_once(request, about),
        0,
        progress,
        inspect=inspect,
        room=room,
    )
    return transfer.download(job)


def _names(source: str) -> dict[str, str]:
    """The source in the fields of a request."""
    owner, _, slug = source.rpartition("/")
    return {"owner_slug": owner, "dataset_slug": slug} if owner else {"competition_name": source}


def _about(source: str, doing: str, part: str = "") -> Subject:
    kind = "dataset" if "/" in source else "competition"
    return Subject(doing, f"{part}the {kind} {source}", source)
