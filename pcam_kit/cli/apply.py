"""`pcam apply`: a finished run on new tissue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_json, print_lines, print_table
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, workspace_of

if TYPE_CHECKING:
    from pcam_kit.tissue.results import TissueResult

SHOWN = 20  # images in the table


def apply(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] IMAGES",
            help="A run (default: the newest), then image files, folders, zips or patterns.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The table, .csv or .parquet. [default: tissue/NAME.csv]",
            show_default=False,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride",
            metavar="PIXELS",
            help="From tile to tile, at 0.972 µm. [default: 32; 96 is 9 times as quick]",
            show_default=False,
        ),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(
            "--pixel-size",
            metavar="µm",
            help="Micrometres a pixel, e.g. 0.25 at 40x. [default: as the file says]",
            show_default=False,
        ),
    ] = None,
    keep_background: Annotated[
        bool, typer.Option("--keep-background", help="Predict tiles without tissue, too.")
    ] = False,
    skip_unusable: Annotated[
        bool,
        typer.Option(
            "--skip-unusable", help="Leave out images that are too small or cannot be read."
        ),
    ] = False,
    no_heatmap: Annotated[bool, typer.Option("--no-heatmap", help="Draw no heat maps.")] = False,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Apply a run to new tissue: patches, or images of any size.

    An image of the run's patch size (96x96) gets one probability. A larger one, such as a slide,
    is cut into tiles and gets a heat map as well; tiles of background are left out. Images are
    resampled to the 0.972 µm per pixel of PCam where their pixel size is known. When it was
    stopped, the same command resumes.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    result = api.apply(
        None,
        words or [],
        stride=stride,
        pixel_size=pixel_size,
        out=out,
        keep_background=keep_background,
        skip_unusable=skip_unusable,
        heatmap=not no_heatmap,
        workspace=workspace_of(data_dir, runs_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(result.to_dict())
    else:
        show(result)


def show(result: TissueResult) -> None:
    """A row an image that was tiled, on stderr, and the files on stdout."""
    rows = [
        [
            image.name,
            f"{image.tiles:,}",
            f"{image.background:,}",
            f"{image.positive:,}",
            f"{100 * image.positive / image.tiles:.1f}%" if image.tiles else "-",
        ]
        for image in result.images
        if image.tiles + image.background > 1
    ]
    if rows:
        more = f", the first {SHOWN} of {len(rows):,}" if len(rows) > SHOWN else ""
        columns = ["image", "tiles", "background", "positive", "share"]
        print_table(f"tiled images{more}", columns, rows[:SHOWN], stderr=True)
    if result.path is not None:
        print_lines(result.path, *(i.heatmap for i in result.images if i.heatmap is not None))
