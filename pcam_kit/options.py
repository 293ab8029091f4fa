"""Options and arguments that several commands share, and what all of them do with their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pcam_kit.commands.folders import Folders

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="PCAM_DATA_DIR",
        metavar="DIR",
        help="Where data lies. [default: data]",
        show_default=False,
    ),
]
RunsDir = Annotated[
    Path | None,
    typer.Option(
        "--runs-dir",
        envvar="PCAM_RUNS_DIR",
        metavar="DIR",
        help="Where runs lie. [default: runs]",
        show_default=False,
    ),
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
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Run folders, names or unique parts of names. [default: the newest run]",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value, e.g. training.epochs=3.",
        show_default=False,
    ),
]
ShowConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved config and stop.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Same as --set seed=N.", show_default=False)
]


def folders(
    data: Path | None = None,
    runs: Path | None = None,
    submissions: Path | None = None,
    *,
    base: Path = Path(),
) -> Folders:
    """The folders as given, the others below `base`."""
    from pcam_kit.commands.folders import Folders

    return Folders(
        data if data is not None else base / "data",
        runs if runs is not None else base / "runs",
        submissions if submissions is not None else base / "submissions",
    )


def print_config(config: BaseModel, *, as_json: bool) -> None:
    """What `--print-config` shows: YAML that can be loaded back, or JSON."""
    from pcam_kit.config.load import dump_yaml

    if as_json:
        print_json(config.model_dump(mode="json"))
    else:
        print(dump_yaml(config), end="")


def print_json(value: dict[str, Any]) -> None:
    """The one object on stdout of `--json`."""
    print(json.dumps(value, indent=2, allow_nan=False))
