"""The store: one competition's patches as a memory map with an index, opened in milliseconds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pcam_kit.competitions import Competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.raw import SPLITS, Images, Labels
from pcam_kit.data.split import hash_split
from pcam_kit.data.store_files import (
    BLOCK_BYTES,
    IMAGES,
    INDEX,
    Index,
    check_blocks,
    check_manifest,
    data_fingerprint,
    read_index,
    read_manifest,
)
from pcam_kit.errors import ConfigError, DataError
from pcam_kit.files import sha256_file
from pcam_kit.formatting import Summary
from pcam_kit.parsing import open_regular, parsing
from pcam_kit.progress import Progress, silent

COLOUR_GRID = 32  # pixels a side, about: enough to estimate the colours of a patch
MLE_BENCH = "mle-bench"  # the slug of the store that data/mle_bench.py makes of Kaggle's
NORMALISED = "store-"  # how the names of normalised stores begin; the method follows


@dataclass(frozen=True)
class SplitCount:
    """How many patches a split has, and how many are positive (None where labels are unknown)."""

    n: int
    positive: int | None


@dataclass(frozen=True, eq=False, repr=False)
class Store(Summary):
    """An open store.

    Row i of `images`, `ids`, `labels` and `groups` is one patch; `rows` gives those of a split.
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
        with parsing(lambda why: DataError(f"{self.path / INDEX} has ids that are none: {why}")):
            return np.strings.decode(self.index.ids, "utf-8")

    @property
    def subsampled(self) -> Images:
        """A view of `images` with about COLOUR_GRID pixels a side, for their colours."""
        step = max(1, self.images.shape[1] // COLOUR_GRID)
        return self.images[:, ::step, ::step]

    @property
    def patch_size(self) -> int:
        """Pixels a side of a patch."""
        return self.images.shape[1]

    def crop_size(self, crop: int | None) -> int:
        """Pixels a side that a network sees: `crop`, the config's `data.crop`; None: the patch.

        Raises ConfigError when the patches are smaller.
        """
        if crop is None:
            return self.patch_size
        if crop > self.patch_size:
            raise ConfigError(
                f"data.crop: {crop} is larger than the patches of {self.profile.slug}, "
                f"{self.patch_size}x{self.patch_size}"
            )
        return crop

    @property
    def splits(self) -> dict[str, SplitCount]:
        """The splits there are, with their counts."""
        return {name: SplitCount(*count) for name, count in self.index.counts().items()}

    @property
    def synthetic(self) -> bool:
        """Whether this is synthetic tissue."""
        return bool(self.manifest["synthetic"])

    @property
    def stain(self) -> StainMethod | None:
        """The method by which the patches were normalised; None: they are as published."""
        return self.manifest["stain"]["method"] if "stain" in self.manifest else None

    @property
    def notes(self) -> list[str]:
        """What a reader of any score on these data should know."""
        return list(self.manifest["notes"])

    @property
    def id_warnings(self) -> list[str]:
        """What whoever sends predictions must know about the test ids."""
        return [str(text) for text in self.manifest.get("id_warnings") or ()]

    @property
    def copies(self) -> list[dict[str, Any]] | None:
        """Copies across splits: [{"here", "there", "exact", "near", "rows"}].

        `exact` and `near` count patches of the split `there` with such a copy in `here`; `rows` are
        those of `here` with an exact one. None where an earlier version built the store.
        """
        return self.manifest.get("copies")

    def summary(self) -> dict[str, str]:
        """Title, patches of each split, and the folder."""
        side = self.patch_size
        values = {"competition": f"{self.profile.title}, {side}x{side} pixels"}
        for name, count in self.splits.items():
            positive = "labels unknown"
            if count.positive is not None:
                positive = f"{count.positive:,} positive"
            values[name] = f"{count.n:,} patches, {positive}"
        return values | {"path": str(self.path)}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam fetch`."""
        return {
            "store": str(self.path),
            "fingerprint": self.fingerprint,
            "splits": {name: asdict(count) for name, count in self.splits.items()},
        }

    def rows(self, split: str) -> NDArray[np.int64]:
        """Rows of a split, in raw order. Raises DataError naming the splits there are."""
        if split not in self.splits:
            raise DataError(
                f"the store {self.path} has no split {split!r}: it has {', '.join(self.splits)}"
            )
        return np.flatnonzero(self.index.splits == SPLITS.index(split))  # type: ignore[arg-type]


def open_store(path: Path) -> Store:
    """Open a store: manifest, index, sizes and headers are checked, and a sample of the pixels.

    Raises DataError, with the command that builds it, when there is none, or when it is half-built,
    damaged or of another schema.
    """
    # the commands keep stores as data/SLUG/store
    in_slug_folder = path.name == "store" or path.name.startswith(NORMALISED)
    hint = _fetch_command(path, path.parent.name if in_slug_folder else path.name)
    manifest = read_manifest(path, hint)

    def fault(reason: str) -> DataError:
        return DataError(f"{path}: the manifest is damaged: {reason}", hint=hint)

    with parsing(fault):
        try:
            profile = Competition.model_validate_json(json.dumps(manifest["profile"]))
        except ValidationError as error:
            raise DataError(
                f"{path}: the profile in the manifest does not fit this version", hint=hint
            ) from error
        hint = _fetch_command(path, profile.slug)
        check_manifest(manifest)
        files = manifest["files"]
    for name in (IMAGES, INDEX):
        _check_size(path / name, files[name]["bytes"], hint)
    sums = (files[name]["sha256"] for name in (IMAGES, INDEX))
    _compare(
        path, "fingerprint", data_fingerprint(profile.slug, *sums), manifest["fingerprint"], hint
    )
    images = _open_images(path / IMAGES, profile.image_size, hint)
    blocks: list[int] = manifest.get("blocks", [])  # none in stores of before
    if blocks and len(blocks) != -(-files[IMAGES]["bytes"] // BLOCK_BYTES):
        raise fault("no usable 'blocks'")
    check_blocks(path / IMAGES, blocks, hint)
    slides = len(manifest["slides"]) if "slides" in manifest else None
    index = read_index(path / INDEX, len(images), files[INDEX]["sha256"], slides, hint)
    return Store(
        path,
        profile,
        manifest["fingerprint"],
        manifest["split_hash"],
        images,
        index.labels,
        index.groups,
        manifest,
        index,
    )


def _stain_of(path: Path) -> str:
    """The method in the folder name of a normalised store; empty for other stores."""
    return path.name.removeprefix(NORMALISED) if path.name.startswith(NORMALISED) else ""


def _fetch_command(path: Path, slug: str) -> str:
    """The command that builds the store at `path`."""
    if slug == MLE_BENCH:
        return f"pcam benchmark {MLE_BENCH}"
    stain = _stain_of(path)
    return f"pcam fetch {slug}" + (f" --stain {stain}" if stain else "")


def _compare(path: Path, what: str, computed: object, expected: object, hint: str) -> None:
    """Raises DataError when a value of the store is not the one in its manifest."""
    if computed != expected:
        raise DataError(
            f"the store {path} is damaged: its {what} and its manifest differ", hint=hint
        )


def _check_size(path: Path, expected: int, hint: str) -> None:
    """Raises DataError when the file is missing or has another size."""
    size = path.stat().st_size if path.is_file() else None
    if size == expected:
        return
    actual = "no file" if size is None else f"{size:,}"
    raise DataError(f"{path} is damaged: expected {expected:,} bytes, found {actual}", hint=hint)


def _open_images(path: Path, size: int, hint: str) -> Images:
    """The memory map of the pixels.

    Raises DataError for other shapes, and for a file that does not have the size it declares.
    """
    with parsing(lambda reason: DataError(f"{path} is damaged: {reason}", hint=hint)):
        with open_regular(path) as handle:
            if np.lib.format.read_magic(handle) != (1, 0):
                raise ValueError("it is no .npy file of version 1.0")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
            start = handle.tell()
        found = path.stat().st_size - start
        if dtype != np.uint8 or fortran or shape[1:] != (size, size, 3):
            raise DataError(
                f"{path}: expected uint8 [n, {size}, {size}, 3], found {dtype} {list(shape)}",
                hint=hint,
            )
        if shape[0] * size * size * 3 != found:
            raise ValueError(f"it declares {shape[0]:,} patches and holds {found:,} bytes")
        return np.memmap(path, np.uint8, "r", start, shape)


def verify_store(store: Store, *, progress: Progress = silent) -> None:
    """Read every byte of the store and compare it with the manifest.

    Raises DataError when a byte, a count or the split differs.
    """
    slug = store.profile.slug
    stain = f" --stain {store.stain}" if store.stain is not None else ""
    hint = f"pcam fetch {slug}{stain}"
    sums = _verify_files(store, hint, progress)
    check = partial(_compare, store.path, hint=hint)
    fingerprint = data_fingerprint(slug, sums[IMAGES], sums[INDEX])
    check("fingerprint", fingerprint, store.fingerprint)
    splits = [SPLITS[code] for code in store.index.splits]
    check("split hash", hash_split(splits, store.ids.tolist()), store.split_hash)
    counts = {name: asdict(count) for name, count in store.splits.items()}
    check("counts", counts, store.manifest.get("splits"))


def _verify_files(store: Store, hint: str, progress: Progress) -> dict[str, str]:
    """The SHA-256 of each file. Raises DataError when one is not that of the manifest."""
    files = store.manifest["files"]
    total = sum(int(files[name]["bytes"]) for name in (IMAGES, INDEX))
    done = 0
    sums: dict[str, str] = {}

    def count(n: int) -> None:
        nonlocal done
        done += n
        progress("verifying", done, total)

    for name in (IMAGES, INDEX):
        path = store.path / name
        try:
            sums[name] = sha256_file(path, count)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
        if sums[name] != files[name]["sha256"]:
            raise DataError(
                f"{path} is damaged: its SHA-256 is not the one in the manifest", hint=hint
            )
    return sums
