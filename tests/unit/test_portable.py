"""What Linux forgives and Windows does not: text without an encoding, or with its line ends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("pcam_kit", "tests", "benchmarks", "docs")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def option(call: ast.Call, name: str, position: int) -> ast.expr | None:
    """The argument of that name, or at that place."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if len(call.args) > position else None


def faults(source: str, *, same_bytes: bool) -> Iterator[tuple[int, str]]:
    """(line, what is missing) of each call that opens, reads or writes text.

    same_bytes: what is written must have the same line ends on every system.
    """
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = ""
        if isinstance(call.func, ast.Attribute):
            name = call.func.attr
        elif isinstance(call.func, ast.Name):
            name = call.func.id
        given = {keyword.arg for keyword in call.keywords}
        is_open = isinstance(call.func, ast.Name) and name == "open"
        mode = ast.unparse(option(call, "mode", 1) or ast.Constant("r")) if is_open else ""
        is_text = is_open and "b" not in mode
        reads_text = name == "read_text" and not call.args
        writes_text = name == "write_text" and len(call.args) < 2
        if (is_text or reads_text or writes_text or "text" in given) and "encoding" not in given:
            yield call.lineno, f"{name}: encoding"
        writes = name == "write_text" or (is_text and bool(set(mode) & set("wax+")))
        if same_bytes and writes and "newline" not in given:
            yield call.lineno, f"{name}: newline"


def test_text_has_an_encoding_and_line_ends_of_its_own() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in MODULES
        for line, what in faults(
            path.read_text(encoding="utf-8"), same_bytes=path.is_relative_to(ROOT / "pcam_kit")
        )
    ]
    assert len(MODULES) > 200
    assert found == []


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("open(p)", ["open: encoding"]),
        ("open(p, 'w', encoding='utf-8')", ["open: newline"]),
        ("open(p, mode='rb')", []),
        ("p.read_text()", ["read_text: encoding"]),
        ("p.write_text(x, encoding='utf-8', newline='\\n')", []),
        ("p.write_text(x)", ["write_text: encoding", "write_text: newline"]),
        ("subprocess.run(x, text=True)", ["run: encoding"]),
    ],
)
def test_the_check_finds_faults(code: str, missing: list[str]) -> None:
    assert [what for _, what in faults(code, same_bytes=True)] == missing
