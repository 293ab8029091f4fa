"""`pcam submissions`: every CSV and submission, best first, as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pcam_kit.commands.console import say
from pcam_kit.submissions import Entry

# Other programs read these: names of the JSON object's keys, in an order that is not changed, only
# added to at the end.
CSV_COLUMNS = (
    *(
        "competition",
        "ref",
        "status",
        "valid_score",
        "valid_low",
        "valid_high",
        "public_score",
        "private_score",
        "gap",
    ),
    *(
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
    ),
)
SCORES = ("ref", "status", "validation", "public", "private", "gap", "runs", "config", "commit")
NUMBERS = {"validation", "public", "private", "gap"}
LONGEST = 16  # characters of a cell on a terminal


def best_submissions_first(entries: Sequence[Entry]) -> list[Entry]:
    """By public score, then by validation score; newest first among equals."""

    def key(entry: Entry) -> tuple[float, float, str]:
        public = entry.public_score if entry.public_score is not None else -1.0
        valid = entry.valid_score if entry.valid_score is not None else -1.0
        return public, valid, entry.sent or entry.created

    return sorted(entries, key=key, reverse=True)


def describe_submission(entry: Entry) -> dict[str, Any]:
    """One submission, or CSV never sent, as JSON."""
    described = asdict(entry) | {"gap": entry.gap}
    # of use to nobody but `pcam submit`
    del described["alike"], described["again"], described["size"], described["test_seen"]
    return described


def write_csv(entries: Sequence[Entry]) -> None:
    """One row a submission on stdout; several runs and configs are joined by `;`, what is not there
    is empty.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in best_submissions_first(entries):
        values = describe_submission(entry)
        writer.writerow(
            [
                ";".join(values[name]) if isinstance(values[name], list) else values[name]
                for name in CSV_COLUMNS
            ]
        )


def show_submissions(entries: Sequence[Entry]) -> None:
    """The submissions as a table: on a terminal two lines each, which fit into 100 columns;
    elsewhere one line each, nothing cut.
    """
    if not entries:
        say("no CSVs yet; write one: pcam predict")
        return
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    ordered = best_submissions_first(entries)
    scores = [_scores(entry) for entry in ordered]
    facts = [_facts(entry) for entry in ordered]
    if console.is_terminal:
        head, *lines = _aligned([SCORES, *([_cut(cell) for cell in row] for row in scores)])
        console.print(Text(head, style="bold"))
        for line, fact in zip(lines, facts, strict=True):
            console.print(Text(line), soft_wrap=True)
            console.print(
                Padding(
                    Text("  ".join(text for text in fact if text), style="dim"),
                    (0, 0, 0, 2),
                    expand=False,
                )
            )
        return
    for line in _aligned(
        [
            (*SCORES, "time (UTC)", "competition", "CSV", "message"),
            *([*s, *f] for s, f in zip(scores, facts, strict=True)),
        ]
    ):
        print(line)


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
    message = "; ".join(
        " ".join(text.split())
        for text in (entry.message, *(f"leak: {label}" for label in entry.leaks), error)
        if text
    )
    when = (entry.sent or entry.created)[:16].replace("T", " ")
    return [when, entry.competition, entry.file_name or entry.csv.rpartition("/")[2], message]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text, the first of them the header, as lines with columns two spaces apart, numbers
    to the right.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [column[0] in NUMBERS for column in columns]
    sides = [
        [
            cell.rjust(w) if r else cell.ljust(w)
            for cell, w, r in zip(row, widths, right, strict=True)
        ]
        for row in rows
    ]
    return ["  ".join(cells).rstrip() for cells in sides]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
