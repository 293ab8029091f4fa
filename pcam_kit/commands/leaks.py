"""`pcam leaks`: the copies within and between the stores that are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pcam_kit.commands.console import print_table, say, work
from pcam_kit.commands.folders import Folders
from pcam_kit.competitions import Competition, Overlap, find_overlaps
from pcam_kit.data.copies import Copies, Seen, compare, see
from pcam_kit.data.store import Store, open_store
from pcam_kit.errors import UsageError


@dataclass(frozen=True)
class Compared:
    """One store by itself, or two; on the centre `size` pixels."""

    stores: tuple[Store, ...]
    size: int
    copies: list[Copies]


@dataclass(frozen=True)
class Leaks:
    """All comparisons, and what is known beforehand about their competitions: (slug, the
    competition it leaks into, how).
    """

    compared: list[Compared]
    known: list[tuple[str, Competition, Overlap]]


def find_leaks(names: Sequence[str], centre: int | None, examples: int, folders: Folders) -> Leaks:
    """Compare the stores called `names` (slugs, aliases or store folders; none: all that are here)
    by themselves and in pairs.

    `centre`: on so many pixels a side; None: all that the smaller patches have. Raises UsageError,
    DataError.
    """
    stores = _stores(names, folders)
    seen: dict[tuple[Path, int], Seen] = {}
    compared: list[Compared] = []
    with work() as progress:
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
                    seen[store.path, size] = see(store, size, progress)
            first, *second = (seen[store.path, size] for store in chosen)
            compared.append(Compared(chosen, size, compare(first, *second, examples=examples)))
    known = [
        (slug, *pair)
        for slug in dict.fromkeys(store.profile.slug for store in stores)
        for pair in find_overlaps(slug)
    ]
    return Leaks(compared, known)


def describe(leaks: Leaks) -> dict[str, Any]:
    """The JSON object of `pcam leaks`."""
    return {
        "copies": [
            {
                "here": {"store": str(found.here[0].path), "split": found.here[1]},
                "there": {"store": str(found.there[0].path), "split": found.there[1], "n": found.n},
                "pixels": compared.size,
                **{name: getattr(found, name) for name in ("exact", "turned", "near", "slides")},
                "examples": [asdict(example) for example in found.examples],
            }
            for compared in leaks.compared
            for found in compared.copies
        ],
        "known": [
            {"slug": slug, "split": one.split, "in": other.slug, "as": one.ours, "why": one.why}
            for slug, other, one in leaks.known
        ],
    }


def show(leaks: Leaks) -> None:
    """A table for each store and each pair of stores."""
    columns = ["patches of", "also in", "patches", "exact", "turned", "near", "shared slides"]
    for compared in leaks.compared:
        rows: list[list[str]] = []
        listed: list[list[str]] = []
        for found in compared.copies:
            here, there = (
                _named(*side, told=len(compared.stores) > 1) for side in (found.here, found.there)
            )
            slides = "-" if found.slides is None else f"{found.slides:,}"
            counts = [f"{count:,}" for count in (found.n, found.exact, found.turned, found.near)]
            rows.append(
                [
                    there,
                    "itself" if found.here == found.there else here,
                    *counts,
                    "-" if here == there else slides,
                ]
            )
            listed.extend(
                [there, example.there, example.kind, here, example.here]
                for example in found.examples
            )
        names = " and ".join(f"{store.profile.slug} ({store.path})" for store in compared.stores)
        print_table(f"{names}, on {compared.size}x{compared.size} pixels", columns, rows)
        if listed:
            print_table("", ["patch of", "id", "copy", "of", "id"], listed)
    for slug, other, one in leaks.known:
        say(f"known: {slug} {one.split} is in {other.slug} {one.ours} ({one.why})")


def _named(store: Store, split: str, *, told: bool) -> str:
    return f"{store.profile.slug} {split}" if told else split


def _stores(names: Sequence[str], folders: Folders) -> list[Store]:
    """Raises UsageError when there is none."""
    if names:
        chosen = [
            open_store(Path(name))
            if (Path(name) / "manifest.json").is_file()
            else folders.store(name)
            for name in names
        ]
        return list({store.path.resolve(): store for store in chosen}.values())
    found = [open_store(path.parent) for path in sorted(folders.data.glob("*/store/manifest.json"))]
    if not found:
        raise UsageError(
            f"no competition's data in {folders.data}", hint="get some: pcam fetch COMPETITION"
        )
    return found
