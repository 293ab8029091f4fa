"""Write raw parts as a store; one pass over the pixels stores, hashes and fingerprints them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pcam_kit import __version__
from pcam_kit.data.duplicates import (
    Fingerprints,
    count_duplicates_across,
    duplicate_groups,
    fingerprint,
    join_fingerprints,
)
from pcam_kit.data.raw import SPLITS, Images, Part, RawCompetition, is_id
from pcam_kit.data.split import choose_valid, hash_split
from pcam_kit.data.store_files import (
    IMAGES,
    INDEX,
    MANIFEST,
    SCHEMA,
    BlockSums,
    Index,
    data_fingerprint,
    encode_ids,
    pack_index,
)
from pcam_kit.errors import DataError
from pcam_kit.files import check_space, sync_folder
from pcam_kit.formatting import few
from pcam_kit.progress import Progress

COPIES = "of the "  # how the notes on copies across splits begin
KEPT = "the store that stood here before is kept as"
ROW_BYTES = 256  # about what a row takes besides its pixels
SLIDES_UNKNOWN = (
    "the validation part was cut from train without knowing the slides: patches of "
    "one slide look alike, so its scores may be optimistic"
)


@dataclass(frozen=True, eq=False)
class _Table:
    """All that a store holds besides pixels.

    split: how valid was chosen. notes: what a reader of scores should know about it. slides: the
    names behind `index.groups`. copies: as in `Store.copies`.
    """

    index: Index
    split: dict[str, Any]
    notes: list[str]
    slides: list[str]
    copies: list[dict[str, Any]]


def write_store(
    raw: RawCompetition, folder: Path, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Write a complete store into the empty `folder`, fsynced; returns its manifest.

    Raises DataError for pixels that do not fit, StorageError when the disk is too small, and
    OSError from writing.
    """
    work = folder / "unpacked"
    work.mkdir()
    check_space(folder, 2 * raw.unpack_bytes)  # unpacked, and as a store
    raw = raw.unpacked(work, progress)
    if not raw.parts:
        raise DataError(f"{raw.profile.slug}: there are no parts to store")
    for part in raw.parts:
        _check_ids(raw.profile.slug, part)
    n, size = sum(part.n for part in raw.parts), raw.profile.image_size
    check_space(folder, n * patch_bytes(size))
    images_sha256, blocks, fingerprints = _write_images(folder / IMAGES, raw.parts, size, progress)
    raw.close()
    shutil.rmtree(work)
    images = np.load(folder / IMAGES, mmap_mode="r")
    table = _table(raw, fingerprints, images, seed)
    packed = pack_index(table.index)
    with open(folder / INDEX, "wb") as handle:
        handle.write(packed)
        _sync(handle)
    index_sha256 = hashlib.sha256(packed).hexdigest()
    ids = [name for part in raw.parts for name in part.ids]
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA,
        "slug": raw.profile.slug,
        "synthetic": raw.profile.layout == "synthetic",
        "fingerprint": data_fingerprint(raw.profile.slug, images_sha256, index_sha256),
        "split_hash": hash_split([SPLITS[code] for code in table.index.splits], ids),
        "splits": {
            name: {"n": count, "positive": positive}
            for name, (count, positive) in table.index.counts().items()
        },
        "split": table.split,
        "notes": [*raw.notes, *table.notes],
        "copies": table.copies,
        "id_warnings": list(raw.id_warnings),
        "files": {
            IMAGES: {"bytes": (folder / IMAGES).stat().st_size, "sha256": images_sha256},
            INDEX: {"bytes": len(packed), "sha256": index_sha256},
        },
        "blocks": blocks,
        "inventory": raw.inventory,
        "slides": table.slides,
        "profile": raw.profile.model_dump(mode="json"),
        "package": __version__,
    }
    if raw.stain is not None:
        manifest["stain"] = raw.stain
    write_manifest(folder, manifest)
    return manifest


def _check_ids(slug: str, part: Part) -> None:
    """Raises DataError for ids that no submission could hold, wherever they come from."""
    wrong = [repr(name) for name in part.ids if not is_id(name)]
    if wrong:
        raise DataError(
            f"{slug}: {len(wrong):,} ids of the {part.split} part cannot be used: "
            f"{few(wrong, len(wrong))}",
            hint="an id needs characters that can be shown, and no space around them: rename "
            "those files, or mend the table they come from",
        )


def patch_bytes(size: int) -> int:
    """About how many bytes a patch of `size` pixels a side takes in a store."""
    return 3 * size**2 + ROW_BYTES


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into a folder that nobody reads yet, and fsync both."""
    with open(folder / MANIFEST, "w", encoding="utf-8", newline="\n") as handle:
        json.dump(manifest, handle, indent=2)
        handle.write("\n")
        _sync(handle)
    sync_folder(folder)


def _sync(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _write_images(
    path: Path, parts: Sequence[Part], size: int, progress: Progress
) -> tuple[str, list[int], Fingerprints]:
    """Write the .npy of all parts.

    Returns its SHA-256, the sums of its blocks, and the fingerprints of its patches.
    """
    n = sum(part.n for part in parts)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (n, size, size, 3)}
    )
    digest, sums = hashlib.sha256(header.getvalue()), BlockSums()
    sums.update(header.getvalue())
    fingerprints: list[Fingerprints] = []
    done = 0
    with open(path, "wb") as handle:
        handle.write(header.getvalue())
        for part in parts:
            missing = part.n
            with closing(part.blocks()) as blocks:
                for block in blocks:
                    _check_block(block, part, size, missing)
                    _write_block(handle, (digest, sums), block)
                    fingerprints.append(fingerprint(block))
                    missing -= len(block)
                    done += len(block)
                    progress("storing patches", done, n)
            if missing:
                raise DataError(
                    f"the {part.split} part ends early: expected {part.n:,} patches, found "
                    f"{part.n - missing:,}"
                )
        _sync(handle)
    return digest.hexdigest(), sums.sums(), join_fingerprints(fingerprints)


def _check_block(block: Images, part: Part, size: int, missing: int) -> None:
    """Raises DataError for other shapes, or more than the `missing` patches of the part."""
    if block.dtype == np.uint8 and block.shape[1:] == (size, size, 3) and len(block) <= missing:
        return
    expected = f"{part.n:,} patches uint8 [{size}, {size}, 3]"
    raise DataError(
        f"the {part.split} part: expected {expected}, found {block.dtype} {block.shape}"
    )


def _write_block(handle: BinaryIO, digests: Sequence[Any], block: Images) -> None:
    data: Any = np.ascontiguousarray(block).reshape(-1)
    handle.write(data)
    for digest in digests:
        digest.update(data)


def _table(raw: RawCompetition, fingerprints: Fingerprints, images: Images, seed: int) -> _Table:
    """Join the parts to an index, choose valid where there is none, and count copies."""
    parts = np.concatenate(
        [np.full(part.n, SPLITS.index(part.split), np.uint8) for part in raw.parts]
    )
    labels = np.concatenate([part.labels for part in raw.parts])
    ids = [name for part in raw.parts for name in part.ids]
    slides, groups = _number_slides(raw.parts)
    duplicates = duplicate_groups(fingerprints, images)
    splits = parts.copy()
    split: dict[str, Any] = {"method": "given"}
    notes: list[str] = []
    if SPLITS.index("valid") not in parts:
        train = np.flatnonzero(parts == SPLITS.index("train"))
        by_slide = len(np.unique(groups[train])) > 1
        together = groups[train].astype(np.int64) if by_slide else duplicates[train]
        fraction = raw.profile.valid_fraction
        chosen = choose_valid(
            [ids[row] for row in train], labels[train], together, fraction=fraction, seed=seed
        )
        splits[train[chosen]] = SPLITS.index("valid")
        method = "slides" if by_slide else "duplicates"
        split = {"method": method, "seed": seed, "fraction": fraction}
        if not by_slide:
            notes.append(SLIDES_UNKNOWN)
    copies = _copies_across(fingerprints, duplicates, splits)
    notes.extend(
        f"{COPIES}{entry['there']} patches {entry['exact']:,} are exact and {entry['near']:,} "
        f"near copies of {entry['here']} patches"
        for entry in copies
    )
    index = Index(encode_ids(ids), labels, groups, splits, parts)
    return _Table(index, split, notes, slides, copies)


def _number_slides(parts: Sequence[Part]) -> tuple[list[str], NDArray[np.int32]]:
    """The names of all slides, sorted, and the number of each patch's slide; -1: unknown."""
    names = sorted({name for part in parts for name in part.slides or ()})
    numbers = {name: number for number, name in enumerate(names)}
    groups: list[int] = []
    for part in parts:
        if part.slides is None:
            groups.extend([-1] * part.n)
        else:
            groups.extend(numbers[name] for name in part.slides)
    return names, np.array(groups, np.int32)


def _copies_across(
    fingerprints: Fingerprints, duplicates: NDArray[np.int64], splits: NDArray[np.uint8]
) -> list[dict[str, Any]]:
    """The entries of `Store.copies`."""
    entries: list[dict[str, Any]] = []
    hashes = fingerprints.pixel_hashes
    for here, there in (("train", "valid"), ("train", "test"), ("valid", "test")):
        source, target = splits == SPLITS.index(here), splits == SPLITS.index(there)
        exact, near = count_duplicates_across(fingerprints, duplicates, source, target)
        if exact or near:
            rows = np.flatnonzero(source & np.isin(hashes, hashes[target])).tolist()
            entry = {"here": here, "there": there, "exact": exact, "near": near, "rows": rows}
            entries.append(entry)
    return entries
