"""The commands that look at a store as Typer sees them. `cli.py` gives them their places."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pcam_kit.options import DataDir, Debug, Json, folders, print_json


def shift(
    competition: Annotated[
        str | None,
        typer.Argument(help="[default: the competition fetched last]", show_default=False),
    ] = None,
    stain: Annotated[
        Literal["reinhard", "macenko"] | None,
        typer.Option(
            help="Of the store normalised in this way. [default: as published]", show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Are the splits coloured alike?

    Stain, brightness, saturation and white of up to 2,000 patches of each split, and how far they
    are from train's.

    Names what is further away than 0.25 standard deviations; labels are not looked at.
    """
    from pcam_kit.commands import shift as command

    shifted = command.shift(competition, stain, folders(data_dir))
    if as_json:
        print_json(command.describe(shifted))
    else:
        command.show(shifted)


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
