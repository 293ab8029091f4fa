"""The files of a store: what each holds, and how it is written, read back and checked.

images.npy     uint8 [n, h, w, 3], all parts in raw order, opened as a memory map
index.npz      uncompressed: id (UTF-8 bytes), label int8, group int32, split uint8, part uint8,
               all [n]
manifest.json  schema_version, slug, profile, splits, fingerprint, split_hash,
               files (bytes and SHA-256), blocks (CRC-32 of each 4 MiB of images.npy), notes,
               copies, ...

What is checked when: at each opening the manifest, the whole index, the size of images.npy, and
some of its blocks, drawn anew each time; every byte by `pcam fetch` and `pcam doctor`.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import SPLITS, Labels
from pcam_kit.errors import DataError
from pcam_kit.files import sha256_file
from pcam_kit.parsing import open_regular, parsing, read_json, read_npz

SCHEMA = 1
BLOCK_BYTES = 4 << 20  # of images.npy, with a checksum of its own
CHECKED_BLOCKS = 4  # at each opening: 16 MiB take about 15 ms
IMAGES, INDEX, MANIFEST = "images.npy", "index.npz", "manifest.json"


@dataclass(frozen=True, eq=False)
class Index:
    """The index of a store: one row for each patch, in raw order."""

    ids: NDArray[np.bytes_]  # UTF-8; unique within a part
    labels: Labels  # -1 unknown
    groups: NDArray[np.int32]  # number of the slide, -1 unknown
    splits: NDArray[np.uint8]  # place in SPLITS
    # the part it was published in; differs from `splits` where valid was split off train
    parts: NDArray[np.uint8]

    def counts(self) -> dict[str, tuple[int, int | None]]:
        """Patches of each split there is, and positive ones; None where labels are unknown."""
        result: dict[str, tuple[int, int | None]] = {}
        for code, split in enumerate(SPLITS):
            labels = self.labels[self.splits == code]
            if len(labels) > 0:
                known = (labels >= 0).all()
                result[split] = (len(labels), int(labels.sum()) if known else None)
        return result


def encode_ids(ids: Sequence[str]) -> NDArray[np.bytes_]:
    """Text as fixed-width UTF-8.

    It takes a quarter of the space of NumPy's own text, so an index of 277,000 rows opens in
    milliseconds.
    """
    return np.array([text.encode() for text in ids], dtype=np.bytes_)


def pack_index(index: Index) -> bytes:
    """The index as the bytes of an .npz; equal indexes give equal bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        id=index.ids,
        label=index.labels,
        group=index.groups,
        split=index.splits,
        part=index.parts,
    )
    return buffer.getvalue()


class BlockSums:
    """CRC-32 of each BLOCK_BYTES of bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._crc = self._size = 0

    def update(self, data: Any) -> None:
        """Add bytes: an object with one-dimensional bytes."""
        view = memoryview(data)
        while len(view):
            piece = view[: BLOCK_BYTES - self._size]
            self._crc = zlib.crc32(piece, self._crc)
            self._size += len(piece)
            view = view[len(piece) :]
            if self._size == BLOCK_BYTES:
                self._sums.append(self._crc)
                self._crc = self._size = 0

    def sums(self) -> list[int]:
        """The sums of all blocks, the last one of what there was."""
        return [*self._sums, self._crc] if self._size else list(self._sums)


def check_blocks(path: Path, sums: Sequence[int], hint: str) -> None:
    """Compare CHECKED_BLOCKS blocks of a file, drawn at random, with their sums.

    Raises DataError, with `hint`.
    """

    def fault(reason: str) -> DataError:
        return DataError(f"{path} is damaged: {reason}", hint=hint)

    with parsing(fault), open_regular(path) as handle:
        for block in sorted(random.sample(range(len(sums)), min(CHECKED_BLOCKS, len(sums)))):
            handle.seek(block * BLOCK_BYTES)
            if zlib.crc32(handle.read(BLOCK_BYTES)) != sums[block]:
                raise fault(f"the {BLOCK_BYTES:,} bytes from {block * BLOCK_BYTES:,} on changed")


def read_index(path: Path, n: int, sha256: str, slides: int | None, hint: str) -> Index:
    """Read the index of `n` rows and so many slides (None: not known), a file of this SHA-256.

    Raises DataError, with `hint`, when it is damaged or of another shape.
    """
    with parsing(lambda reason: DataError(f"{path} is damaged: {reason}", hint=hint)):
        if sha256_file(path) != sha256:
            raise ValueError("its SHA-256 is not the one in the manifest")
        arrays = read_npz(path)
        index = Index(
            arrays["id"], arrays["label"], arrays["group"], arrays["split"], arrays["part"]
        )
    kinds = [
        (index.ids, "S"),
        (index.labels, "i"),
        (index.groups, "i"),
        (index.splits, "u"),
        (index.parts, "u"),
    ]
    if any(column.shape != (n,) or column.dtype.kind != kind for column, kind in kinds):
        raise DataError(
            f"{path} is damaged: expected {n:,} rows of id, label, group, split and part", hint=hint
        )
    limits = [
        (index.labels, -1, 1),
        (index.groups, -1, n if slides is None else slides - 1),
        (index.splits, 0, len(SPLITS) - 1),
        (index.parts, 0, len(SPLITS) - 1),
    ]
    for column, lowest, highest in limits:
        if n and not lowest <= int(column.min()) <= int(column.max()) <= highest:
            raise DataError(
                f"{path} is damaged: a value is outside {lowest} to {highest}", hint=hint
            )
    return index


def read_manifest(path: Path, hint: str) -> dict[str, Any]:
    """The manifest of the store at `path`.

    Raises DataError, with `hint`, when there is none, or one of another schema.
    """
    manifest: Any
    try:
        manifest = read_json(path / MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = "does not exist"
        if path.is_dir():
            reason = "is a half-built store (it has no manifest)"
        raise DataError(f"the store {path} {reason}", hint=hint) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path / MANIFEST} cannot be read: {error}", hint=hint) from error
    schema = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise DataError(
            f"the store {path} has schema {schema}: this version reads schema {SCHEMA}", hint=hint
        )
    return manifest


def check_manifest(manifest: dict[str, Any]) -> None:
    """Check that what the code relies on is there, and of the right type.

    Raises ValueError, KeyError or TypeError for what is not.
    """
    kinds = {"fingerprint": str, "split_hash": str, "synthetic": bool, "split": dict}
    for name, kind in kinds.items():
        if not isinstance(manifest[name], kind):
            raise ValueError(f"no usable {name!r}")
    if not isinstance(manifest["split"]["method"], str):
        raise ValueError("no usable 'split'")
    for name in (IMAGES, INDEX):
        size, sha256 = (manifest["files"][name][key] for key in ("bytes", "sha256"))
        if type(size) is not int or re.fullmatch("[0-9a-f]{64}", sha256) is None:
            raise ValueError(f"no usable hash of {name}")
    for name, kind in (("notes", str), ("slides", str), ("inventory", dict), ("blocks", int)):
        # stores of before have no slides or no blocks
        values = manifest.get(name, []) if name in ("slides", "blocks") else manifest[name]
        if not isinstance(values, list) or any(type(value) is not kind for value in values):
            raise ValueError(f"no usable {name!r}")
    stain = manifest.get("stain", {"method": "", "of": ""})
    if not all(isinstance(stain[key], str) for key in ("method", "of")):
        raise ValueError("no usable 'stain'")
    for entry in manifest.get("copies") or []:
        counts = [entry["exact"], entry["near"], *entry["rows"]]
        if {entry["here"], entry["there"]} - {*SPLITS} or any(type(n) is not int for n in counts):
            raise ValueError("no usable 'copies'")


def data_fingerprint(slug: str, images_sha256: str, index_sha256: str) -> str:
    """Hex SHA-256 that identifies the data of a competition.

    It covers pixels, ids, labels, groups and split, and nothing else.
    """
    values = json.dumps([SCHEMA, slug, images_sha256, index_sha256])
    return hashlib.sha256(values.encode()).hexdigest()
