"""An unfinished download: the part, the notes about it, and whether an answer continues it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from pcam_kit.files import write_json
from pcam_kit.kaggle_client.integrity import announced_hashes


@dataclass(frozen=True)
class Version:
    """What the storage said of the file whose beginning lies in the part.

    `total` in bytes, 0 when not told.
    """

    source: str
    # an ETag or a Last-Modified date, as If-Range wants it; "" when none may be used
    validator: str
    total: int
    hashes: dict[str, str]  # see announced_hashes


def part_size(destination: Path) -> int:
    """How many bytes of a download to `destination` lie beside it already."""
    return size_of(beside(destination)[0])


def discard_part(destination: Path) -> None:
    """Delete what lies beside `destination` of a download; one killed just after its last rename
    leaves that beside the whole file.
    """
    for path in beside(destination):
        path.unlink(missing_ok=True)


def beside(destination: Path) -> tuple[Path, Path]:
    """The part and the notes."""
    return destination.with_name(f"{destination.name}.part"), destination.with_name(
        f"{destination.name}.part.json"
    )


def size_of(path: Path) -> int:
    """In bytes, 0 when it is not there."""
    return path.stat().st_size if path.exists() else 0


def write_notes(destination: Path, version: Version) -> None:
    """Note what is to be known of the part beside `destination`."""
    write_json(beside(destination)[1], asdict(version))


def read_notes(destination: Path, source: str) -> Version | None:
    """What is known of the part; None, and no part any more, when `source` cannot be gone on from
    it.
    """
    part, notes = beside(destination)
    try:
        version = Version(**json.loads(notes.read_text(encoding="utf-8")))
        have = size_of(part)
        if version.source == source and (
            have == version.total > 0 or (version.validator and not have > version.total > 0)
        ):
            return version
    except FileNotFoundError:
        pass
    except (ValueError, TypeError):  # not ours, or of an older form
        pass
    discard_part(destination)
    return None


def version_of(response: requests.Response, source: str) -> Version:
    """What the storage says of the file that it begins to send."""
    etag, encoded = (
        response.headers.get("ETag", ""),
        response.headers.get("Content-Encoding", "identity") != "identity",
    )
    # weak ETags may not be in If-Range
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    length = response.headers.get("Content-Length", "")
    if encoded:  # what is said then is said of other bytes than those that are kept
        return Version(source, "", 0, {})
    return Version(
        source,
        validator,
        int(length) if length.isdigit() else 0,
        announced_hashes(response.headers),
    )


def continued_size(response: requests.Response, have: int, version: Version) -> int:
    """The size of the whole file, if a 206 is its rest from byte `have` on, in the version known;
    otherwise 0.
    """
    headers = response.headers
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
    if found is None or headers.get("Content-Encoding", "identity") != "identity":
        return 0
    start, end, size = (int(number) for number in found.groups())
    told = headers.get(
        "ETag" if version.validator.startswith('"') else "Last-Modified", version.validator
    )
    length = headers.get("Content-Length", "")
    fits = (
        start == have
        and end == size - 1
        and version.total in {0, size}
        and told == version.validator
    )
    return size if fits and (not length.isdigit() or int(length) == end - start + 1) else 0
