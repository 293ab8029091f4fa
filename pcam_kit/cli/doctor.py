"""`pcam doctor`: is everything as it should be, and if not, what solves it?"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import print_json, say
from pcam_kit.cli.options import DataDir, Debug, Json, RunsDir, SubmissionsDir, workspace_of
from pcam_kit.text import printable

if TYPE_CHECKING:
    from pcam_kit.workflows.doctor import Check

COLORS = {"ok": "green", "warning": "yellow", "problem": "bold red"}
COMMANDS = ("pip ", "pcam ", "chmod ", "unset ")
STATUS_WIDTH, NAME_WIDTH = 8, 12  # characters
INDENT = STATUS_WIDTH + NAME_WIDTH + 2  # characters before a message


def doctor(
    competition: Annotated[
        str | None,
        typer.Argument(
            help="What you want to work on. [default: the competition fetched last, if any]",
            show_default=False,
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask Kaggle nothing.")] = False,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    submissions_dir: SubmissionsDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Is everything as it should be? Says what mends what is not.

    Python, packages, Keras, memory, disk, stores, runs, the account on Kaggle. Exit code 1 for a
    problem, 0 for warnings.
    """
    from pcam_kit.display import ConsoleDisplay
    from pcam_kit.workflows.doctor.diagnose import Diagnosis, DoctorRequest, diagnose

    checks = diagnose(
        DoctorRequest(competition, offline, debug),
        lambda: workspace_of(data_dir, runs_dir, submissions_dir),
        display=ConsoleDisplay(),
    )
    if as_json:
        diagnosis = Diagnosis([*checks])
        print_json(diagnosis.to_dict())
    else:
        diagnosis = Diagnosis(show(checks))
        say(f"{_count(diagnosis.problems, 'problem')}, {_count(diagnosis.warnings, 'warning')}")
    if diagnosis.problems > 0:
        raise typer.Exit(1)


def show(checks: Iterable[Check]) -> list[Check]:
    """Print each check on stdout as soon as it is known; all of them."""
    from rich.text import Text

    from pcam_kit.display import new_console

    shown_on = new_console(soft_wrap=True)
    # as tables: without a terminal nothing is cut to a width
    width = max(60, shown_on.width) if sys.stdout.isatty() else 10_000
    shown: list[Check] = []
    for check in checks:
        shown.append(check)
        status = (f"{check.status:<{STATUS_WIDTH}} ", COLORS[check.status])
        name = (f"{check.name:<{NAME_WIDTH}} ", "bold")
        shown_on.print(Text.assemble(status, name, _wrapped(check.message, width, "")))
        if check.fix:
            shown_on.print(Text(" " * INDENT + _wrapped(check.fix, width, "-> ")))
    return shown


def _wrapped(text: str, width: int, arrow: str) -> str:
    """The text in lines that begin where messages begin, the first with `arrow`.

    A command stays in one piece, so that it can be copied. `width`: characters.
    """
    indent = " " * (INDENT + len(arrow))
    one_line = printable(" ".join(text.split()))
    if arrow and one_line.startswith(COMMANDS):
        return arrow + one_line
    lines = textwrap.wrap(
        one_line, width - len(indent), break_long_words=False, break_on_hyphens=False
    )
    return arrow + f"\n{indent}".join(lines)


def _count(n: int, noun: str) -> str:
    """`no problems`, `1 problem`, `2 problems`."""
    return f"{n or 'no'} {noun}{'' if n == 1 else 's'}"
