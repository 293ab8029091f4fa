"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="PCAM_DATA_DIR", metavar="DIR", help="Where data lies. [default: data]", show_default=False),
]
RunsDir = Annotated[
    Path | None,
    typer.Option("--runs-dir", envvar="PCAM_RUNS_DIR", metavar="DIR", help="Where runs lie. [default: runs]", show_default=False),
]
SubmissionsDir = Annotated[
    Path | None,
    typer.Option(
        "--submissions-dir",
        envvar="PCAM_SUBMISSIONS_DIR",
        metavar="DIR",
        help="Where CSVs and the ledger lie. [default: submissions]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Run folders, names or unique parts of names. [default: the newest run]", show_default=False),
]
