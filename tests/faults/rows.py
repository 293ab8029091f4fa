"""What a row of the fault table is: one fault, the command it meets, and how that may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from world import World

GROUPS = {
    "downloads": "Downloads",
    "answers": "What Kaggle and the network answer",
    "archives": "Archives",
    "disk": "Disk, kills, two at once",
    "submissions": "Submissions",
    "account": "Account and terminal",
}
Act = Callable[["World"], None]


def nothing(_: World) -> None:
    """Nothing to arrange, or nothing to mend but the server's queued faults."""


@dataclass(frozen=True)
class Ends:
    """How a command must end: its exit code, words that its error must have, and whether the same
    again succeeds.
    """

    code: int = 0
    words: tuple[str, ...] = ()
    again: int = 0


FINE = Ends()


@dataclass(frozen=True)
class Row:
    """One fault.

    `arrange` brings it about, `mend` takes away what does not go away with the server's queued
    faults.
    """

    id: str
    group: str
    fault: str  # in words, as the table says it
    arrange: Act
    ends: Ends = FINE
    kind: Literal["lab", "tifs", "submit"] = "lab"  # which world, see world.py
    args: tuple[str, ...] = ()  # after the command's own
    mend: Act = nothing
    # see warm_server.py; of the faulty command only
    hook: dict[str, Any] = field(default_factory=dict)
    set: dict[str, float] = field(default_factory=dict)  # constants of both commands
    fresh: bool = False  # "lab": no file is there yet, so that their order is nobody's business
    rough: bool = False  # how many bytes arrived differs from time to time
    before: int = 0  # "submit": submissions at the server that are not of this command
    slow: bool = False  # only in the full table
    debug: bool = False  # a traceback is asked for
    real: bool = False  # a process of its own instead of a forked one
    closed_stdin: bool = False
    # instead of one command: what is seen, left, and comes of the next
    play: Callable[[World, bool], tuple[str, str, str]] | None = None
    bug: str = ""  # why this row is not right yet
