"""`pcam embed`: features of a frozen network, computed once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, workspace_of


def embed(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A network of keras.applications or timm, hf-hub:OWNER/NAME, a foundation model "
            "such as UNI, or a folder saved from the hub.",
        ),
    ],
    competition: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="COMPETITION",
            help="Whose patches. [default: the competition fetched last]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", help="pretrained, random, or a file or folder.")
    ] = "pretrained",
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="PIXELS",
            help="Resize patches to it. [default: as the network wants them]",
            show_default=False,
        ),
    ] = None,
    views: Annotated[
        Literal["none", "d4"],
        typer.Option("--views", help="d4: the mean over all symmetries; takes 8 times as long."),
    ] = "none",
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option("--dtype", help="How features are kept.")
    ] = "float16",
    batch: Annotated[int, typer.Option("--batch", help="Patches at a time.")] = 64,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute a frozen network's features of all patches, once.

    They are kept beside the store, for pcam probe. When it was stopped, the same command resumes.
    The licence of the weights is shown before they are downloaded.

    Networks of timm, and foundation models: pip install "pcam-kit[timm]".
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    features = api.embed(
        model,
        weights=weights,
        competition=competition,
        size=size,
        views=views,
        dtype=dtype,
        batch=batch,
        workspace=workspace_of(data_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        print_json(features.to_dict())
    else:
        print_lines(features.path)
