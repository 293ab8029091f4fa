"""A CSV as it is sent: plain, or packed in a .zip or .gz, which Kaggle takes as well.

What is checked are the bytes inside; what is sent is the file as it is.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath

from pcam_kit.errors import SubmissionError
from pcam_kit.parsing import (
    GZIP,
    HEAD_BYTES,
    describe_bytes,
    gunzip,
    parsing,
    read_bytes,
    reason_of,
)

CSV_BYTES = 256 << 20  # the most that is read, packed or unpacked; 57,458 rows have 3 MB
ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def read_csv_file(path: Path) -> tuple[bytes, bytes]:
    """The bytes of a file, and of the CSV in it: the same bytes twice when it is not packed.

    Raises SubmissionError.
    """
    data = _read(path)
    name = path.name.lower()
    if data.startswith(ZIP):
        content, ending = _only_csv(path, data), ".zip"
    elif data.startswith(GZIP):
        content, ending = _gunzipped(path, data), ".gz"
    else:
        kind = describe_bytes(data[:HEAD_BYTES]) if data else ""
        if kind and not kind.startswith(("text", "UTF-16")):
            raise SubmissionError(
                f"{path} is {kind}, not a CSV file",
                hint="unpack it or save it as CSV; .zip and .gz with one CSV are taken as well",
            )
        if name.endswith((".zip", ".gz")):
            raise SubmissionError(
                f"{path} is not packed, although its name says so: Kaggle goes by the name",
                hint=f"rename it to {path.stem}",
            )
        return data, data
    if not name.endswith(ending):
        raise SubmissionError(
            f"{path} is packed ({ending}), although its name does not say so: Kaggle goes by the "
            "name",
            hint=f"rename it to {path.name}{ending}",
        )
    return data, content


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise SubmissionError(
            f"{path} is a folder; expected a CSV file",
            hint="name the file: pcam submit FOLDER/NAME.csv",
        )
    try:
        return read_bytes(path, CSV_BYTES)
    except FileNotFoundError as error:
        raise SubmissionError(
            f"there is no file {path}",
            hint="`pcam submissions` lists the CSVs written; `pcam predict` writes one",
        ) from error
    except OSError as error:
        raise SubmissionError(f"cannot read {path}: {reason_of(error)}") from error
    except ValueError as error:  # too large, or a pipe
        raise SubmissionError(
            f"{path} is no submission: {error}", hint="name a CSV file"
        ) from error


def _gunzipped(path: Path, data: bytes) -> bytes:
    with parsing(lambda reason: _damaged(path, reason)):
        return gunzip(io.BytesIO(data), CSV_BYTES)


def _only_csv(path: Path, data: bytes) -> bytes:
    """The only CSV in a zip, however it was made: folders and what macOS adds do not count."""
    with (
        parsing(lambda reason: _damaged(path, reason)),
        zipfile.ZipFile(io.BytesIO(data)) as archive,
    ):
        members = [info for info in archive.infolist() if not _is_beside(info)]
        if len(members) != 1 or not members[0].filename.lower().endswith(".csv"):
            names = ", ".join(info.filename for info in members[:3]) or "nothing"
            more = f" and {len(members) - 3} more" if len(members) > 3 else ""
            raise SubmissionError(
                f"{path} holds {names}{more}; expected one CSV file and nothing else",
                hint="pack the CSV alone, or send it as it is: pcam submit NAME.csv",
            )
        with archive.open(members[0]) as member:
            content = member.read(CSV_BYTES + 1)  # never more, whatever it declares
    if len(content) > CSV_BYTES:
        raise _damaged(path, f"it unpacks to more than {CSV_BYTES:,} bytes")
    return content


def _is_beside(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    return info.is_dir() or "__MACOSX" in parts or parts[-1:] == (".DS_Store",)


def _damaged(path: Path, reason: str) -> SubmissionError:
    return SubmissionError(
        f"{path} cannot be unpacked: {reason}",
        hint="pack the CSV again, or send it as it is: pcam submit NAME.csv",
    )
