"""The record of a complete download: which files came, and whether they are unchanged."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from pcam_kit import downloads
from pcam_kit.errors import DataError
from pcam_kit.files import move, read_json_object, write_json
from pcam_kit.formatting import few
from pcam_kit.names import unsafe_name
from pcam_kit.progress import Work
from pcam_kit.workflows.raw_source import RawSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadRecord:
    """A complete download, as its JSON file records it.

    read: the path to open, relative to the folder. crcs: the CRC-32C of every file, in hex.
    unproven: files that neither a size, a hash nor a checksum inside has shown to be complete.
    """

    read: str = "."
    crcs: dict[str, str] = field(default_factory=dict[str, str])
    unproven: list[str] = field(default_factory=list[str])


def read_record(source: RawSource) -> DownloadRecord:
    """The record; an empty one where there is none, or one of another version.

    Its names are checked like those from a server: anybody may have written the file.
    """
    values = read_json_object(source.record)
    read, crcs, unproven = (values.get(name) for name in ("read", "crcs", "unproven"))
    if not (isinstance(read, str) and isinstance(crcs, dict) and isinstance(unproven, list)):
        return DownloadRecord()
    names = [*crcs, *unproven] if read == "." else [read, *crcs, *unproven]
    faults = [f"{name!r}" for name in names if not isinstance(name, str) or unsafe_name(name)]
    if faults or not all(isinstance(crc, str) for crc in crcs.values()):
        unsafe = few(faults, len(faults)) or "checksums that are none"
        log.warning(f"{source.record} is not used: it names {unsafe}")
        return DownloadRecord()
    return DownloadRecord(read, crcs, unproven)


def write_record(source: RawSource, record: DownloadRecord) -> None:
    """Write the record, once every file is there."""
    write_json(source.record, asdict(record))


def find_complete(source: RawSource, progress: Work) -> Path | None:
    """The folder or zip to open, when every file is as it was recorded; otherwise None.

    Files that have changed are renamed.
    """
    record = read_record(source)
    is_complete = bool(record.crcs)
    for name, crc in record.crcs.items():
        path = source.folder / name
        if not path.is_file():
            is_complete = False
        elif file_crc(source, name, progress) != crc:
            log.warning(
                f"{path} is not what was downloaded any more; it is kept as "
                f"{set_aside(source.own_path(name)).name} and downloaded again"
            )
            is_complete = False
    return source.folder / record.read if is_complete else None


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.damaged`, or `NAME.damaged-2` ...; the new path."""
    target, number = path.with_name(f"{path.name}.damaged"), 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.damaged-{number}")
    move(path, target)
    return target


def discard_doubtful(source: RawSource, error: DataError) -> list[str]:
    """Forget that the download was complete, so that the list of files is read again.

    Downloaded files that `error` names, and that may be incomplete, are renamed; their new names.
    """
    names = [name for name in read_record(source).unproven if name in error.message]
    paths = [path for name in names if (path := source.own_path(name)).is_file()]
    source.record.unlink(missing_ok=True)
    return [set_aside(path).name for path in paths]


def file_crc(source: RawSource, name: str, progress: Work) -> str:
    """The CRC-32C of a file of the source, in hex."""
    return downloads.crc32c(source.folder / name, partial(progress.bytes, f"verifying {name}"))
