"""docs/faults.md, row by row: each fault is driven through the real client, and what is seen is
compared with what the table says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import Warm
from packaging.version import Version

sys.path.append(str(Path(__file__).parent))

from bases import Bases
from document import Document
from drive import drive
from official import OFFICIAL
from registry import ROWS
from rows import Row

FULL = os.environ.get("PCAM_FAULTS") == "full"
DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


if FULL and "PYTEST_XDIST_WORKER" in os.environ:
    raise RuntimeError("the full table is written by one process: leave out -n")


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Bases:
    made = Bases(tmp_path_factory.mktemp("faults"), warm)
    made.prepare()
    return made


@pytest.fixture(scope="session")
def document() -> Iterator[Document]:
    made = Document.read(DOCUMENT)
    yield made
    if FULL:
        made.write(DOCUMENT, ROWS)


def parameters() -> list[object]:
    """Every row; those that are known to be wrong must stay wrong until they are mended."""
    return [
        pytest.param(
            row,
            id=f"{row.group}-{row.id}",
            marks=[pytest.mark.xfail(reason=row.bug, strict=True)] if row.bug else [],
        )
        for row in ROWS
        if FULL or not row.slow
    ]


@pytest.mark.parametrize("row", parameters())
def test_fault(row: Row, bases: Bases, document: Document, tmp_path: Path) -> None:
    with bases.world_of(row.kind, tmp_path / "row", fresh=row.fresh) as world:
        observed = drive(row, world, full=FULL)
    if not FULL:
        said = document.said(row)
        assert said == observed, (
            "docs/faults.md says otherwise: run `make faults`, and look at the difference"
        )
        return
    alone = ""
    if row.id in OFFICIAL:
        with bases.world_of(row.kind, tmp_path / "official", fresh=row.fresh) as world:
            row.arrange(world)
            alone = OFFICIAL[row.id](world)
    document.note(row, observed, alone)


def test_the_table_was_written_with_this_client_or_a_newer_one(document: Document) -> None:
    if not FULL:
        assert Version(version("kaggle")) <= Version(document.client), (
            "what the official client does alone may differ now: run `make faults`, and look at "
            "the difference"
        )


def test_the_table_has_exactly_these_rows(document: Document) -> None:
    ids = [row.id for row in ROWS]
    assert len(set(ids)) == len(ids), "a row's id is its name among the tests"
    assert len({(row.group, row.fault) for row in ROWS}) == len(ids), (
        "a row's fault is its name in the table"
    )
    assert set(OFFICIAL) <= set(ids)
    if not FULL:  # else it is written at the end
        assert document.faults() == {(row.group, row.fault) for row in ROWS if not row.bug}
