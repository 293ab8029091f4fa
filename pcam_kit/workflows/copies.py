"""`pcam leaks`: the copies of patches within and between the stores in the data folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pcam_kit import mirrors
from pcam_kit.competitions import Competition, Overlap, find_overlaps
from pcam_kit.data.copies import Copies, StoreFingerprints, compare_stores, fingerprint_store
from pcam_kit.data.store import Store, open_store
from pcam_kit.data.store_reader import MLE_BENCH
from pcam_kit.errors import UsageError
from pcam_kit.formatting import Summary
from pcam_kit.progress import SILENT, Display
from pcam_kit.workspace import Workspace


@dataclass(frozen=True)
class StoreComparison:
    """One store with itself, or two stores, on the centre `size` x `size` pixels."""

    stores: tuple[Store, ...]
    size: int
    copies: list[Copies]


@dataclass(frozen=True, repr=False)
class CopiesReport(Summary):
    """All comparisons, and the overlaps that the competitions' profiles list.

    known: (slug, the competition that shares patches with it, which patches).
    """

    comparisons: list[StoreComparison]
    known: list[tuple[str, Competition, Overlap]]

    def summary(self) -> dict[str, str]:
        """The copies of each two splits that have some."""
        values: dict[str, str] = {}
        for comparison in self.comparisons:
            for copies in comparison.copies:
                (here, here_split), (there, there_split) = copies.here, copies.there
                pair = f"{there.path} {there_split} in {here.path} {here_split}"
                values[pair] = (
                    f"{copies.exact:,} exact, {copies.turned:,} rotated or mirrored, "
                    f"{copies.near:,} near of {copies.n:,}"
                )
        return values

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam leaks`."""
        return {
            "copies": [
                _copies_dict(copies, comparison.size)
                for comparison in self.comparisons
                for copies in comparison.copies
            ],
            "known": [
                {
                    "slug": slug,
                    "split": overlap.split,
                    "in": other.slug,
                    "as": overlap.ours,
                    "why": overlap.why,
                }
                for slug, other, overlap in self.known
            ],
        }


def find_copies(
    names: Sequence[str],
    centre: int | None,
    examples: int,
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> CopiesReport:
    """Compare the stores called `names` with themselves and in pairs.

    names: slugs, aliases or store folders; empty: all stores in the data folder. centre: compare
    this many pixels a side; None: as many as the smaller patches have. examples: pairs of ids to
    list for each two splits. Raises UsageError, DataError.
    """
    stores = _open_stores(names, workspace)
    seen: dict[tuple[Path, int], StoreFingerprints] = {}
    comparisons: list[StoreComparison] = []
    with display.work() as progress:
        for chosen in [*((store,) for store in stores), *combinations(stores, 2)]:
            smallest = min(store.images.shape[1] for store in chosen)
            size = smallest if centre is None else centre
            if size > smallest:
                raise UsageError(
                    f"--centre {size} is more than the {smallest} pixels a side of "
                    f"{chosen[0].path}",
                    hint="leave --centre out",
                )
            for store in chosen:
                if (store.path, size) not in seen:
                    seen[store.path, size] = fingerprint_store(store, size, progress)
            first, *second = (seen[store.path, size] for store in chosen)
            copies = compare_stores(first, *second, examples=examples)
            comparisons.append(StoreComparison(chosen, size, copies))
    slugs = dict.fromkeys(store.profile.slug for store in stores)
    known = [(slug, *pair) for slug in slugs for pair in find_overlaps(slug)]
    return CopiesReport(comparisons, known)


def _copies_dict(copies: Copies, size: int) -> dict[str, Any]:
    (here, here_split), (there, there_split) = copies.here, copies.there
    return {
        "here": {"store": str(here.path), "split": here_split},
        "there": {"store": str(there.path), "split": there_split, "n": copies.n},
        "pixels": size,
        "exact": copies.exact,
        "turned": copies.turned,
        "near": copies.near,
        "slides": copies.slides,
        "examples": [asdict(example) for example in copies.examples],
    }


def _open_stores(names: Sequence[str], workspace: Workspace) -> list[Store]:
    """Each store once. Raises UsageError when there is none."""
    if names:
        chosen = [_open_named(name, workspace) for name in names]
        return list({store.path.resolve(): store for store in chosen}.values())
    for slug in workspace.fetch_times():
        mirrors.bring(workspace.store_path(slug, None))
    manifests = [
        path
        for path in sorted(workspace.data.glob("*/store/manifest.json"))
        if path.parent.parent.name != MLE_BENCH  # all of it is copied from Kaggle's store
    ]
    if not manifests:
        raise UsageError(
            f"no competition's data in {workspace.data}", hint="get some: pcam fetch COMPETITION"
        )
    return [open_store(path.parent) for path in manifests]


def _open_named(name: str, workspace: Workspace) -> Store:
    folder = Path(name)
    return open_store(folder) if (folder / "manifest.json").is_file() else workspace.store(name)
