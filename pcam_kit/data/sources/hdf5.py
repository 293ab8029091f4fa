"""Patches in HDF5 files: `x` uint8 [n, h, w, 3] and `y` [n] or [n, 1, 1, 1], plain, gzipped or in a
zip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import (
    Images,
    Labels,
    Part,
    Progress,
    RawCompetition,
    block_rows,
    count_notes,
    few,
)
from pcam_kit.data.sources.files import RawFiles, head, is_packed, missing, unpack, unpacked_bytes
from pcam_kit.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DAMAGED = "the file is damaged or cut short: download it again"


@dataclass(frozen=True)
class PartFiles:
    """Where one part lies: raw file names of its pixels and labels (the same file, or none), and
    what else is known.
    """

    split: Split
    x: str
    y: str | None
    ids: list[str] | None = None  # None: row numbers
    slides: list[str] | None = None


def open_h5_parts(
    profile: Competition,
    files: RawFiles,
    sources: Sequence[PartFiles],
    others: Sequence[str],
    notes: Sequence[str],
) -> RawCompetition:
    """The parts of `sources`, checked; where a file is packed, checked as far as that goes until it
    is unpacked.

    `others` are further files that were used (for the inventory). Raises DataError naming file,
    expected and found.
    """
    names = list(
        dict.fromkeys(
            name for source in sources for name in (source.x, source.y) if name is not None
        )
    )
    inventory = [
        {"name": name, "files": 1, "bytes": files.sizes[name]} for name in (*names, *others)
    ]
    packed = [name for name in names if is_packed(files, name)]
    paths = {
        name: path
        for name in names
        if name not in packed and (path := files.local(name)) is not None
    }

    def finish(paths: dict[str, Path]) -> RawCompetition:
        parts = tuple(_part(source, files.where, paths, profile.image_size) for source in sources)
        return RawCompetition(profile, parts, inventory, (*count_notes(profile, parts), *notes))

    if not packed:
        return finish(paths)
    for name in packed:
        if not head(files, name, 1):
            raise DataError(f"{files.where}: {name} is empty", hint=DAMAGED)
    sizes = {name: unpacked_bytes(files, name) for name in packed}

    def unpack_all(work: Path, progress: Progress) -> RawCompetition:
        return finish(paths | _unpack(files, sizes, work, progress))

    return RawCompetition(profile, (), inventory, tuple(notes), unpack_all, sum(sizes.values()))


def _unpack(
    files: RawFiles, sizes: dict[str, int], work: Path, progress: Progress
) -> dict[str, Path]:
    """Small files first: what is wrong with labels shows before gigabytes are unpacked."""
    total, done = max(1, sum(sizes.values())), 0
    paths: dict[str, Path] = {}

    def tell(n: int) -> None:
        nonlocal done
        done += n
        progress("unpacking", min(done, total), total)

    for i, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        paths[name] = work / f"{i}.h5"
        unpack(files, name, paths[name], tell)
        with open(paths[name], "rb") as handle:
            _check_signature(handle.read(8), f"{files.where}: {name}")
    return paths


def _check_signature(first: bytes, where: str) -> None:
    if first != SIGNATURE:
        raise DataError(
            f"{where} is not HDF5: expected it to start with {SIGNATURE[:4]!r}, found "
            f"{first[:4]!r}",
            hint=DAMAGED,
        )


def _part(source: PartFiles, where: str, paths: dict[str, Path], size: int) -> Part:
    """One part, its shapes and labels checked, its pixels not read."""
    n, rows = _use(paths[source.x], f"{where}: {source.x}", partial(_check_images, size=size))
    labels: Labels = np.full(n, -1, np.int8)
    if source.y is not None:
        labels = _use(paths[source.y], f"{where}: {source.y}", _read_labels)
        if len(labels) != n:
            raise DataError(
                f"{where}: {source.x} and {source.y} do not fit: {n:,} images in x, "
                f"{len(labels):,} labels in y"
            )
    for what, values in (("ids", source.ids), ("slides", source.slides)):
        if values is not None and len(values) != n:
            raise DataError(
                f"{where}: {source.x} has {n:,} images, but {len(values):,} {what} are given for it"
            )
    ids = [str(i) for i in range(n)] if source.ids is None else source.ids
    blocks = partial(_blocks, paths[source.x], f"{where}: {source.x}", n, rows)
    return Part(source.split, ids, labels, blocks, source.slides)


def _use(path: Path, where: str, work: Callable[[Any, str], Any]) -> Any:
    """`work(file, where)` on an open HDF5 file; what h5py raises becomes a DataError."""
    try:
        with open(path, "rb") as handle:
            _check_signature(handle.read(8), where)
        with h5py.File(path, "r") as file:
            return work(file, where)
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}", hint=DAMAGED) from error


def _dataset(file: Any, key: str, where: str) -> Any:
    try:
        data = file[key]
    except KeyError as error:
        raise DataError(
            f"{where}: expected a dataset {key!r}, found "
            f"{few(sorted(file), len(file), 6) or 'nothing'}"
        ) from error
    if not isinstance(data, h5py.Dataset):
        raise DataError(
            f"{where}: expected {key!r} to be a dataset, found a {type(data).__name__.lower()}"
        )
    return data


def _check_images(file: Any, where: str, *, size: int) -> tuple[int, int]:
    """Number of images, and rows to read at a time: whole chunks, or each would be unpacked again
    and again.
    """
    x = _dataset(file, "x", where)
    if x.dtype != np.uint8:
        raise DataError(f"{where}: x: expected uint8, found {x.dtype}")
    if x.ndim != 4 or x.shape[1:] != (size, size, 3):
        raise DataError(f"{where}: x: expected shape [n, {size}, {size}, 3], found {list(x.shape)}")
    if x.shape[0] == 0:
        raise DataError(f"{where}: x holds no images")
    chunk = x.chunks[0] if x.chunks else 1
    return int(x.shape[0]), max(1, -(-block_rows(size) // chunk)) * chunk


def _read_labels(file: Any, where: str) -> Labels:
    y = _dataset(file, "y", where)
    if y.ndim == 0 or any(side != 1 for side in y.shape[1:]):
        raise DataError(f"{where}: y: expected shape [n] or [n, 1, 1, 1], found {list(y.shape)}")
    if y.dtype.kind not in "uifb":
        raise DataError(f"{where}: y: expected whole numbers, found {y.dtype}")
    values = np.asarray(y[...]).reshape(-1)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        found = [str(value) for value in np.unique(values[wrong]).tolist()]
        raise DataError(
            f"{where}: y: {int(wrong.sum()):,} labels other than 0 and 1: {few(found, len(found))}"
        )
    return values.astype(np.int8)


def _blocks(path: Path, where: str, n: int, rows: int) -> Generator[Images, None, None]:
    try:
        with h5py.File(path, "r") as file:
            x = file["x"]
            for start in range(0, n, rows):
                yield x[start : start + rows]  # type: ignore[index]
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}", hint=DAMAGED) from error


def require(
    files: RawFiles, found: str | None, what: str, looked_for: Sequence[str], slug: str
) -> str:
    """`found`, or the error that says what was looked for."""
    if found is None:
        raise missing(files, what, " or ".join(looked_for), slug)
    return found
