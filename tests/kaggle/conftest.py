"""The real, unmodified client against the loopback Kaggle; nothing here reaches beyond this
machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback import Loopback, enter

from pcam_kit.downloads import retry

ROWS = 40


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server of its own for each test, and this process's environment pointing to it."""
    with Loopback() as server:
        enter(monkeypatch, server.env(tmp_path / "home"))
        monkeypatch.setattr(retry, "FIRST_DELAY", 0.002)
        yield server
        assert server.errors == []
        assert server.escaped == [], "a request was meant for a host beyond loopback"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a small competition: 400 kB in all, names with a folder and with a space among
    them.
    """
    root = tmp_path / "remote"
    dice = random.Random(5)
    for name, size in {"train.h5": 300_000, "extra/my notes.bin": 70_000, "test.h5": 1_000}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(dice.randbytes(size))
    (root / "sample_submission.csv").write_text(
        "id,label\n" + "".join(f"p{i},0\n" for i in range(ROWS)), encoding="utf-8"
    )
    return root


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    path = tmp_path / "solution.csv"
    path.write_text(
        "id,label\n" + "".join(f"p{i},{i % 2}\n" for i in range(ROWS)), encoding="utf-8"
    )
    return path


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Write a submission in which the first `wrong` rows are wrong."""

    def write(*, wrong: int = 0, header: str = "id,label", rows: int = ROWS) -> Path:
        path = tmp_path / "submission.csv"
        path.write_text(
            f"{header}\n"
            + "".join(f"p{i},{i % 2 if i >= wrong else 1 - i % 2}\n" for i in range(rows)),
            encoding="utf-8",
        )
        return path

    return write
