"""Names that no file may have somewhere, and paths as words of commands."""

from __future__ import annotations

import shlex
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

from pcam_kit import names


@pytest.mark.parametrize(
    "name", ["con", "NUL.txt", "aux.tar.gz", "Com1", "lpt¹.csv", "conin$", "prn .x"]
)
def test_devices(name: str) -> None:
    assert names.is_device(name)
    assert names.unsafe_name(f"folder/{name}") == "the name of a device"


@pytest.mark.parametrize("name", ["console", "auxiliary.csv", "com10", "null", "a.con", "lpt"])
def test_names_that_only_look_like_devices(name: str) -> None:
    assert not names.is_device(name)
    assert names.unsafe_name(f"folder/{name}") == ""


@pytest.mark.parametrize("name", ["train/0a1b.tif", "Größe (1).csv", ".hidden", "a.b-c_d e"])
def test_safe_names(name: str) -> None:
    assert names.unsafe_name(name) == ""


@pytest.mark.parametrize("path", ["runs", "my runs", "it's", "a$b"])
def test_a_path_is_one_word_of_a_shell(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "os", SimpleNamespace(name="posix"))
    assert shlex.split(names.shell_word(Path(path))) == [path]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (r"C:\Users\me\runs", r"C:\Users\me\runs"),
        (r"C:\Users\A B\runs", r'"C:\Users\A B\runs"'),
    ],
)
def test_a_path_is_one_word_of_windows_shells(
    path: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "os", SimpleNamespace(name="nt"))
    assert names.shell_word(PureWindowsPath(path)) == word  # type: ignore[arg-type]
