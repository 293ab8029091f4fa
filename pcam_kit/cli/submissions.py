"""`pcam submissions`: every CSV and submission, best first, as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcam_kit.cli.console import csv_cell, print_cards, print_json, print_lines, say
from pcam_kit.cli.options import Debug, Json, SubmissionsDir, workspace_of
from pcam_kit.text import printable

if TYPE_CHECKING:
    from pcam_kit.submissions import Entry

# Other programs read these: keys of the JSON object. Their order stays; new ones go to the end.
CSV_COLUMNS = (
    "competition",
    "ref",
    "status",
    "valid_score",
    "valid_low",
    "valid_high",
    "public_score",
    "private_score",
    "gap",
    "runs",
    "configs",
    "commit",
    "tta",
    "created",
    "sent",
    "csv",
    "sha256",
    "file_name",
    "message",
    "error",
    "leaks",
)
SCORES = ("ref", "status", "validation", "public", "private", "gap", "runs", "config", "commit")
NUMBERS = {"validation", "public", "private", "gap"}
LONGEST = 16  # characters of a cell on a terminal


def submissions(
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Ask Kaggle for what is missing: scores, and unknown outcomes."
        ),
    ] = False,
    submissions_dir: SubmissionsDir = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV on stdout, one row a submission.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """All CSVs and submissions, best first.

    gap is the public minus the validation score.
    """
    from pcam_kit import api
    from pcam_kit.errors import UsageError

    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be printed", hint="choose one of them")
    workspace = workspace_of(None, None, submissions_dir)
    problem = api.refresh_submissions(workspace=workspace) if refresh else None
    entries = api.list_submissions(workspace=workspace)
    if as_json:
        print_json({"submissions": [entry.to_dict() for entry in entries]})
    elif as_csv:
        write_csv(entries)
    else:
        show(entries)
    if problem is not None:
        raise problem


def write_csv(entries: Sequence[Entry]) -> None:
    """One row a submission on stdout.

    Several runs and configs are joined by `;`; an absent value is an empty cell. Text that a
    spreadsheet would execute begins with an apostrophe.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in entries:
        values = entry.to_dict()
        cells = [values[name] for name in CSV_COLUMNS]
        writer.writerow([csv_cell(cell) for cell in cells])


def show(entries: Sequence[Entry]) -> None:
    """The submissions as a table.

    On a terminal two lines each, or more where it is narrow; elsewhere one line, nothing cut.
    """
    from rich.padding import Padding
    from rich.text import Text

    from pcam_kit.display import new_console

    if not entries:
        say("no CSVs yet; write one: pcam predict")
        return
    shown = new_console(soft_wrap=not sys.stdout.isatty())
    scores = [[printable(cell) for cell in _scores(entry)] for entry in entries]
    facts = [[printable(cell) for cell in _facts(entry)] for entry in entries]
    if not shown.is_terminal:
        header = (*SCORES, "time (UTC)", "competition", "CSV", "message")
        rows = [[*score, *fact] for score, fact in zip(scores, facts, strict=True)]
        print_lines(*_aligned([header, *rows]))
        return
    head, *lines = _aligned([SCORES, *([_shortened(cell) for cell in row] for row in scores)])
    if len(head) > shown.width or max(map(len, lines)) > shown.width:
        rows = [
            [fact[2], *score, *fact[:2], fact[3]] for score, fact in zip(scores, facts, strict=True)
        ]
        print_cards(["CSV", *SCORES, "time (UTC)", "competition", "message"], rows)
        return
    shown.print(Text(head, style="bold"))
    for line, fact in zip(lines, facts, strict=True):
        shown.print(Text(line), soft_wrap=True)
        text = Text("  ".join(cell for cell in fact if cell), style="dim")
        shown.print(Padding(text, (0, 0, 0, 2), expand=False))


def _scores(entry: Entry) -> list[str]:
    """The cells of SCORES. A run is shown by the end of its name, which commands accept."""
    return [
        "-" if entry.ref is None else str(entry.ref),
        entry.status,
        _number(entry.valid_score),
        _number(entry.public_score),
        _number(entry.private_score),
        "-" if entry.gap is None else f"{entry.gap:+.4f}",
        ",".join(name.rpartition("-")[2] for name in entry.runs) or "-",
        ",".join(dict.fromkeys(entry.configs)) or "-",
        (entry.commit or "-")[:8],
    ]


def _facts(entry: Entry) -> list[str]:
    """Time, competition, CSV, message; behind the message its leaks and why it has no score."""
    error = f"{entry.status}: {entry.error}" if entry.error else ""
    texts = (entry.message, *(f"leak: {label}" for label in entry.leaks), error)
    message = "; ".join(" ".join(text.split()) for text in texts if text)
    time = entry.time[:16].replace("T", " ")
    return [time, entry.competition, entry.file_name or Path(entry.csv).name, message]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text, the first the header, as lines; columns two spaces apart, numbers right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [column[0] in NUMBERS for column in columns]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
