"""Raw parts into the files of a store, in one pass over the pixels: write, hash and look for twins
as they stream by.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pcam_kit import __version__
from pcam_kit.data.leaks import Looks, crossings, join, look_at, twins
from pcam_kit.data.raw import SPLITS, Images, Part, Progress, RawCompetition
from pcam_kit.data.split import choose_valid, hash_split
from pcam_kit.data.store_files import (
    IMAGES,
    INDEX,
    MANIFEST,
    SCHEMA,
    Index,
    encode_ids,
    fingerprint_of,
    pack_index,
)
from pcam_kit.errors import DataError
from pcam_kit.files import check_space, sync_folder

COPIES = "of the "  # how the notes on copies across splits begin
KEPT = "the store that stood here before is kept as"
ROW_BYTES = 256  # about what a row costs beside its pixels
SLIDES_UNKNOWN = (
    "the validation part was cut from train without knowing the slides: patches of "
    "one slide look alike, so its scores may be optimistic"
)


def write_store(
    raw: RawCompetition, folder: Path, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Write a whole store into the empty `folder`, fsynced; returns its manifest.

    Raises DataError for pixels that do not fit, StorageError when the disk is too small, and
    OSError from writing.
    """
    work = folder / "unpacked"
    work.mkdir()
    check_space(folder, 2 * raw.unpack_bytes)  # unpacked, and as a store
    raw = raw.unpacked(work, progress)
    if not raw.parts:
        raise DataError(f"{raw.profile.slug}: there are no parts to store")
    n, size = sum(part.n for part in raw.parts), raw.profile.image_size
    check_space(folder, n * patch_bytes(size))
    images_sha256, looks = _write_images(folder / IMAGES, raw.parts, size, progress)
    shutil.rmtree(work)
    images = np.load(folder / IMAGES, mmap_mode="r")
    index, how, notes, slides, copies = _index(raw, looks, images, seed)
    packed = pack_index(index)
    with open(folder / INDEX, "wb") as handle:
        handle.write(packed)
        _sync(handle)
    index_sha256 = hashlib.sha256(packed).hexdigest()
    ids = [name for part in raw.parts for name in part.ids]
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA,
        "slug": raw.profile.slug,
        "synthetic": raw.profile.layout == "synthetic",
        "fingerprint": fingerprint_of(raw.profile.slug, images_sha256, index_sha256),
        "split_hash": hash_split([SPLITS[code] for code in index.splits], ids),
        "splits": {
            name: {"n": count, "positive": positive}
            for name, (count, positive) in index.counts().items()
        },
        "split": how,
        "notes": [*raw.notes, *notes],
        "copies": copies,
        "files": {
            IMAGES: {"bytes": (folder / IMAGES).stat().st_size, "sha256": images_sha256},
            INDEX: {"bytes": len(packed), "sha256": index_sha256},
        },
        "inventory": raw.inventory,
        "slides": slides,
        "profile": raw.profile.model_dump(mode="json"),
        "package": __version__,
    }
    if raw.stain is not None:
        manifest["stain"] = raw.stain
    write_manifest(folder, manifest)
    return manifest


def patch_bytes(size: int) -> int:
    """About what a patch of `size` pixels a side takes in a store."""
    return 3 * size**2 + ROW_BYTES


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into a folder that nobody reads yet, and fsync both."""
    with open(folder / MANIFEST, "w", encoding="utf-8") as handle:
        json.dump(manifest, handle, indent=2)
        handle.write("\n")
        _sync(handle)
    sync_folder(folder)


def _sync(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _write_images(
    path: Path, parts: Sequence[Part], size: int, progress: Progress
) -> tuple[str, Looks]:
    """The .npy of all parts; its SHA-256 and what was seen of each patch."""
    n = sum(part.n for part in parts)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (n, size, size, 3)}
    )
    digest = hashlib.sha256(header.getvalue())
    looks: list[Looks] = []
    done = 0
    with open(path, "wb") as handle:
        handle.write(header.getvalue())
        for part in parts:
            end = done + part.n
            with closing(part.blocks()) as blocks:
                for block in blocks:
                    if (
                        block.dtype != np.uint8
                        or block.shape[1:] != (size, size, 3)
                        or done + len(block) > end
                    ):
                        expected = f"{part.n:,} patches uint8 [{size}, {size}, 3]"
                        raise DataError(
                            f"the {part.split} part: expected {expected}, found {block.dtype} "
                            f"{block.shape}"
                        )
                    _write_block(handle, digest, block)
                    looks.append(look_at(block))
                    done += len(block)
                    progress("storing patches", done, n)
            if done != end:
                raise DataError(
                    f"the {part.split} part ends early: expected {part.n:,} patches, found "
                    f"{part.n - (end - done):,}"
                )
        _sync(handle)
    return digest.hexdigest(), join(looks)


def _write_block(handle: BinaryIO, digest: Any, block: Images) -> None:
    data: Any = np.ascontiguousarray(block).reshape(-1)
    handle.write(data)
    digest.update(data)


def _index(
    raw: RawCompetition, looks: Looks, images: Images, seed: int
) -> tuple[Index, dict[str, Any], list[str], list[str], list[dict[str, Any]]]:
    """The index, how it was split, what is to be said about that, the slides' names, and copies
    across splits.
    """
    parts = np.concatenate(
        [np.full(part.n, SPLITS.index(part.split), np.uint8) for part in raw.parts]
    )
    labels = np.concatenate([part.labels for part in raw.parts])
    slides = sorted({name for part in raw.parts for name in part.slides or ()})
    number = {name: i for i, name in enumerate(slides)}
    groups = np.concatenate(
        [
            np.array(
                [number[name] for name in part.slides]
                if part.slides is not None
                else [-1] * part.n,
                np.int32,
            )
            for part in raw.parts
        ]
    )
    alike = twins(looks, images)
    ids = [name for part in raw.parts for name in part.ids]
    splits = parts.copy()
    how: dict[str, Any] = {"method": "given"}
    notes: list[str] = []
    if SPLITS.index("valid") not in parts:
        train = np.flatnonzero(parts == SPLITS.index("train"))
        by_slide = len(np.unique(groups[train])) > 1
        together = groups[train].astype(np.int64) if by_slide else alike[train]
        fraction = raw.profile.valid_fraction
        chosen = choose_valid(
            [ids[row] for row in train], labels[train], together, fraction=fraction, seed=seed
        )
        splits[train[chosen]] = SPLITS.index("valid")
        how = {"method": "slides" if by_slide else "duplicates", "seed": seed, "fraction": fraction}
        if not by_slide:
            notes.append(SLIDES_UNKNOWN)
    copies = _copies(looks, alike, splits)
    notes.extend(
        f"{COPIES}{found['there']} patches {found['exact']:,} are exact and {found['near']:,} "
        f"near copies of {found['here']} patches"
        for found in copies
    )
    return Index(encode_ids(ids), labels, groups, splits, parts), how, notes, slides, copies


def _copies(
    looks: Looks, alike: NDArray[np.int64], splits: NDArray[np.uint8]
) -> list[dict[str, Any]]:
    """What `Store.copies` says."""
    found: list[dict[str, Any]] = []
    for here, there in (("train", "valid"), ("train", "test"), ("valid", "test")):
        first, second = splits == SPLITS.index(here), splits == SPLITS.index(there)
        exact, near = crossings(looks, alike, first, second)
        if exact or near:
            rows = np.flatnonzero(first & np.isin(looks.exact, looks.exact[second])).tolist()
            found.append({"here": here, "there": there, "exact": exact, "near": near, "rows": rows})
    return found
