"""Writes submission CSVs, and checks them as strictly as Kaggle would.

A fault is then found before it costs a submission.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcam_kit import files
from pcam_kit.competitions import Competition
from pcam_kit.errors import SubmissionError
from pcam_kit.submissions.packed import read_csv_file

MAX_LISTED = 5  # faults; the rest are counted
# stricter than float(): no nan, no 1_000, no spaces
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WRITE_AGAIN = "write it again with `pcam predict`"


@dataclass(frozen=True)
class CheckedCsv:
    """A CSV that the competition would accept.

    positive_rate: the share of ones, or of probabilities of one half and above. values: float32
    [rows], in the order of the test images. size: of the file in bytes. sha256: of the file.
    content_sha256: of the CSV in it, the same where the file is not packed. notes: sentences on
    what is unusual and accepted.
    """

    path: Path
    sha256: str
    rows: int
    positive_rate: float
    # not compared: an equal hash implies equal values, and arrays have no truth value
    values: NDArray[np.float32] = field(compare=False)
    size: int = field(default=0, compare=False)
    content_sha256: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


def write_csv(
    path: Path,
    competition: Competition,
    ids: Sequence[str],
    probabilities: NDArray[np.floating],
    *,
    threshold: float | None,
) -> CheckedCsv:
    """Write predictions in the competition's own format, atomically, then check the file.

    ids, probabilities: [n], of the test images in submission order. Target "class": 1 where the
    probability is `threshold` or more, else 0. Target "probability": the shortest text that reads
    back to the same float32; `threshold` is then not used. Raises SubmissionError, and writes
    nothing, when the input is invalid.
    """
    _check_ids(ids)
    p = np.asarray(probabilities)
    if p.shape != (len(ids),):
        raise SubmissionError(
            f"expected one probability for each of {len(ids)} test ids, found probabilities "
            f"{list(p.shape)}"
        )
    outside = ~((p >= 0) & (p <= 1))  # also where it is NaN
    if outside.any():
        first = int(outside.argmax())
        raise SubmissionError(
            f"{int(outside.sum())} of {p.size} probabilities are not within [0, 1]: the first is "
            f"{p[first]}, for id {ids[first]!r}",
            hint="the run is damaged or its training went wrong; look at it with `pcam runs`",
        )
    if competition.target == "class":
        if threshold is None or not np.isfinite(threshold):
            raise SubmissionError(
                f"{competition.slug} wants classes, which needs a threshold; found {threshold}",
                hint="`pcam train` stores one in the run; train again, or predict with another run",
            )
        # Python floats: float32 would round the threshold
        values = ["1" if x >= threshold else "0" for x in p.tolist()]
    else:
        # + 0 makes -0.0 a plain 0.0
        values = [str(x) for x in p.astype(np.float32) + np.float32(0)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(competition.header)
    writer.writerows(zip(ids, values, strict=True))
    files.write_bytes(path, text.getvalue().encode())
    return check_csv(path, competition, ids)


def check_csv(path: Path, competition: Competition, ids: Sequence[str]) -> CheckedCsv:
    """Check that `competition` would accept the file at `path`, a CSV or a .zip or .gz of one.

    ids: every test id, in submission order. What Kaggle takes passes: a byte order mark, Windows
    line ends, blank lines at the end, and, with a note, rows or columns in another order and scores
    outside 0 to 1 where only their order counts. Raises SubmissionError, which lists up to
    MAX_LISTED faults with line, id, value found and value expected, and how many more there are.
    """
    _check_ids(ids)
    data, content = read_csv_file(path)
    rows = _parse(path, content)
    notes: list[str] = []
    if data is not content:
        notes.append(f"the CSV in {path.name} was checked; the file is sent as it is")
    if rows[0][1] == list(competition.header)[::-1]:
        notes.append("the columns are in another order; Kaggle goes by their names")
        rows = [(line, row[::-1]) for line, row in rows]
    _check_header(path, competition, rows, ids)
    faults, values = _check_rows(competition, rows, ids)
    if faults:
        raise _refused(path, competition, faults)
    if [row[0] for _, row in rows[1:]] != list(ids):
        notes.append("the rows are in another order; Kaggle goes by their ids")
    exact = np.array([values[name] for name in ids], np.float64)
    if exact.min() < 0 or exact.max() > 1:
        low, high = float(exact.min()), float(exact.max())
        notes.append(f"the scores go from {low:g} to {high:g}; for AUC only their order counts")
    with np.errstate(over="ignore"):  # of scores: 1e39 is an infinite float32
        numbers = exact.astype(np.float32)
    return CheckedCsv(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(ids),
        positive_rate=float((exact >= 0.5).mean()),
        values=numbers,
        size=len(data),
        content_sha256=hashlib.sha256(content).hexdigest(),
        notes=tuple(notes),
    )


def _parse(path: Path, data: bytes) -> list[tuple[int, list[str]]]:
    """Every row, with the number of its last line."""
    encoding = _wide_encoding(data)
    if encoding:
        raise SubmissionError(
            f"{path} is {encoding} text, not UTF-8: so Excel's \"Unicode text\" and PowerShell's > "
            "write it",
            hint=f'save it as UTF-8 (in Excel: "CSV UTF-8"), or {WRITE_AGAIN}',
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SubmissionError(
            f"{path} is not UTF-8 text: line {line} holds the byte 0x{data[error.start]:02x}",
            hint=f"save it as UTF-8, or {WRITE_AGAIN}",
        ) from error
    if not text.strip():
        raise SubmissionError(
            f"{path} is empty; expected a header and a row for each test image", hint=WRITE_AGAIN
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise SubmissionError(
            f"{path} is not a CSV file: line {reader.line_num}: {error}", hint=WRITE_AGAIN
        ) from error
    while rows and not rows[-1][1]:  # blank lines at the end
        rows.pop()
    return rows


def _wide_encoding(data: bytes) -> str:
    """UTF-16 or UTF-32, where the text is in one of them; else ""."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    start = data[:200]
    # every second byte of such a text is 0, and none of a CSV
    halves = (start[0::2], start[1::2])
    is_wide = len(start) >= 4 and any(half.count(0) == len(half) for half in halves)
    return "UTF-16" if is_wide else ""


def _check_header(
    path: Path, competition: Competition, rows: list[tuple[int, list[str]]], ids: Sequence[str]
) -> None:
    expected = list(competition.header)
    line, header = rows[0]
    if header == expected:
        return
    lower_case = [name.strip().lower() for name in header]
    if header[:1] == [ids[0]]:
        why = "the header is missing"
    elif lower_case == [name.lower() for name in expected]:
        why = "the names must match letter for letter"
    elif len(header) == 1 and re.fullmatch(r"[^,]+[;\t][^,]+", header[0]):
        why = "the columns must be separated by a comma"
    elif header[1:] == expected:
        why = "there is a column too many in front; with pandas, write it with index=False"
    else:
        why = f"the columns of {competition.slug}"
    raise SubmissionError(
        f"{path} has the wrong header: line {line} is {_short(','.join(header))}, expected "
        f"'{','.join(expected)}' ({why})",
        hint=f"if it is for another competition, name that one; else {WRITE_AGAIN}",
    )


def _check_rows(
    competition: Competition, rows: list[tuple[int, list[str]]], ids: Sequence[str]
) -> tuple[list[str], dict[str, float]]:
    """The faults of all rows below the header, and the values by id."""
    faults: list[str] = []
    values: dict[str, float] = {}
    first_lines: dict[str, int] = {}
    expected_ids = set(ids)
    for line, row in rows[1:]:
        if len(row) != 2:
            content = f"{len(row)} columns ({_short(','.join(row))})" if row else "empty"
            faults.append(f"line {line}: {content}; expected 2 columns")
            # this fault is enough: the id must not be reported again as missing
            first_lines.setdefault(row[0] if row else "", line)
            continue
        name, value = row
        if name in first_lines:
            faults.append(
                f"line {line}: id {_short(name)} again, first on line {first_lines[name]}; "
                "expected each id once"
            )
        elif name not in expected_ids:
            faults.append(f"line {line}: id {_short(name)} is not a test id")
        first_lines.setdefault(name, line)
        expected = _expected_value(competition, value)
        if expected:
            faults.append(
                f"line {line}: id {_short(name)} has {_short(value) if value else 'no value'}; "
                f"expected {expected}"
            )
        else:
            values[name] = float(value)
    faults += [f"missing: id {_short(name)}" for name in ids if name not in first_lines]
    return faults, values


def _expected_value(competition: Competition, value: str) -> str:
    """What was expected instead of `value`; "" when the value is valid."""
    number = float(value) if NUMBER.fullmatch(value) else float("nan")
    if competition.target == "class":
        if value in ("0", "1"):
            return ""
        if number in (0, 1):
            return f"the whole number {int(number)}, without sign or decimals"
        return "0 or 1" + (", not a probability" if 0 < number < 1 else "")
    if competition.metric == "roc_auc":
        return "" if math.isfinite(number) else "a finite number"
    return "" if 0 <= number <= 1 else "a number from 0 to 1"


def _check_ids(ids: Sequence[str]) -> None:
    """Check the test ids themselves; only those of a damaged store can fail."""
    if len(ids) == 0:
        raise SubmissionError(
            "there are no test images, so nothing to submit",
            hint="`pcam fetch` the competition with its test images",
        )
    unusable = [name for name in ids if not name.isprintable() or name != name.strip() or not name]
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if unusable or repeated:
        if unusable:
            fault = f"{unusable[0]!r} is not a usable name"
        else:
            fault = f"{repeated[0]!r} stands there more than once"
        raise SubmissionError(
            f"the test ids cannot be submitted: {fault}",
            hint="the store is damaged; build it again with `pcam fetch`",
        )


def _refused(path: Path, competition: Competition, faults: list[str]) -> SubmissionError:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    listed = "".join(f"\n  {fault}" for fault in faults[:MAX_LISTED])
    if len(faults) > MAX_LISTED:
        listed += f"\n  and {len(faults) - MAX_LISTED} more"
    return SubmissionError(
        f"{competition.slug} would refuse {path}: {count}{listed}", hint=WRITE_AGAIN
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
