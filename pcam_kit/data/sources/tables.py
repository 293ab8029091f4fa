"""CSV tables of raw data: BOM and Windows line ends are accepted, uneven rows are not."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Sequence

import numpy as np

from pcam_kit.data.raw import Labels, find_repeated, is_id
from pcam_kit.data.sources.files import RawFiles, read_file
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import HEAD_BYTES, advice_for, describe_bytes, parsing, printable

LONGEST_CELL = 10_000  # characters; ids and names of slides have up to 60
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


def read_columns(files: RawFiles, name: str, columns: Sequence[str]) -> list[list[str]]:
    """The named columns of a CSV with a header, as text.

    Raises DataError naming the file and line, also for cells that cannot be shown or are longer
    than any id.
    """
    path = f"{files.location}: {printable(name)}"
    rows = _rows(read_file(files, name), path)
    header = [cell.strip() for cell in next(rows, (1, []))[1]]
    missing = [column for column in columns if column not in header]
    if missing:
        found = ",".join(printable(cell[:100]) for cell in header[:20])
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}: expected "
            f"{','.join(columns)}, found {found or 'nothing'}"
        )
    places = [header.index(column) for column in columns]
    result: list[list[str]] = [[] for _ in columns]
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: expected {len(header)} cells, found {len(row)}")
        for column, values, place in zip(columns, result, places, strict=True):
            cell = row[place].strip()
            if not cell.isprintable() or len(cell) > LONGEST_CELL:
                raise DataError(
                    f"{path}, line {line}: {column}: expected up to {LONGEST_CELL:,} characters "
                    f"that can be shown, found {printable(cell[:100])!r} ({len(cell):,})",
                    hint="the table is damaged: download it again",
                )
            values.append(cell)
    return result


def _rows(data: bytes, path: str) -> Generator[tuple[int, list[str]]]:
    """The rows of a CSV with the numbers of their last lines. Raises DataError, about `path`."""
    head = data[:HEAD_BYTES]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = describe_bytes(head) or f"byte {data[error.start]:#x} at {error.start:,}"
        raise DataError(
            f"{path} is not UTF-8 text: found {found}", hint=advice_for(head)
        ) from error
    kind = describe_bytes(head)
    if kind and not kind.startswith("text"):
        raise DataError(f"{path} is no CSV table: it is {kind}", hint=advice_for(head))
    rows = csv.reader(io.StringIO(text, newline=""))
    line = 1

    def fault(reason: str) -> DataError:
        return DataError(
            f"{path}, line {line}: {reason}", hint="the table is damaged: download it again"
        )

    while True:
        with parsing(fault):
            row = next(rows, None)
        if row is None:
            return
        line = rows.line_num
        yield line, row


def read_labels(
    files: RawFiles, name: str, id_column: str, target_column: str
) -> tuple[list[str], Labels]:
    """Ids and their 0/1 labels. Raises DataError on a repeated or empty id, or another label."""
    ids, texts = read_columns(files, name, [id_column, target_column])
    _check_ids(files, name, ids)
    repeated = find_repeated(ids)
    if repeated:
        raise DataError(
            f"{files.location}: {name} labels {len(repeated):,} ids more than once: "
            f"{few(repeated, len(repeated))}"
        )
    wrong = [f"{key}: {text!r}" for key, text in zip(ids, texts, strict=True) if text not in LABELS]
    if wrong:
        raise DataError(
            f"{files.location}: {name} has {len(wrong):,} labels other than 0 and 1: "
            f"{few(wrong, len(wrong))}"
        )
    return ids, np.array([LABELS[text] for text in texts], dtype=np.int8)


def _check_ids(files: RawFiles, name: str, ids: Sequence[str]) -> None:
    """Raises DataError for ids that no submission could hold."""
    wrong = [f"row {row}: {text!r}" for row, text in enumerate(ids, start=1) if not is_id(text)]
    if wrong:
        raise DataError(
            f"{files.location}: {name} has {len(wrong):,} ids that are none: "
            f"{few(wrong, len(wrong))}"
        )
