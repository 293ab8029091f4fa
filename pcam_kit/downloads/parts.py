"""An unfinished download: the part, the notes about it, and whether an answer continues it.

The part is `NAME.part` beside the destination, the notes are `NAME.part.json`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from pcam_kit.downloads.integrity import announced_hashes
from pcam_kit.files import write_json
from pcam_kit.parsing import is_plain, read_json

SIZE = "[0-9]{1,18}"  # of a file in a header: int() takes neither 5,000 digits nor a raised 2
NOTES_BYTES = 1 << 20  # the most that is read of the notes; they have 300


@dataclass(frozen=True)
class Version:
    """What the storage reported of the file whose beginning is in the part.

    validator: an ETag or a Last-Modified date for If-Range; "" when none may be used. total: in
    bytes, 0 when not reported. hashes: see `announced_hashes`. fixed: the source names the bytes
    themselves, so there is no other version, and any server's answer continues the part.
    """

    source: str
    validator: str
    total: int
    hashes: dict[str, str]
    fixed: bool = False


def part_size(destination: Path) -> int:
    """How many bytes of a download to `destination` are on the disk already."""
    part, _ = part_paths(destination)
    return file_size(part) if is_plain(part) else 0


def discard_part(destination: Path) -> None:
    """Delete the part and the notes beside `destination`.

    A download that was killed just after its last rename leaves notes beside the complete file.
    """
    for path in part_paths(destination):
        path.unlink(missing_ok=True)


def part_paths(destination: Path) -> tuple[Path, Path]:
    """The paths of the part and of the notes."""
    name = destination.name
    return destination.with_name(f"{name}.part"), destination.with_name(f"{name}.part.json")


def file_size(path: Path) -> int:
    """The size of a file in bytes, 0 when it does not exist."""
    return path.stat().st_size if path.exists() else 0


def write_notes(destination: Path, version: Version) -> None:
    """Write the notes about the part beside `destination`."""
    _, notes = part_paths(destination)
    write_json(notes, asdict(version))


def read_notes(destination: Path, source: str) -> Version | None:
    """The notes about the part; None when a download of `source` cannot resume from it.

    A part without use is deleted.
    """
    part, notes = part_paths(destination)
    # bytes are appended to the part: it must be a file of ours, under no other name
    if is_plain(part) and is_plain(notes) and not (part.exists() and part.stat().st_nlink > 1):
        version = _version_in(notes)
        of_source = version is not None and version.source == source
        if version is not None and of_source and _can_resume(version, file_size(part)):
            return version
    discard_part(destination)
    return None


def _version_in(notes: Path) -> Version | None:
    """What the notes say; None when there are none, or they are not of this version."""
    try:
        values: Any = read_json(notes, NOTES_BYTES)
        hashes, total = values["hashes"], values["total"]
        texts = [values["source"], values["validator"], *hashes, *hashes.values()]
        # the validator becomes a header of a request
        fits = all(isinstance(text, str) and text.isprintable() for text in texts)
        fits = fits and values["validator"].isascii() and type(total) is int and total >= 0
        fits = fits and type(values.get("fixed", False)) is bool
        return Version(**values) if fits else None
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _can_resume(version: Version, size: int) -> bool:
    if size == version.total > 0:
        return True  # complete: only the checks are left
    too_long = size > version.total > 0
    return (version.fixed or bool(version.validator)) and not too_long


def version_of(response: requests.Response, source: str) -> Version:
    """What the storage reports of the file that it begins to send."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        # the headers describe other bytes than those that are kept
        return Version(source, "", 0, {})
    etag = headers.get("ETag", "")
    # weak ETags may not be in If-Range
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    length = headers.get("Content-Length", "")
    return Version(
        source=source,
        validator=validator,
        total=int(length) if re.fullmatch(SIZE, length) else 0,
        hashes=announced_hashes(headers),
    )


def continued_size(response: requests.Response, offset: int, version: Version) -> int:
    """The size of the whole file, if a 206 is the rest of this version from byte `offset` on.

    Otherwise 0.
    """
    headers = response.headers
    match = re.fullmatch(
        rf"bytes ({SIZE})-({SIZE})/({SIZE})", headers.get("Content-Range", "").strip()
    )
    if match is None or headers.get("Content-Encoding", "identity") != "identity":
        return 0
    start, end, size = (int(number) for number in match.groups())
    name = "ETag" if version.validator.startswith('"') else "Last-Modified"
    if not version.fixed and headers.get(name, version.validator) != version.validator:
        return 0
    if start != offset or end != size - 1 or version.total not in {0, size}:
        return 0
    length = headers.get("Content-Length", "")
    if re.fullmatch(SIZE, length) and int(length) != end - start + 1:
        return 0
    return size
