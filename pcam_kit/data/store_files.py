"""The store's files: what each holds, how they are read back and told apart from damaged or foreign
ones.

images.npy     uint8 [n, h, w, 3], all parts in raw order, opened as a memory map
index.npz      uncompressed: id (UTF-8 bytes), label int8, group int32, split uint8, part uint8,
               all [n]
manifest.json  schema_version, slug, profile, splits, fingerprint, split_hash,
               files (bytes and SHA-256), notes, copies, ...
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.raw import SPLITS, Labels
from pcam_kit.errors import DataError
from pcam_kit.files import read_npz

SCHEMA = 1
IMAGES, INDEX, MANIFEST = "images.npy", "index.npz", "manifest.json"


@dataclass(frozen=True, eq=False)
class Index:
    """One row a patch, in raw order."""

    ids: NDArray[np.bytes_]  # UTF-8; unique within a part
    labels: Labels  # -1 unknown
    groups: NDArray[np.int32]  # number of the slide, -1 unknown
    splits: NDArray[np.uint8]  # place in SPLITS
    # the part it was published in; differs from `splits` where the validation part was cut here
    parts: NDArray[np.uint8]

    def counts(self) -> dict[str, tuple[int, int | None]]:
        """Patches, and positive ones where labels are known, of each split that there is."""
        result: dict[str, tuple[int, int | None]] = {}
        for code, split in enumerate(SPLITS):
            labels = self.labels[self.splits == code]
            if len(labels) > 0:
                result[split] = (len(labels), None if (labels < 0).any() else int(labels.sum()))
        return result


def encode_ids(ids: Sequence[str]) -> NDArray[np.bytes_]:
    """Text as fixed-width UTF-8: a quarter of NumPy's own text, so an index of 277,000 rows opens
    in milliseconds.
    """
    return np.array([text.encode() for text in ids], dtype=np.bytes_)


def pack_index(index: Index) -> bytes:
    """The index as the bytes of an .npz. Equal indexes give equal bytes."""
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


def read_index(path: Path, n: int, hint: str) -> Index:
    """Read the index of `n` rows. Raises DataError when it is damaged or of another shape."""
    try:
        arrays = read_npz(path)
        index = Index(
            arrays["id"], arrays["label"], arrays["group"], arrays["split"], arrays["part"]
        )
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged: {error}", hint=hint) from error
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
    return index


def read_manifest(path: Path, hint: str) -> dict[str, Any]:
    """The manifest of the store at `path`.

    Raises DataError when there is none, or one of another schema.
    """
    try:
        manifest: Any = json.loads((path / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "is a half-built store (it has no manifest)" if path.is_dir() else "does not exist"
        raise DataError(f"the store {path} {what}", hint=hint) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path / MANIFEST} cannot be read: {error}", hint=hint) from error
    schema = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise DataError(
            f"the store {path} has schema {schema}: this version reads schema {SCHEMA}", hint=hint
        )
    return manifest


def fingerprint_of(slug: str, images_sha256: str, index_sha256: str) -> str:
    """What identifies the data: pixels, ids, labels, groups and split of a competition, and nothing
    else.
    """
    return hashlib.sha256(
        json.dumps([SCHEMA, slug, images_sha256, index_sha256]).encode()
    ).hexdigest()
