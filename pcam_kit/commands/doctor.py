"""`pcam doctor`: is everything as it should be, and if not, what mends it?"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from pcam_kit.commands.checks import Check, guarded, machine, packages
from pcam_kit.commands.console import say
from pcam_kit.errors import ConfigError

if TYPE_CHECKING:
    from pcam_kit.commands.folders import Folders

COLORS = {"ok": "green", "warning": "yellow", "problem": "bold red"}
COMMANDS = ("pip ", "pcam ", "chmod ", "unset ")
BEGIN = 22  # columns before a message: status and name


@dataclass(frozen=True)
class Request:
    """What was asked for: a competition, or the one fetched last; with or without the network."""

    competition: str | None = None
    offline: bool = False
    debug: bool = False


def diagnose(request: Request, folders: Callable[[], Folders]) -> Iterator[Check]:
    """Every check in turn.

    What takes long (Keras, Kaggle) goes on beside the others and is told last.

    `folders` is called when they are needed: making them imports packages that may be what is
    broken.
    """
    with machine.looking_at_backend() as backend:
        for name, check in (
            ("python", packages.python),
            ("packages", packages.packages),
            ("lookalikes", packages.lookalikes),
            ("memory", machine.memory),
        ):
            yield from guarded(name, check, debug=request.debug)
        yield from guarded("pcam-kit", lambda: _project(request, folders), debug=request.debug)
        yield from guarded("backend", backend, debug=request.debug)


def _project(request: Request, folders: Callable[[], Folders]) -> Iterator[Check]:
    """The checks of what lies here and of the account."""
    from pcam_kit.commands.checks import account, files

    places = folders()
    try:
        subject = files.find_subject(request.competition, places)
    except ConfigError as error:
        yield Check("competition", "problem", error.message, error.hint)
        subject = files.Subject()
    with account.asking_kaggle(subject, offline=request.offline) as kaggle:
        for name, check in (
            ("disk", lambda: files.disk(subject, places)),
            ("store", lambda: files.stores(subject, places)),
            ("runs", lambda: files.runs(subject, places)),
            ("ledger", lambda: files.ledger(subject, places)),
            ("credentials", lambda: account.credentials(subject)),
            ("kaggle", kaggle),
        ):
            yield from guarded(name, check, debug=request.debug)


def show(checks: Iterable[Check]) -> list[Check]:
    """Print each line as soon as it is known; all of them."""
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, soft_wrap=True)
    # as tables: without a terminal nothing is cut to a width
    width = max(60, console.width) if terminal else 10_000
    shown: list[Check] = []
    for check in checks:
        shown.append(check)
        status, name = (
            (f"{check.status:<8} ", COLORS[check.status]),
            (f"{check.name:<{BEGIN - 10}} ", "bold"),
        )
        console.print(Text.assemble(status, name, _wrapped(check.message, width, "")))
        if check.fix:
            console.print(Text(" " * BEGIN + _wrapped(check.fix, width, "-> ")))
    tally = describe(shown)
    say(f"{_count(tally['problems'], 'problem')}, {_count(tally['warnings'], 'warning')}")
    return shown


def describe(checks: list[Check]) -> dict[str, Any]:
    """The JSON object of `pcam doctor`."""
    return {
        "checks": [asdict(check) for check in checks],
        "problems": sum(check.status == "problem" for check in checks),
        "warnings": sum(check.status == "warning" for check in checks),
    }


def _wrapped(text: str, width: int, arrow: str) -> str:
    """The text in lines that begin where messages begin.

    A command stays in one piece, so that it can be copied.
    """
    indent = " " * (BEGIN + len(arrow))
    whole = " ".join(text.split())
    if arrow and whole.startswith(COMMANDS):
        return arrow + whole
    lines = textwrap.wrap(
        whole, width - len(indent), break_long_words=False, break_on_hyphens=False
    )
    return arrow + f"\n{indent}".join(lines)


def _count(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"
