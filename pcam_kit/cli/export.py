"""`pcam export`: a run's network in another format, with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, workspace_of


def export(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run folder, name or unique part of a name. [default: the newest run]",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        # exports.FORMATS, which would import NumPy for --help
        Literal["onnx", "savedmodel", "litert", "openvino", "keras"],
        typer.Option("--format", help="What to write."),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="A new folder. [default: exports/FORMAT in the run's folder]",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run's network in another format.

    With a model card. It takes uint8 pixels and answers with the probability of tumour, as the run
    does for one view of a patch. Before the folder is put in place its answers are compared with
    the run's, on up to 2,000 validation patches in the runtime of that format.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    result = api.export(
        run, format, out, workspace=workspace_of(data_dir, runs_dir), display=ConsoleDisplay()
    )
    if as_json:
        print_json(result.to_dict())
    else:
        print_lines(result.path)
