"""Pages of docs/ that several benchmarks write: each replaces its own sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

MARK = "\n## "


def write_sections(
    page: Path, sections: Mapping[str, Sequence[str]], head: Sequence[str] | None = None
) -> None:
    """Write the lines of each section under its title, and leave the others of the page.

    New ones come last. head: the lines before the first section; None: as they are.
    """
    before, *parts = page.read_text(encoding="utf-8").split(MARK)
    bodies = {title: body for title, _, body in (part.partition("\n") for part in parts)}
    bodies |= {title: "\n".join(lines) for title, lines in sections.items()}
    top = before if head is None else "\n".join(head)
    texts = [top.strip(), *(f"## {title}\n\n{body.strip()}" for title, body in bodies.items())]
    page.write_text("\n\n".join(texts) + "\n", encoding="utf-8", newline="\n")
