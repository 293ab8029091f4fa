"""What the README tells people to type works as it stands there; test_docs.py has the rest."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest
from command_line import CHECKOUT, Done, Layout, Project
from loopback import Loopback

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")


def commands(page: str) -> list[list[str]]:
    """The commands of a page's sh blocks, as words."""
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        for line in re.split(r"\n|&&", block)
    ]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


COMMANDS = commands(README)


def test_first_success_stands_in_the_first_lines_and_needs_two_commands() -> None:
    assert COMMANDS[:2] == [["make", "demo"], ["make", "test"]]
    assert README.splitlines().index("make test    # the whole test suite") < 25


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_do_what_the_readme_says(target: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VENV")  # of the make that runs the tests
    env = {name: value for name, value in os.environ.items() if name not in inherited}
    done = subprocess.run(
        ["make", "--dry-run", target],
        cwd=CHECKOUT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.splitlines()[-1].startswith(
        {"demo": ".venv/bin/pcam demo", "test": ".venv/bin/python -m pytest"}[target]
    )


@pytest.mark.slow
def test_the_four_commands_lead_from_kaggle_to_a_score(
    real_patches: Layout, empty: Project, kaggle: Loopback, account: dict[str, str]
) -> None:
    road = [words for words in COMMANDS if words[0] == "pcam"]
    assert [words[1] for words in road] == ["fetch", "train", "predict", "submit"]
    # three networks, all epochs
    raw, solution = real_patches("tnm112", "--train", "64", "--valid", "60", "--test", "40")
    kaggle.serve(road[0][2], raw, solution, "accuracy")
    done: list[Done] = [empty.pcam(*words[1:], **account).ok() for words in road]
    assert re.fullmatch(r"public score 0\.\d+.*\n", done[-1].out)
    assert len(empty.csvs()) == 1
    assert (empty.path / "submissions" / "ledger.jsonl").is_file()


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/python.md"])
def test_every_file_a_page_names_is_there(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md|yaml))`", text))
    assert names or page == "docs/python.md"
    own = {"my_module.py", "config.yaml"}
    roots = (CHECKOUT, CHECKOUT / "pcam_kit")
    missing = [name for name in names - own if not any((root / name).is_file() for root in roots)]
    # a file named by its last part, where the sentence says in which folder it is
    short = {path.name for path in (CHECKOUT / "pcam_kit").rglob("*.py")}
    assert [name for name in missing if "/" in name or name not in short] == []
