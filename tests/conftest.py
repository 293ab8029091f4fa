"""What the command-line and end-to-end tests share: clean processes, a small finished project, real
patches, a loopback Kaggle.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "kaggle"))  # for the loopback server

from command_line import ONE_THREAD, PATCHES, Layout, Project, Warm, clean_env
from loopback import Loopback

from pcam_kit.cli.console import show_messages

os.environ.update(ONE_THREAD)  # before anything imports TensorFlow

QUICK = """\
# pcam train quick
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 1, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: none}
"""
TINY = """\
slug: tiny
title: Tiny tissue
aliases: [very-small]
layout: synthetic
image_size: 32
target_column: class
target: class
metric: accuracy
counts: {train: 300, valid: 100, test: 60}
default_config: quick
"""
FAINT = (
    TINY.replace("tiny", "faint")
    .replace("very-small", "pale")
    .replace("class", "probability")
    .replace("accuracy", "roc_auc")
)
FAINT = (
    FAINT.replace("target_column: probability", "target_column: label")
    .replace("Tiny", "Faint")
    .replace("300", "200")
)


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """What runs commands in this process shows messages from then on; the next test hears none."""
    logger = logging.getLogger("pcam_kit")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def messages() -> None:
    """What the library logs goes to stderr, as on the command line."""
    show_messages()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Forks commands that need TensorFlow."""
    server = Warm(tmp_path_factory.mktemp("warm"))
    yield server
    server.close()


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    """A working directory with nothing in it."""
    (tmp_path / "empty").mkdir()
    return Project(tmp_path / "empty", clean_env(tmp_path / "home"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Project:
    """Never changed by a test: two synthetic competitions `tiny` (classes, 2 runs) and `faint`
    (probabilities, 1 run), their CSVs.
    """
    root = tmp_path_factory.mktemp("finished")
    project = Project(root / "work", clean_env(root / "home"), warm)
    competitions = project.path / "configs" / "competitions"
    competitions.mkdir(parents=True)
    (competitions / "tiny.yaml").write_text(TINY, encoding="utf-8")
    (competitions / "faint.yaml").write_text(FAINT, encoding="utf-8")
    (project.path / "configs" / "quick.yaml").write_text(QUICK, encoding="utf-8")
    for slug, seeds in (("faint", [0]), ("tiny", [1, 0])):
        project.quick("fetch", slug).ok()
        for seed in seeds:
            name = f"{slug}{seed}"
            project.quick(
                "train",
                "quick",
                "--set",
                f"name={name}",
                "--set",
                f"competition={slug}",
                "--seed",
                str(seed),
            ).ok()
            run = next(path for path in project.runs() if f"-{name}-" in path.name)
            project.quick("predict", run.name, "--out", f"submissions/{name}.csv").ok()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of `finished` that a test may do anything with."""
    shutil.copytree(finished.path, tmp_path / "work")
    return Project(tmp_path / "work", clean_env(tmp_path / "home"), finished.warm)


@pytest.fixture
def started(finished: Project, tmp_path: Path) -> Project:
    """As `project`, with data and configs, but no runs and no CSVs."""
    for name in ("data", "configs"):
        shutil.copytree(finished.path / name, tmp_path / "work" / name)
    return Project(tmp_path / "work", clean_env(tmp_path / "home"), finished.warm)


@pytest.fixture
def kaggle() -> Iterator[Loopback]:
    """A Kaggle of its own for each test."""
    with Loopback() as server:
        yield server
        assert server.errors == []
        assert server.escaped == [], "a request was meant for a host beyond loopback"


@pytest.fixture
def account(kaggle: Loopback, tmp_path: Path) -> dict[str, str]:
    """The variables that lead the official client to `kaggle`, with an account there."""
    home = tmp_path / "home"
    ours = {
        name: value
        for name, value in kaggle.env(home).items()
        if name.startswith("KAGGLE_") or name.endswith("_proxy")
    }
    return clean_env(home) | ours


@pytest.fixture(scope="session")
def real_patches(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """`real_patches("tnm112", "--train", "200")` -> a folder in that raw layout, and the CSV with
    the true answers.
    """
    if not (PATCHES / "layouts.py").is_file():
        pytest.skip(
            f"needs real patches in ../{PATCHES.parent.name}/{PATCHES.name}, which are not part "
            "of the repository"
        )
    made: dict[tuple[str, ...], Path] = {}

    def make(*args: str) -> tuple[Path, Path]:
        if args not in made:
            made[args] = tmp_path_factory.mktemp("raw") / args[0]
            subprocess.run(
                [sys.executable, str(PATCHES / "layouts.py"), args[0], str(made[args]), *args[1:]],
                check=True,
            )
        return made[args], Path(f"{made[args]}.solution.csv")

    return make
