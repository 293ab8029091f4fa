"""`pcam leaks`: which patches are there twice, within and across splits and stores?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_json, print_table, say
from pcam_kit.cli.options import DataDir, Debug, Json, workspace_of

if TYPE_CHECKING:
    from pcam_kit.data.copies import Copies
    from pcam_kit.workflows.copies import CopiesReport, StoreComparison

COLUMNS = ["patches of", "also in", "patches", "exact", "turned", "near", "shared slides"]


def leaks(
    competitions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMPETITION]...",
            help="Slugs, or store folders. [default: all in the data folder]",
        ),
    ] = None,
    centre: Annotated[
        int | None,
        typer.Option(
            "--centre",
            min=1,
            help="Pixels a side to compare. [default: the smaller patches']",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(
            "--list", metavar="N", min=0, help="Show up to N pairs of ids of each two splits."
        ),
    ] = 0,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Which patches are there twice?

    Within and across splits and stores. Counts exact copies, turned or mirrored ones, and near ones
    (compressed again, brighter).

    Each patch counts once; within a split those that repeat an earlier one.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    report = api.find_copies(
        competitions or [],
        centre=centre,
        examples=examples,
        workspace=workspace_of(data_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(report.to_dict())
    else:
        show(report)


def show(report: CopiesReport) -> None:
    """A table for each store and each pair of stores."""
    for comparison in report.comparisons:
        _show_comparison(comparison)
    for slug, other, overlap in report.known:
        say(f"known: {slug} {overlap.split} is in {other.slug} {overlap.ours} ({overlap.why})")


def _show_comparison(comparison: StoreComparison) -> None:
    several = len(comparison.stores) > 1
    rows: list[list[str]] = []
    pairs: list[list[str]] = []
    for copies in comparison.copies:
        here, there = _names(copies, several=several)
        same = copies.here == copies.there
        counts = [f"{n:,}" for n in (copies.n, copies.exact, copies.turned, copies.near)]
        slides = "-" if copies.slides is None or here == there else f"{copies.slides:,}"
        rows.append([there, "itself" if same else here, *counts, slides])
        for example in copies.examples:
            pairs.append([there, example.there, example.kind, here, example.here])
    names = " and ".join(f"{store.profile.slug} ({store.path})" for store in comparison.stores)
    print_table(f"{names}, on {comparison.size}x{comparison.size} pixels", COLUMNS, rows)
    if pairs:
        print_table("", ["patch of", "id", "copy", "of", "id"], pairs)


def _names(copies: Copies, *, several: bool) -> tuple[str, str]:
    """The two splits; with their competitions where `several` stores are compared."""
    (here, here_split), (there, there_split) = copies.here, copies.there
    if not several:
        return here_split, there_split
    return f"{here.profile.slug} {here_split}", f"{there.profile.slug} {there_split}"
