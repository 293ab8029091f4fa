"""Raw data as the store reads them, whatever their layout: parts with ids, labels and pixels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Competition, Split
from pcam_kit.progress import Progress

Images = NDArray[np.uint8]
Labels = NDArray[np.int8]

# also their codes in the store's index: 0, 1, 2
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
# large enough that Python's share of the work vanishes, small enough to stay within the cache
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, eq=False)
class Part:
    """One split as it was published.

    Row i of the blocks, `ids[i]`, `labels[i]` and `slides[i]` are one patch.
    """

    split: Split
    ids: list[str]  # unique within the part
    labels: Labels  # [n], -1 where unknown
    # each call starts again; blocks are uint8 [k, h, w, 3], RGB
    blocks: Callable[[], Generator[Images, None, None]] = field(repr=False)
    slides: list[str] | None = None

    @property
    def n(self) -> int:
        """Number of patches."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class RawCompetition:
    """Raw data that passed the cheap checks.

    Packed HDF5 files (gzip, zip) cannot be read before they are unpacked: until `unpacked`, their
    `parts` are empty.
    """

    profile: Competition
    parts: tuple[Part, ...]
    inventory: list[dict[str, Any]]  # [{"name", "files", "bytes"}]: what the data were read from
    notes: tuple[str, ...] = ()
    unpack: Callable[[Path, Progress], RawCompetition] | None = field(default=None, repr=False)
    unpack_bytes: int = 0  # disk space that unpacking takes, about
    # how the pixels were normalised, and from which store; None: they are as published
    stain: dict[str, Any] | None = None
    # what whoever sends predictions must know about the test ids, such as that they are row numbers
    id_warnings: tuple[str, ...] = ()
    # closes the files that `unpacked` opened in its folder: Windows deletes no open file
    close: Callable[[], None] = field(default=lambda: None, repr=False)

    def unpacked(self, work: Path, progress: Progress) -> RawCompetition:
        """The same with its parts readable.

        Temporary files go into the folder `work`, which the caller deletes.
        """
        return self if self.unpack is None else self.unpack(work, progress)


def block_rows(image_size: int) -> int:
    """How many images of `image_size` pixels a side make a block."""
    return max(1, BLOCK_BYTES // (image_size * image_size * 3))


def describe_counts(profile: Competition, parts: Sequence[Part]) -> tuple[str, ...]:
    """Notes on counts that differ from the published ones: `a subset: 19,171 of 100,000 train`."""
    notes: list[str] = []
    for part in parts:
        expected = profile.counts.get(part.split)
        if expected is None or expected == part.n:
            continue
        kind = "a subset" if part.n < expected else "more than published"
        notes.append(f"{kind}: {part.n:,} of {expected:,} {part.split}")
    return tuple(notes)


def is_id(text: str) -> bool:
    """May this be the id of a patch: text that a table can hold and a terminal can show?"""
    return bool(text) and text.isprintable() and text == text.strip()


def find_repeated(ids: Sequence[str]) -> list[str]:
    """The ids that occur again, once for each further occurrence, in their order."""
    first: set[str] = set()
    repeated: list[str] = []
    for name in ids:
        if name in first:
            repeated.append(name)
        first.add(name)
    return repeated
