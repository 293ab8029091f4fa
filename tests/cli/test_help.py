"""The end of every command's help: examples that are typed as they stand; and the Tab key."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import CHECKOUT, Project, command

from pcam_kit.__main__ import with_resume_value
from pcam_kit.cli.app import app, command_words
from pcam_kit.cli.examples import EXAMPLES

ROOT: Any = typer.main.get_command(app)
COMMANDS = [" ".join(words) for words in command_words() if words != ("lab",)]


def test_every_command_has_two_examples_and_no_other_has() -> None:
    assert sorted(EXAMPLES) == sorted(COMMANDS)
    assert all(len(examples) == 2 for examples in EXAMPLES.values())


@pytest.mark.parametrize("words", COMMANDS)
def test_examples_are_parsed_and_stand_in_help_and_docs(words: str) -> None:
    page = (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8")
    for typed, purpose in EXAMPLES[words]:
        assert typed.startswith(f"pcam {words}")
        assert len(typed) <= 56, "fits into 60 columns with its indent"
        assert f"  # {purpose}\n" in page
        assert f"  {typed}\n" in page
        arguments = shlex.split(typed.partition(" > ")[0])[1 + len(words.split()) :]
        group = ROOT
        for word in words.split():
            group = group.commands[word]
        # raises where an option is unknown or a value does not fit
        group.make_context(words, with_resume_value(arguments))


def complete(project: Project, line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    done = subprocess.run(
        command(),
        cwd=project.path,
        env=project.env
        | {
            "_PCAM_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout.split()


def test_tab_completes_runs_configs_and_settings(finished: Project) -> None:
    names = [path.name for path in finished.runs()]
    assert complete(finished, "pcam show ") == sorted(names, reverse=True)
    assert complete(finished, f"pcam evaluate {names[0][:-2]}") == [names[0]]
    assert "quick" in complete(finished, "pcam train q")
    assert set(complete(finished, "pcam train lab-n")) == {"lab-notebook"}
    assert complete(finished, "pcam train --set training.learn") == ["training.learning_rate="]
    assert complete(finished, "pcam config training.learn") == ["training.learning_rate"]
    assert "tiny" in complete(finished, "pcam fetch t")
    assert "show" in complete(finished, "pcam sh")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_completion_is_installed_for_a_shell(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    line = " ".join(map(shlex.quote, [*command(), "--install-completion"]))
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit $?"], env=env, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "_PCAM_COMPLETE" in "".join(
        path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()
    )
