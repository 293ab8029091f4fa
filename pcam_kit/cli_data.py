"""The command that looks at the data themselves as Typer sees it: leaks. `cli.py` gives it its place."""

from __future__ import annotations

from typing import Annotated

import typer

from pcam_kit.options import DataDir, Debug, Json, folders, print_json


def leaks(
    competitions: Annotated[
        list[str] | None, typer.Argument(metavar="[COMPETITION]...", help="Slugs, or store folders. [default: all in the data folder]")
    ] = None,
    centre: Annotated[
        int | None, typer.Option("--centre", min=1, help="Pixels a side to compare. [default: the smaller patches']", show_default=False)
    ] = None,
    examples: Annotated[int, typer.Option("--list", metavar="N", min=0, help="Show up to N pairs of ids of each two splits.")] = 0,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Which patches are there twice, within and across splits and stores?

    Counts exact copies, turned or mirrored ones, and near ones (compressed again, brighter).

    Each patch counts once; within a split those that repeat an earlier one.
    """
    from pcam_kit.commands import leaks as command

    found = command.find_leaks(competitions or [], centre, examples, folders(data_dir))
    if as_json:
        print_json(command.describe(found))
    else:
        command.show(found)
