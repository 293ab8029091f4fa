"""What raw data look like to the store, whatever their layout: parts, each with ids, labels and
blocks of pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Competition, Split

Images = NDArray[np.uint8]
Labels = NDArray[np.int8]
# (what is being done, done, total); called often, so it must be cheap
Progress = Callable[[str, int, int], None]

# also their codes in the store's index: 0, 1, 2
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
# large enough that Python's share of the work vanishes, small enough to stay in the cache's reach
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, eq=False)
class Part:
    """One split as it was published.

    Row i of the blocks, `ids[i]`, `labels[i]` and `slides[i]` are one patch.
    """

    split: Split
    ids: list[str]  # unique within the part
    labels: Labels  # [n], -1 where unknown
    # each call starts anew; blocks are uint8 [k, h, w, 3], RGB
    blocks: Callable[[], Generator[Images, None, None]] = field(repr=False)
    slides: list[str] | None = None

    @property
    def n(self) -> int:
        """Number of patches."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class RawCompetition:
    """Raw data that passed the cheap checks.

    Packed HDF5 files (gzip, zip) cannot be looked into before they are unpacked: then `parts` is
    empty until `unpacked`.
    """

    profile: Competition
    parts: tuple[Part, ...]
    inventory: list[dict[str, Any]]  # [{"name", "files", "bytes"}]: what the data were read from
    notes: tuple[str, ...] = ()
    unpack: Callable[[Path, Progress], RawCompetition] | None = field(default=None, repr=False)
    unpack_bytes: int = 0  # disk space that unpacking takes, about
    # how the pixels were normalised, and from which store; None: they are as published
    stain: dict[str, Any] | None = None

    def unpacked(self, work: Path, progress: Progress) -> RawCompetition:
        """The same with its parts readable; temporary files go into the folder `work`, which the
        caller deletes.
        """
        return self if self.unpack is None else self.unpack(work, progress)


def silent(what: str, done: int, total: int) -> None:
    """A Progress that says nothing."""


def block_rows(image_size: int) -> int:
    """How many images of `image_size` pixels a side make a block."""
    return max(1, BLOCK_BYTES // (image_size * image_size * 3))


def few(names: Iterable[str], total: int, show: int = 3) -> str:
    """`a, b, c and 17 more`."""
    shown = list(islice(names, show))
    rest = total - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def count_notes(profile: Competition, parts: Sequence[Part]) -> tuple[str, ...]:
    """What differs from the counts that the competition publishes: `a subset: 19,171 of 100,000
    train`.
    """
    notes: list[str] = []
    for part in parts:
        expected = profile.counts.get(part.split)
        if expected is None or expected == part.n:
            continue
        kind = "a subset" if part.n < expected else "more than published"
        notes.append(f"{kind}: {part.n:,} of {expected:,} {part.split}")
    return tuple(notes)


def repeated(ids: Sequence[str]) -> list[str]:
    """The ids that occur more than once, in order of their second occurrence."""
    seen: set[str] = set()
    return [name for name in ids if name in seen or seen.add(name)]
