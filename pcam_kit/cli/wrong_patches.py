"""`pcam errors`: the patches that a run gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pcam_kit.cli.console import print_json, print_lines, print_text, say
from pcam_kit.cli.options import DataDir, Debug, Json, Run, RunsDir, workspace_of


def errors(
    run: Run = None,
    split: Annotated[
        Literal["train", "valid", "test"],
        typer.Option("--split", help="The patches to compare with their labels."),
    ] = "valid",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="CSV",
            help="The file to write. [default: standard output]",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the patches that a run gets wrong.

    As CSV: id, label, probability, slide. The most confident errors come first. `pcam plot errors`
    shows them.
    """
    from pcam_kit import api
    from pcam_kit.display import ConsoleDisplay

    wrong = api.wrong_patches(
        run, split, workspace=workspace_of(data_dir, runs_dir), display=ConsoleDisplay()
    )
    if out is not None:
        wrong.save(out)
    if as_json:
        print_json(wrong.to_dict())
    elif out is not None:
        print_lines(out)
    else:
        print_text(wrong.to_csv())
    say(
        f"{len(wrong):,} of {wrong.n:,} patches of {wrong.split} are wrong at threshold "
        f"{wrong.threshold:.4f}"
    )
