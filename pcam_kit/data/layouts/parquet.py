"""Layout `parquet`: copies of PCam as Hugging Face passes them on, train-00000-of-00013.parquet.

Columns: `image` (the bytes of a picture, or a struct with `bytes`) and `label`. Rows are in the
order of the files' names. Needs pyarrow, which this package does not install.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import (
    SPLITS,
    Images,
    Labels,
    Part,
    RawCompetition,
    block_rows,
    describe_counts,
)
from pcam_kit.data.sources.files import is_packed, unpack_file, unpacked_bytes
from pcam_kit.data.sources.images import decode
from pcam_kit.data.sources.names import SPLIT_FOLDERS, plain_name
from pcam_kit.data.sources.samples import find_sample, row_ids
from pcam_kit.data.sources.search import missing_error
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.data.sources.zips import FREE_BYTES, MAX_RATIO
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import parsing, printable
from pcam_kit.progress import Progress

SUFFIX = ".parquet"
IMAGE, LABEL = "image", "label"
SHARD = re.compile(r"-(\d{3,6})-of-(\d{3,6})\b")
LABEL_BATCH = 1 << 16  # rows


@dataclass(frozen=True)
class Shard:
    """One file: its path on disk and how messages name it."""

    path: Path
    label: str


def fits(files: SourceFiles) -> bool:
    """Whether there are parquet files of train."""
    return bool(_shards(files)["train"])


def is_copy(files: SourceFiles) -> bool:
    """Whether the patches of any competition may be these."""
    return fits(files)


def open_layout(profile: Competition, files: SourceFiles) -> RawCompetition:
    """The parts of the layout; train and test are required.

    Raises DataError, also where pyarrow is not installed.
    """
    shards = _shards(files)
    for split in ("train", "test"):
        if not shards[split]:
            raise missing_error(files, f"{split} part", f"{split}-*{SUFFIX}", profile.slug)
    _check_complete(files, shards)
    _pyarrow()  # before anything is unpacked
    sample = find_sample(files, profile)
    ids = row_ids(files, sample)
    names = [name for split in SPLITS for name in shards[split]]
    tables = [] if sample is None else [sample.name]
    inventory = [
        {"name": printable(name), "files": 1, "bytes": files.sizes[name]}
        for name in (*names, *tables)
    ]
    files.notes.append("read from parquet: rows are numbered in the order of the files' names")
    local = {
        name: path
        for name in names
        if (path := files.local_path(name)) is not None and not is_packed(files, name)
    }
    packed = [name for name in names if name not in local]

    def finish(paths: dict[str, Path]) -> RawCompetition:
        parts: list[Part] = []
        for split in SPLITS:
            if shards[split]:
                sources = [Shard(paths[name], files.label(name)) for name in shards[split]]
                part_ids = ids if split == "test" else None
                parts.append(_part(split, sources, profile.image_size, part_ids))
        return RawCompetition(profile, tuple(parts), inventory, describe_counts(profile, parts))

    if not packed:
        return finish(local)

    def unpack(work: Path, progress: Progress) -> RawCompetition:
        total, done = sum(files.sizes[name] for name in packed), 0

        def count(n: int) -> None:
            nonlocal done
            done += n
            progress("unpacking", min(done, total), total)

        paths: dict[str, Path] = {}
        for i, name in enumerate(packed):
            paths[name] = work / f"{i}{SUFFIX}"
            unpack_file(files, name, paths[name], count)
        return finish(local | paths)

    size = sum(unpacked_bytes(files, name) for name in packed)
    return RawCompetition(profile, (), inventory, (), unpack, size)


def _shards(files: SourceFiles) -> dict[Split, list[str]]:
    """The parquet files of each split, in the order of their names."""
    result: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for plain, names in files.by_plain_name.items():
        if plain.endswith(SUFFIX):
            for name in names:
                split = _split_of(name)
                if split is not None:
                    result[split].append(name)
    return {split: sorted(names) for split, names in result.items()}


def _split_of(name: str) -> Split | None:
    """The split in a file's name, else in its folders': `train-00000-of-00013.parquet`."""
    for words in (re.split(r"[-_.]", plain_name(name)), name.lower().split("/")[:-1]):
        for word in words:
            if word in SPLIT_FOLDERS:
                return SPLIT_FOLDERS[word]  # type: ignore[return-value]
    return None


def _check_complete(files: SourceFiles, shards: dict[Split, list[str]]) -> None:
    """Raises DataError when a name says how many files there are, and some are not there."""
    for split, names in shards.items():
        numbers: dict[int, set[int]] = {}
        for name in names:
            match = SHARD.search(name)
            if match is not None:
                numbers.setdefault(int(match[2]), set()).add(int(match[1]))
        for total, existing in numbers.items():
            missing = sorted({*range(total)} - existing) if total < 100_000 else []
            if missing:
                raise DataError(
                    f"{files.location}: {len(missing):,} of {total:,} parquet files of {split} are "
                    f"missing: numbers {few(map(str, missing), len(missing))}",
                    hint="download them, too",
                )


def _pyarrow() -> Any:
    """The module pyarrow.parquet. Raises DataError where it is not installed."""
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found]
    except ImportError as error:
        raise DataError(
            "reading parquet files needs pyarrow, which is not installed",
            hint="pip install pyarrow, then run the same command again",
        ) from error
    return parquet


def _damaged(shard: Shard, reason: str) -> DataError:
    return DataError(
        f"{shard.label} cannot be read as parquet: {reason}",
        hint="the file is damaged or cut short: download it again",
    )


def _part(split: Split, shards: Sequence[Shard], size: int, ids: list[str] | None) -> Part:
    """One part, its labels read, its pixels not. Raises DataError."""
    counts: list[int] = []
    labels: list[Labels] = []
    for shard in shards:
        with parsing(partial(_damaged, shard)):
            labels.append(_read_labels(shard, split))
        counts.append(len(labels[-1]))
    n = sum(counts)
    if ids is not None and len(ids) != n:
        raise DataError(
            f"{shards[0].label} and the others have {n:,} images of {split}, but "
            f"{len(ids):,} ids are given for them"
        )
    blocks = partial(_blocks, shards, counts, size)
    joined = np.concatenate(labels)
    if (joined < 0).any():
        joined[:] = -1
    return Part(split, [str(i) for i in range(n)] if ids is None else ids, joined, blocks)


def _read_labels(shard: Shard, split: Split) -> Labels:
    """The labels of one file, int8 [n]; -1 for test rows without one. Raises DataError."""
    with _pyarrow().ParquetFile(shard.path) as file:
        names = file.schema_arrow.names
        missing = [name for name in (IMAGE, LABEL) if name not in names]
        if missing:
            raise DataError(
                f"{shard.label} has no column {' and no column '.join(missing)}: found "
                f"{few(map(printable, names), len(names), 6)}"
            )
        _check_sizes(shard, file.metadata)
        values: list[Any] = []
        for batch in file.iter_batches(LABEL_BATCH, columns=[LABEL]):
            values.extend(batch.column(0).to_pylist())
    labels = [-1 if value is None else value for value in values]
    known = (0, 1, -1) if split == "test" else (0, 1)
    wrong = sorted({str(value) for value in labels if value not in known})
    if wrong:
        raise DataError(
            f"{shard.label}: labels other than 0 and 1: {few(map(printable, wrong), len(wrong))}"
        )
    return np.array(labels, np.int8)


def _check_sizes(shard: Shard, metadata: Any) -> None:
    """Raises DataError when a file declares far more than its bytes can hold."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    declared = sum(group.total_byte_size for group in groups)
    limit = max(FREE_BYTES, MAX_RATIO * shard.path.stat().st_size)
    if declared > limit or metadata.num_rows > limit:
        raise DataError(
            f"{shard.label} declares {metadata.num_rows:,} rows of {declared:,} bytes: expected at "
            f"most {limit:,}, {MAX_RATIO} times its size"
        )


def _blocks(
    shards: Sequence[Shard], counts: Sequence[int], size: int
) -> Generator[Images, None, None]:
    """Decoded blocks in order."""
    for shard, expected in zip(shards, counts, strict=True):
        done = 0
        for pictures in _batches(shard, block_rows(size)):
            block = np.empty((len(pictures), size, size, 3), np.uint8)
            rows = _Rows(shard.label, done, pictures)
            for row, name in zip(block, rows.sizes, strict=True):
                decode(rows, name, size, row)
            done += len(block)
            yield block
        if done != expected:
            raise _damaged(shard, f"expected {expected:,} images, found {done:,}")


def _batches(shard: Shard, rows: int) -> Iterator[list[bytes]]:
    """The pictures of one file, some at a time."""
    with parsing(partial(_damaged, shard)), _pyarrow().ParquetFile(shard.path) as file:
        for batch in file.iter_batches(rows, columns=[IMAGE]):
            values = batch.column(0).to_pylist()
            yield [_bytes_of(shard, value) for value in values]


def _bytes_of(shard: Shard, value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise DataError(
            f"{shard.label}: expected the bytes of a picture in {IMAGE}, found "
            f"{type(data).__name__}",
            hint="save the data set with its images inside (embed_external_files)",
        )
    return data


@dataclass(frozen=True)
class _Rows:
    """Some rows of a file, so that their pictures are decoded like files."""

    location: str
    first: int
    pictures: Sequence[bytes]

    @property
    def sizes(self) -> dict[str, int]:
        return {f"row {self.first + i}": len(data) for i, data in enumerate(self.pictures)}

    def label(self, name: str) -> str:
        return f"{self.location}: {name}"

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.pictures[int(name.removeprefix("row ")) - self.first])

    def local_path(self, name: str) -> Path | None:
        return None
