"""The table of all tiles, as CSV or parquet: image, x, y, probability, calibrated, class."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import DataError, PcamError, UsageError
from pcam_kit.files import sha256_file, writing
from pcam_kit.parsing import parsing, printable

COLUMNS = ("image", "x", "y", "probability", "calibrated", "class")
ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class Table:
    """One row a tile, or a patch: columns [n].

    images: names. x, y: int64, the tile's top left in level-0 pixels. probabilities: float32, the
    network's. calibrated: float64, at the run's temperature; NaN where it has none. classes: int8,
    1 where the probability is the run's threshold or more.
    """

    images: NDArray[np.str_]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    calibrated: NDArray[np.float64]
    classes: NDArray[np.int8]


def check_ending(path: Path) -> None:
    """Raises UsageError unless a table can be written under that name."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"--out {printable(str(path))}: expected a name that ends in {' or '.join(ENDINGS)}",
            hint="e.g. --out tissue/slide.csv",
        )
    if path.suffix.lower() == ".parquet":
        _pyarrow()


def write_table(path: Path, table: Table) -> None:
    """Write the table, as CSV or parquet by the name's ending. Raises as `write_new` does."""
    if path.suffix.lower() == ".csv":
        write_new(path, lambda place: place.write_bytes(_as_csv(table)))
    else:
        write_new(path, lambda place: _write_parquet(place, table))


def write_new(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file that must not be there, unless with the same bytes. Raises UsageError."""
    with writing(path) as temporary:
        write(temporary)
        if path.exists() and sha256_file(path) != sha256_file(temporary):
            raise UsageError(
                f"{printable(str(path))} appeared meanwhile with other contents, and is left as "
                "it is",
                hint="move it away, then run the same command again: what is done is kept",
            )


def read_table(path: Path) -> Table:
    """Read back what `write_table` wrote. Raises DataError."""

    def damaged(reason: str) -> PcamError:
        return DataError(f"{printable(str(path))} cannot be read: {reason}", hint="delete it")

    with parsing(damaged):
        if path.suffix.lower() == ".csv":
            with open(path, encoding="utf-8", newline="") as handle:
                header, *rows = list(csv.reader(handle))
            if tuple(header) != COLUMNS:
                raise ValueError(f"its columns are {', '.join(header)}")
            columns: list[Any] = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
        else:
            columns = [
                column.to_pylist() for column in _pyarrow().read_table(path).select(COLUMNS).columns
            ]
        images, x, y, probabilities, calibrated, classes = columns
        return Table(
            np.array(images, np.str_),
            np.array(x, np.int64),
            np.array(y, np.int64),
            np.array(probabilities, np.float32),
            np.array([np.nan if value in ("", None) else value for value in calibrated], float),
            np.array(classes, np.int8),
        )


def _as_csv(table: Table) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = zip(
        table.images.tolist(),
        table.x.tolist(),
        table.y.tolist(),
        # as short as float32 can be read back
        map(str, table.probabilities),
        ["" if value != value else f"{value:.6g}" for value in table.calibrated.tolist()],
        table.classes.tolist(),
        strict=True,
    )
    writer.writerows(rows)
    return text.getvalue().encode()


def _write_parquet(path: Path, table: Table) -> None:
    import pyarrow

    columns = (
        table.images,
        table.x,
        table.y,
        table.probabilities,
        pyarrow.array(table.calibrated, mask=np.isnan(table.calibrated)),
        table.classes,
    )
    _pyarrow().write_table(pyarrow.table(dict(zip(COLUMNS, columns, strict=True))), path)


def _pyarrow() -> Any:
    """The package's part for parquet. Raises UsageError where it is missing."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "parquet needs pyarrow, which is not installed",
            hint='pip install "pcam-kit[parquet]", or choose a name that ends in .csv',
        ) from error
    return pyarrow.parquet
