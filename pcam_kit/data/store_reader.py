"""The store: one competition's patches as a memory map with an index.

Opened in milliseconds, verified on request.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pcam_kit.competitions import Competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.raw import SPLITS, Images, Labels, Progress, silent
from pcam_kit.data.split import hash_split
from pcam_kit.data.store_files import (
    IMAGES,
    INDEX,
    Index,
    fingerprint_of,
    read_index,
    read_manifest,
)
from pcam_kit.errors import DataError
from pcam_kit.files import sha256_file

COLOUR_GRID = 32  # about so many pixels a side are enough to judge the colours of a patch
NORMALISED = "store-"  # what the names of normalised stores begin with, the method follows


@dataclass(frozen=True)
class SplitCount:
    """How many patches a split has, and how many are positive (None where labels are unknown)."""

    n: int
    positive: int | None


@dataclass(frozen=True, eq=False)
class Store:
    """An open store.

    Row i of `images`, `ids`, `labels` and `groups` is one patch; splits are told apart by `rows`.
    """

    path: Path
    profile: Competition
    fingerprint: str  # SHA-256, over pixels, ids, labels, groups and split
    split_hash: str
    images: Images = field(repr=False)  # read-only memory map [n, h, w, 3]
    labels: Labels = field(repr=False)  # -1 unknown
    groups: NDArray[np.int32] = field(repr=False)  # number of the slide, -1 unknown
    manifest: dict[str, Any] = field(repr=False)
    index: Index = field(repr=False)

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        """Ids as text [n]; unique within a split, so (split, id) names a patch."""
        return np.strings.decode(self.index.ids, "utf-8")

    @property
    def sparse(self) -> Images:
        """A view of `images` with gaps between the pixels of large patches, for their colours:
        about COLOUR_GRID a side.
        """
        step = max(1, self.images.shape[1] // COLOUR_GRID)
        return self.images[:, ::step, ::step]

    @property
    def splits(self) -> dict[str, SplitCount]:
        """The splits there are, with their counts."""
        return {name: SplitCount(*count) for name, count in self.index.counts().items()}

    @property
    def synthetic(self) -> bool:
        """Is this made-up tissue?"""
        return bool(self.manifest["synthetic"])

    @property
    def stain(self) -> StainMethod | None:
        """How the patches were normalised; None: they are as published."""
        return self.manifest["stain"]["method"] if "stain" in self.manifest else None

    @property
    def notes(self) -> list[str]:
        """What a reader of any score on these data should know."""
        return list(self.manifest["notes"])

    @property
    def copies(self) -> list[dict[str, Any]] | None:
        """Copies across splits, [{"here", "there", "exact", "near", "rows"}]; None where an earlier
        version built the store.

        `exact` and `near` count patches of the split `there` with such a copy in `here`; `rows` are
        those of `here` with an exact one.
        """
        return self.manifest.get("copies")

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split, in raw order. Raises DataError naming the splits there are."""
        if split not in self.splits:
            raise DataError(
                f"the store {self.path} has no split {split!r}: it has {', '.join(self.splits)}"
            )
        return np.flatnonzero(self.index.splits == SPLITS.index(split))  # type: ignore[arg-type]


def open_store(path: Path) -> Store:
    """Open a store: manifest, file sizes and array headers are checked, pixels are not read.

    Raises DataError that says what to type when there is none, or it is half-built, damaged or of
    another schema.
    """
    stain = path.name.removeprefix(NORMALISED) if path.name.startswith(NORMALISED) else None
    again = f" --stain {stain}" if stain is not None else ""
    # as commands lay it out: data/SLUG/store
    slug = path.parent.name if path.name == "store" or stain is not None else path.name
    hint = f"pcam fetch {slug}{again}"
    manifest = read_manifest(path, hint)
    try:
        profile = Competition.model_validate_json(json.dumps(manifest["profile"]))
        hint = f"pcam fetch {profile.slug}{again}"
        for name in (IMAGES, INDEX):
            _check_size(path / name, int(manifest["files"][name]["bytes"]), hint)
        fingerprint, split_hash, synthetic, notes = (
            manifest[key] for key in ("fingerprint", "split_hash", "synthetic", "notes")
        )
    except ValidationError as error:
        raise DataError(
            f"{path}: the profile in the manifest does not fit this version", hint=hint
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the manifest is damaged: no usable {error}", hint=hint) from error
    if not (
        isinstance(fingerprint, str)
        and isinstance(split_hash, str)
        and isinstance(synthetic, bool)
        and isinstance(notes, list)
    ) or (
        "stain" in manifest
        and not (
            isinstance(manifest["stain"], dict) and {"method", "of"} <= manifest["stain"].keys()
        )
    ):
        raise DataError(f"{path}: the manifest is damaged", hint=hint)
    try:
        images = np.load(path / IMAGES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path / IMAGES} is damaged: {error}", hint=hint) from error
    size = profile.image_size
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
        raise DataError(
            f"{path / IMAGES}: expected uint8 [n, {size}, {size}, 3], found {images.dtype} "
            f"{list(images.shape)}",
            hint=hint,
        )
    index = read_index(path / INDEX, len(images), hint)
    return Store(
        path, profile, fingerprint, split_hash, images, index.labels, index.groups, manifest, index
    )


def _check_size(path: Path, expected: int, hint: str) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != expected:
        raise DataError(
            f"{path} is damaged: expected {expected:,} bytes, found "
            f"{'no file' if found is None else f'{found:,}'}",
            hint=hint,
        )


def verify_store(store: Store, *, progress: Progress | None = None) -> None:
    """Read all of it and compare with the manifest.

    Raises DataError when a byte, a count or the split differs.
    """
    tell = silent if progress is None else progress
    hint = f"pcam fetch {store.profile.slug}" + (
        f" --stain {store.stain}" if store.stain is not None else ""
    )
    files = store.manifest["files"]
    total = sum(int(files[name]["bytes"]) for name in (IMAGES, INDEX))
    done = 0
    sums: dict[str, str] = {}

    def count(n: int) -> None:
        nonlocal done
        done += n
        tell("verifying", done, total)

    for name in (IMAGES, INDEX):
        try:
            sums[name] = sha256_file(store.path / name, count)
        except OSError as error:
            raise DataError(
                f"{store.path / name} cannot be read: {error.strerror}", hint=hint
            ) from error
        if sums[name] != files[name]["sha256"]:
            raise DataError(
                f"{store.path / name} is damaged: its SHA-256 is not the one in the manifest",
                hint=hint,
            )
    checks: list[tuple[str, Callable[[], object], object]] = [
        (
            "fingerprint",
            lambda: fingerprint_of(store.profile.slug, sums[IMAGES], sums[INDEX]),
            store.fingerprint,
        ),
        (
            "split hash",
            lambda: hash_split([SPLITS[code] for code in store.index.splits], store.ids.tolist()),
            store.split_hash,
        ),
        (
            "counts",
            lambda: {name: {"n": c.n, "positive": c.positive} for name, c in store.splits.items()},
            store.manifest.get("splits"),
        ),
    ]
    for what, compute, expected in checks:
        if compute() != expected:
            raise DataError(
                f"the store {store.path} is damaged: its {what} and its manifest differ", hint=hint
            )
