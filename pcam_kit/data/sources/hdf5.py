"""Patches in HDF5 files, plain, gzipped or in a zip: `x` uint8 [n, h, w, 3], `y` [n, ...]."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
from pcam_kit.data.sources.hdf5_safety import (
    DAMAGED,
    check_dataset,
    check_filled,
    check_signature,
    find_dataset,
    opened,
)
from pcam_kit.data.sources.zips import MAX_MEMBERS
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import HEAD_BYTES
from pcam_kit.progress import Progress

READ_BYTES = 512 << 20  # the most that is read at once
EMPTY_ROWS = 16  # so many patches of nothing but zeros, in one block, were never written


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
            check_signature(handle.read(HEAD_BYTES), f"{files.location}: {name}")
    return paths


def _part(source: PartFiles, location: str, paths: dict[str, Path], size: int) -> Part:
    """One part, its shapes and labels checked, its pixels not read. Raises DataError."""
    x_path, x_label = paths[source.x], f"{location}: {source.x}"
    with opened(x_path, x_label) as file:
        n, rows = _check_images(file, x_label, size=size)
    labels: Labels = np.full(n, -1, np.int8)
    if source.y is not None:
        y_label = f"{location}: {source.y}"
        with opened(paths[source.y], y_label) as file:
            labels = _read_labels(file, y_label)
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


def _check_images(file: Any, label: str, *, size: int) -> tuple[int, int]:
    """Number of images, and how many to read at a time. Raises DataError for other shapes."""
    x = find_dataset(file, "x", label)
    check_dataset(x, "x", label)
    if x.dtype != np.uint8:
        raise DataError(f"{label}: x: expected uint8, found {x.dtype}")
    if x.ndim != 4 or x.shape[1:] != (size, size, 3):
        raise DataError(f"{label}: x: expected shape [n, {size}, {size}, 3], found {list(x.shape)}")
    if x.shape[0] == 0:
        raise DataError(f"{label}: x holds no images")
    if x.shape[0] > MAX_MEMBERS:
        raise DataError(
            f"{label}: x: expected at most {MAX_MEMBERS:,} images, found {x.shape[0]:,}"
        )
    # whole chunks, or each would be decompressed again and again
    chunk = min(x.chunks[0], x.shape[0]) if x.chunks else 1
    rows = max(1, -(-block_rows(size) // chunk)) * chunk
    if rows * size * size * 3 > READ_BYTES:
        raise DataError(
            f"{label}: x is stored in chunks of {chunk:,} images: expected at most "
            f"{READ_BYTES:,} bytes",
            hint=f"store it in smaller ones: h5repack -l x:CHUNK=64x{size}x{size}x3 OLD.h5 NEW.h5",
        )
    return int(x.shape[0]), rows


def _read_labels(file: Any, label: str) -> Labels:
    """The labels, int8 [n]. Raises DataError for other shapes and values."""
    y = find_dataset(file, "y", label)
    check_dataset(y, "y", label)
    if y.ndim == 0 or any(side != 1 for side in y.shape[1:]):
        raise DataError(f"{label}: y: expected shape [n] or [n, 1, 1, 1], found {list(y.shape)}")
    if y.shape[0] > MAX_MEMBERS:
        raise DataError(
            f"{label}: y: expected at most {MAX_MEMBERS:,} labels, found {y.shape[0]:,}"
        )
    if y.dtype.kind not in "uifb":
        raise DataError(f"{label}: y: expected whole numbers, found {y.dtype}")
    stored = np.asarray(y[...])
    check_filled(y, 0, stored, "y", label)
    values = stored.reshape(-1)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        texts = [str(value) for value in np.unique(values[wrong]).tolist()]
        raise DataError(
            f"{label}: y: {int(wrong.sum()):,} labels other than 0 and 1: {few(texts, len(texts))}"
        )
    return values.astype(np.int8)


def _blocks(path: Path, label: str, n: int, rows: int) -> Generator[Images, None, None]:
    with opened(path, label) as file:
        x = find_dataset(file, "x", label)  # `_part` has checked it
        for start in range(0, n, rows):
            block = x[start : start + rows]
            check_filled(x, start, block, "x", label)
            if len(block) >= EMPTY_ROWS and not block.any():
                raise DataError(
                    f"{label}: x: images {start:,} to {start + len(block) - 1:,} are nothing but "
                    "zeros: they were never written",
                    hint="let the program that writes it finish, or download it again",
                )
            yield block
