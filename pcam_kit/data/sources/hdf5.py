"""Patches in HDF5 files, plain, gzipped or in a zip: `x` uint8 [n, h, w, 3], `y` [n, ...]."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import Images, Labels, Part, RawCompetition, block_rows, describe_counts
from pcam_kit.data.sources.files import (
    RawFiles,
    is_packed,
    read_head,
    unpack_file,
    unpacked_bytes,
)
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.progress import Progress

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DAMAGED = "the file is damaged or cut short: download it again"


@dataclass(frozen=True)
class PartFiles:
    """The raw files of one part, and what is known of it besides.

    x, y: names of the files with the pixels and the labels; they may be the same.
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
    tables: Sequence[str],
    notes: Sequence[str],
) -> RawCompetition:
    """The parts of `sources`; packed files are checked in full only when they are unpacked.

    `tables` are further files that were read (for the inventory). Raises DataError naming file,
    expected and found.
    """
    names = list(
        dict.fromkeys(
            name for source in sources for name in (source.x, source.y) if name is not None
        )
    )
    inventory = [
        {"name": name, "files": 1, "bytes": files.sizes[name]} for name in (*names, *tables)
    ]
    packed = [name for name in names if is_packed(files, name)]
    paths = {
        name: path
        for name in names
        if name not in packed and (path := files.local_path(name)) is not None
    }

    def finish(paths: dict[str, Path]) -> RawCompetition:
        size = profile.image_size
        parts = tuple(_part(source, files.location, paths, size) for source in sources)
        all_notes = (*describe_counts(profile, parts), *notes)
        return RawCompetition(profile, parts, inventory, all_notes)

    if not packed:
        return finish(paths)
    for name in packed:
        if not read_head(files, name, 1):
            raise DataError(f"{files.location}: {name} is empty", hint=DAMAGED)
    sizes = {name: unpacked_bytes(files, name) for name in packed}

    def unpack_all(work: Path, progress: Progress) -> RawCompetition:
        return finish(paths | _unpack(files, sizes, work, progress))

    return RawCompetition(profile, (), inventory, tuple(notes), unpack_all, sum(sizes.values()))


def _unpack(
    files: RawFiles, sizes: dict[str, int], work: Path, progress: Progress
) -> dict[str, Path]:
    """Unpack into `work`; returns the path of each file.

    Small files come first: faults in labels then show before gigabytes are unpacked.
    """
    total, done = max(1, sum(sizes.values())), 0
    paths: dict[str, Path] = {}

    def count(n: int) -> None:
        nonlocal done
        done += n
        progress("unpacking", min(done, total), total)

    for i, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        paths[name] = work / f"{i}.h5"
        unpack_file(files, name, paths[name], count)
        with open(paths[name], "rb") as handle:
            _check_signature(handle.read(8), f"{files.location}: {name}")
    return paths


def _check_signature(head: bytes, label: str) -> None:
    """Raises DataError, about `label`, when the first bytes are not those of HDF5."""
    if head != SIGNATURE:
        raise DataError(
            f"{label} is not HDF5: expected it to start with {SIGNATURE[:4]!r}, found {head[:4]!r}",
            hint=DAMAGED,
        )


def _part(source: PartFiles, location: str, paths: dict[str, Path], size: int) -> Part:
    """One part, its shapes and labels checked, its pixels not read. Raises DataError."""
    x_path, x_label = paths[source.x], f"{location}: {source.x}"
    n, rows = _with_file(x_path, x_label, partial(_check_images, size=size))
    labels: Labels = np.full(n, -1, np.int8)
    if source.y is not None:
        labels = _with_file(paths[source.y], f"{location}: {source.y}", _read_labels)
        if len(labels) != n:
            raise DataError(
                f"{location}: {source.x} and {source.y} do not fit: {n:,} images in x, "
                f"{len(labels):,} labels in y"
            )
    for what, values in (("ids", source.ids), ("slides", source.slides)):
        if values is not None and len(values) != n:
            raise DataError(
                f"{x_label} has {n:,} images, but {len(values):,} {what} are given for it"
            )
    ids = [str(i) for i in range(n)] if source.ids is None else source.ids
    blocks = partial(_blocks, x_path, x_label, n, rows)
    return Part(source.split, ids, labels, blocks, source.slides)


def _with_file(path: Path, label: str, work: Callable[[Any, str], Any]) -> Any:
    """`work(file, label)` on an open HDF5 file; what h5py raises becomes a DataError."""
    try:
        with open(path, "rb") as handle:
            _check_signature(handle.read(8), label)
        with h5py.File(path, "r") as file:
            return work(file, label)
    except OSError as error:
        raise DataError(f"{label} cannot be read: {error}", hint=DAMAGED) from error


def _dataset(file: Any, key: str, label: str) -> Any:
    """The dataset called `key`. Raises DataError when there is none."""
    try:
        data = file[key]
    except KeyError as error:
        raise DataError(
            f"{label}: expected a dataset {key!r}, found "
            f"{few(sorted(file), len(file), 6) or 'nothing'}"
        ) from error
    if not isinstance(data, h5py.Dataset):
        raise DataError(
            f"{label}: expected {key!r} to be a dataset, found a {type(data).__name__.lower()}"
        )
    return data


def _check_images(file: Any, label: str, *, size: int) -> tuple[int, int]:
    """Number of images, and how many to read at a time. Raises DataError for other shapes."""
    x = _dataset(file, "x", label)
    if x.dtype != np.uint8:
        raise DataError(f"{label}: x: expected uint8, found {x.dtype}")
    if x.ndim != 4 or x.shape[1:] != (size, size, 3):
        raise DataError(f"{label}: x: expected shape [n, {size}, {size}, 3], found {list(x.shape)}")
    if x.shape[0] == 0:
        raise DataError(f"{label}: x holds no images")
    # whole chunks, or each would be decompressed again and again
    chunk = x.chunks[0] if x.chunks else 1
    return int(x.shape[0]), max(1, -(-block_rows(size) // chunk)) * chunk


def _read_labels(file: Any, label: str) -> Labels:
    """The labels, int8 [n]. Raises DataError for other shapes and values."""
    y = _dataset(file, "y", label)
    if y.ndim == 0 or any(side != 1 for side in y.shape[1:]):
        raise DataError(f"{label}: y: expected shape [n] or [n, 1, 1, 1], found {list(y.shape)}")
    if y.dtype.kind not in "uifb":
        raise DataError(f"{label}: y: expected whole numbers, found {y.dtype}")
    values = np.asarray(y[...]).reshape(-1)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        texts = [str(value) for value in np.unique(values[wrong]).tolist()]
        raise DataError(
            f"{label}: y: {int(wrong.sum()):,} labels other than 0 and 1: {few(texts, len(texts))}"
        )
    return values.astype(np.int8)


def _blocks(path: Path, label: str, n: int, rows: int) -> Generator[Images, None, None]:
    try:
        with h5py.File(path, "r") as file:
            x = file["x"]
            for start in range(0, n, rows):
                yield x[start : start + rows]  # type: ignore[index]
    except OSError as error:
        raise DataError(f"{label} cannot be read: {error}", hint=DAMAGED) from error
