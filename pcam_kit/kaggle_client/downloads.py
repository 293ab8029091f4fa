"""Lists and downloads the files of a competition or of a dataset.

A source is a competition's slug ("tnm-112-lab-2-2024") or a dataset's OWNER/SLUG, as in their
addresses at Kaggle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pcam_kit.downloads import RemoteFile, transfer
from pcam_kit.errors import KaggleError
from pcam_kit.kaggle_client.refusals import KAGGLE, Subject
from pcam_kit.kaggle_client.request import Request
from pcam_kit.kaggle_client.session import call_once, list_items
from pcam_kit.parsing import printable
from pcam_kit.progress import Progress


def list_files(source: str) -> Iterator[RemoteFile]:
    """The files of a source in Kaggle's order, page by page.

    Pages are requested as they are needed, 200 files each: 220,025 files take 1,101 requests.
    Raises KaggleError.
    """
    about = _about(source, f"list the files of {source}")
    names = source_fields(source)
    if "/" in source:
        request = Request("list_dataset_files", "ApiListDatasetFilesRequest", names, "datasets")
        files = list_items(request, "dataset_files", about)
    else:
        request = Request("list_data_files", "ApiListDataFilesRequest", names)
        files = list_items(request, "files", about)
    for file in files:
        size: object = file.total_bytes
        if not isinstance(size, int) or size < 0:
            raise KaggleError(
                f"Kaggle lists {printable(str(file.name))} with a size that is none: {size!r}",
                hint=f"see {about.url}, or use --from",
            )
        yield RemoteFile(str(file.name or file.ref), size)


def download_file(
    source: str, file: RemoteFile, destination: Path, *, progress: Progress | None = None
) -> str:
    """Download one file to `destination`, resuming an earlier attempt; its CRC-32C in hex.

    A file that Kaggle zipped is unpacked. `destination` appears only when complete and checked.
    Raises KaggleError or a subclass, or StorageError.
    """
    about = _about(source, f"hand out {file.name} of {source}", f"the file {file.name} of ")
    fields = {**source_fields(source), "file_name": file.name}
    if "/" in source:
        request = Request("download_dataset", "ApiDownloadDatasetRequest", fields, "datasets")
    else:
        request = Request("download_data_file", "ApiDownloadDataFileRequest", fields)
    job = transfer.Job(
        source=f"{source}/{file.name}",
        name=file.name,
        destination=destination,
        server=KAGGLE,
        lister=KAGGLE.name,
        locate=lambda: call_once(request, about),
        size=file.size,
        progress=progress,
    )
    return transfer.download(job)


def download_all(
    source: str,
    destination: Path,
    *,
    inspect: Callable[[Path], None],
    progress: Progress | None = None,
    room: Callable[[int], int] = int,
) -> str:
    """Download everything as one zip, whose members are all checked; its CRC-32C in hex.

    inspect, room: see transfer.Job. Raises KaggleError or a subclass, StorageError, or what
    `inspect` raises.
    """
    about = _about(source, f"hand out {source}")
    fields = source_fields(source)
    if "/" in source:
        request = Request("download_dataset", "ApiDownloadDatasetRequest", fields, "datasets")
    else:
        request = Request("download_data_files", "ApiDownloadDataFilesRequest", fields)
    job = transfer.Job(
        source=f"{source} (all)",
        name=f"{source.rpartition('/')[2]}.zip",
        destination=destination,
        server=KAGGLE,
        lister=KAGGLE.name,
        locate=lambda: call_once(request, about),
        size=0,
        progress=progress,
        inspect=inspect,
        room=room,
    )
    return transfer.download(job)


def source_fields(source: str) -> dict[str, str]:
    """The fields of a request that name the source."""
    owner, _, slug = source.rpartition("/")
    return {"owner_slug": owner, "dataset_slug": slug} if owner else {"competition_name": source}


def _about(source: str, doing: str, part: str = "") -> Subject:
    kind = "dataset" if "/" in source else "competition"
    return Subject(doing, f"{part}the {kind} {source}", source)
