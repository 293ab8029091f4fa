"""docs/faults.md: written from what was observed, read back to compare."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from drive import Observed
from rows import GROUPS, Row

ENTITIES = {"|": "&#124;", "\\": "&#92;"}  # what a Markdown table takes for its own
INTRODUCTION = """\
# What goes wrong, and what happens then

{rows} faults: connections that break, answers that lie, disks that fill up, processes that are killed. Each row is one of them, brought
about on purpose, and says what came of it. Nobody wrote the cells by hand: a test drives `pcam` through the real, unmodified Kaggle client
against a small Kaggle on the same machine (`tests/kaggle/loopback.py`), watches, and writes down what it saw.

For every row the same is checked:

- **Right bytes or a clear error.** Exit 0 means that files and store equal those of an undisturbed fetch, byte for byte, or that the
  submission is at Kaggle once and its score is the one that Kaggle gave. Anything else is one `error:` line, a next step (`->`), an exit
  code of the tree in `pcam_kit/errors.py`, and nothing on standard output.
- **Nothing finished is lost.** Files, stores and ledger lines of before are still there; what was whole is not downloaded twice.
- **The same command again succeeds** once the fault is gone, and leaves no parts behind. A CSV that Kaggle has taken is not sent twice:
  where nobody can know whether it was taken, the command asks, and only `--again` sends it.
- **No secret gets out.** Keys, tokens and signed URLs are searched for in everything printed and written, and in the process list;
  the storage never sees credentials.

*{alone} ...* is what `kaggle {client}` does with the same fault when nothing of this package is around it, given 8 seconds. Where a row
does not say it, it was not tried.

`make check` drives all rows but the slowest, with fewer kills, and fails where one differs from this page, or where a newer `kaggle`
is installed. `make faults` drives all of them and writes this page. Reading hints: waits between attempts are shortened in these tests; the client reaches the little Kaggle by way
of a proxy setting, so a connection that is reset at once reads as the proxy's fault; `N` stands for a submission's number.
"""
ABOUT = {
    "downloads": "`pcam fetch` of a competition of three files. Two are there already; what "
    "happens, happens to `train.h5`, 300,000 bytes. "
    "Every attempt asks Kaggle for a fresh signed URL and goes on from the bytes that are there.",
    "answers": "`pcam fetch` again: Kaggle's own answers, the list of files, names, the network "
    "on the way.",
    "archives": "`pcam fetch` of a competition of 61 files, which comes as one zip.",
    "disk": "`pcam fetch` on a disk without room, killed, or twice at once. Kills come at seeded "
    "moments, spread over the whole command.",
    "submissions": "`pcam submit` of a CSV that is right in 36 of 40 rows, so its score is 0.9. "
    "The third column has the ledger's lines: "
    "*intent* is written before the first byte leaves, *sent* when Kaggle has given a number, "
    "*complete* with the score.",
    "account": "`pcam fetch` and `pcam submit` with credentials and terminals as they should not "
    "be.",
}
ALONE = "the official client alone: "


@dataclass
class Document:
    """Cells by (group, fault); `alone` is what the official client did."""

    rows: dict[tuple[str, str], Observed] = field(default_factory=dict)
    alone: dict[tuple[str, str], str] = field(default_factory=dict)
    client: str = ""  # the version of `kaggle` that it was written with
    fresh: dict[str, tuple[Observed, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Document:
        """What the file says; nothing if it is not there."""
        made = cls()
        titles = {title: group for group, title in GROUPS.items()}
        group = ""
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if written_with := re.search("`kaggle ([0-9.]+)`", text):
            made.client = written_with[1]
        for line in text.splitlines():
            if line.startswith("## "):
                group = titles.get(line[3:], "")
            cells = [unescaped(cell.strip()) for cell in line.strip("|").split("|")]
            if (
                group
                and len(cells) == 4
                and line.startswith("| ")
                and cells[0] != "fault"
                and not cells[0].startswith("---")
            ):
                fault, sees, left, again = cells
                sees, _, alone = sees.partition(f"<br>*{ALONE}")
                made.rows[group, fault] = Observed(sees, left, again)
                made.alone[group, fault] = alone.removesuffix("*")
        return made

    def said(self, row: Row) -> Observed | None:
        return self.rows.get((row.group, row.fault))

    def faults(self) -> set[tuple[str, str]]:
        return set(self.rows)

    def note(self, row: Row, observed: Observed, alone: str) -> None:
        """A row was driven."""
        self.fresh[row.id] = (observed, alone)

    def write(self, path: Path, rows: list[Row]) -> None:
        """The whole document; a row that was not driven this time keeps its cells."""
        parts = [
            INTRODUCTION.rstrip().format(
                rows=sum(row.id in self.fresh or self.said(row) is not None for row in rows),
                client=version("kaggle"),
                alone=ALONE.strip(),
            )
        ]
        for group, title in GROUPS.items():
            parts += [
                "",
                f"## {title}",
                "",
                ABOUT[group],
                "",
                "| fault | what the user sees | left on disk | the same command again |",
            ]
            parts += ["| --- | --- | --- | --- |"]
            for row in rows:
                if row.group != group:
                    continue
                observed, alone = self.fresh.get(
                    row.id, (self.said(row), self.alone.get((group, row.fault), ""))
                )
                if observed is None:
                    continue
                sees = observed.sees + (f"<br>*{ALONE}{alone}*" if alone else "")
                cells = (row.fault, sees, observed.left, observed.again)
                parts.append(f"| {' | '.join(map(escaped, cells))} |")
        path.write_text("\n".join(parts) + "\n", encoding="utf-8", newline="\n")


def escaped(cell: str) -> str:
    """As it stands in the file."""
    for plain, entity in ENTITIES.items():
        cell = cell.replace(plain, entity)
    return cell


def unescaped(cell: str) -> str:
    """As it was observed."""
    for plain, entity in ENTITIES.items():
        cell = cell.replace(entity, plain)
    return cell
