"""CSV tables of raw data: BOM and Windows line ends are accepted, uneven rows are not."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from pcam_kit.data.raw import Labels, find_repeated
from pcam_kit.data.sources.files import RawFiles, read_file
from pcam_kit.errors import DataError
from pcam_kit.formatting import few

LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


def read_columns(files: RawFiles, name: str, columns: Sequence[str]) -> list[list[str]]:
    """The named columns of a CSV with a header, as text.

    Raises DataError naming the file and line.
    """
    path = f"{files.location}: {name}"
    try:
        text = read_file(files, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip() for cell in next(rows, [])]
    missing = [column for column in columns if column not in header]
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}: expected "
            f"{','.join(columns)}, found {','.join(header) or 'nothing'}"
        )
    places = [header.index(column) for column in columns]
    result: list[list[str]] = [[] for _ in columns]
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {rows.line_num}: expected {len(header)} cells, found {len(row)}"
            )
        for values, place in zip(result, places, strict=True):
            values.append(row[place].strip())
    return result


def read_ids(files: RawFiles, name: str, column: str) -> list[str]:
    """The ids of a sample submission, in its order. Raises DataError when one is repeated."""
    ids = read_columns(files, name, [column])[0]
    repeated = find_repeated(ids)
    if repeated:
        raise DataError(
            f"{files.location}: {name} repeats {len(repeated):,} ids: "
            f"{few(repeated, len(repeated))}"
        )
    return ids


def read_labels(
    files: RawFiles, name: str, id_column: str, target_column: str
) -> tuple[list[str], Labels]:
    """Ids and their 0/1 labels. Raises DataError on a repeated id or another label."""
    ids, texts = read_columns(files, name, [id_column, target_column])
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
