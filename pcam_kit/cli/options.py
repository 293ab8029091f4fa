"""Options and arguments that several commands share, and the workspace they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.complete import overrides, run_names

if TYPE_CHECKING:
    from pcam_kit.workspace import Workspace

DataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        envvar="PCAM_DATA_DIR",
        metavar="DIR",
        help="Where data lies, also s3://BUCKET/PREFIX. [default: data]",
        show_default=False,
    ),
]
RunsDir = Annotated[
    str | None,
    typer.Option(
        "--runs-dir",
        envvar="PCAM_RUNS_DIR",
        metavar="DIR",
        help="Where runs lie, also s3://BUCKET/PREFIX. [default: runs]",
        show_default=False,
    ),
]
SubmissionsDir = Annotated[
    str | None,
    typer.Option(
        "--submissions-dir",
        envvar="PCAM_SUBMISSIONS_DIR",
        metavar="DIR",
        help="Where CSVs and the ledger lie, also s3://BUCKET/PREFIX. [default: submissions]",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Run folders, names or unique parts of names; ensembles such as best96. [default: "
        "the newest run]",
        autocompletion=run_names,
        show_default=False,
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="A run folder, a name or a unique part of a name. [default: the newest run]",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value, e.g. training.epochs=3.",
        autocompletion=overrides,
        show_default=False,
    ),
]
ShowConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved config and stop.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Same as --set seed=N.", show_default=False)
]


Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        max=1000,
        help="So many side by side here, in processes of their own.",
        show_default=False,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="On a Ray cluster, e.g. auto; local begins one here.",
        show_default=False,
    ),
]
Cpus = Annotated[int, typer.Option("--cpus", min=1, help="Processors of each process, with --ray.")]


Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=256,
        help="Threads that prepare batches; for a GPU, processes.",
        show_default=False,
    ),
]


def workspace_of(
    data: str | None = None,
    runs: str | None = None,
    submissions: str | None = None,
    *,
    base: Path = Path(),
) -> Workspace:
    """The folders, or URLs, as given; the others below `base`."""
    from pcam_kit.workspace import Workspace

    return Workspace.of(
        data if data is not None else base / "data",
        runs if runs is not None else base / "runs",
        submissions if submissions is not None else base / "submissions",
        base / "sweeps",
    )
