"""Every command without arguments, where there is nothing to work on: help or one clear error."""

from __future__ import annotations

import pytest
from command_line import Project

from pcam_kit.__main__ import with_resume_value
from pcam_kit.cli.app import command_words

# these train or download without arguments; tests of their own run them
AT_WORK = {("demo",), ("lab", "mnist"), ("lab", "layers")}


def test_pcam_alone_shows_the_help(empty: Project) -> None:
    done = empty.pcam()
    assert done.code == 2
    assert done.out + done.err == empty.pcam("--help").ok().out


@pytest.mark.parametrize(
    "words", [words for words in command_words() if words not in AT_WORK], ids=" ".join
)
def test_a_command_without_arguments(words: tuple[str, ...], empty: Project) -> None:
    offline = ("--offline",) if words == ("doctor",) else ()
    done = empty.pcam(*words, *offline)
    assert "Traceback" not in done.out + done.err
    assert done.out + done.err, "it says something"
    # `pcam runs` and `pcam submissions` have nothing to show, which is no error
    assert done.code == 0 or "error: " in done.err.lower() or "Usage: " in done.out + done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], []),
        (["--resume"], ["--resume="]),
        (["train", "--resume", "--json"], ["train", "--resume=", "--json"]),
        (["train", "--resume", "name"], ["train", "--resume", "name"]),
        (["train", "--resume="], ["train", "--resume="]),
    ],
)
def test_resume_without_a_value(arguments: list[str], expected: list[str]) -> None:
    assert with_resume_value(arguments) == expected
