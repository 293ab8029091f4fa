"""What is installed from a wheel finds the shipped configs by name, as a checkout does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import CHECKOUT, clean_env


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("building a wheel without the network needs hatchling in this environment")
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run(
        [*build, "--wheel-dir", str(folder), str(CHECKOUT)], check=True, capture_output=True
    )
    (built,) = folder.glob("pcam_kit-*.whl")
    return built


def test_the_wheel_holds_the_package_and_its_configs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"pcam_kit/_configs/{path.relative_to(CHECKOUT / 'configs').as_posix()}"
        for path in (CHECKOUT / "configs").rglob("*.yaml")
    }
    modules = {
        path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "pcam_kit").rglob("*.py")
    }
    modules |= {
        path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "pcam_kit").rglob("*.j2")
    }
    assert {"pcam_kit/_configs/lab.yaml", "pcam_kit/_configs/competitions/pcam.yaml"} <= configs
    # what modules read from their folder: pages and their styles
    templates = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "pcam_kit").rglob("templates/*")
    }
    assert "pcam_kit/html_report/templates/page.html.j2" in templates
    expected = configs | modules | templates | {"pcam_kit/py.typed"}
    assert {name for name in names if not name.startswith("pcam_kit-")} == expected, (
        "nothing is lost, and nothing else comes along"
    )


def test_shipped_configs_are_found_in_it(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "work").mkdir()
    env = clean_env(tmp_path / "home", PYTHONPATH=str(tmp_path / "site"))

    def python(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path / "work",
            env=env,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    assert python("-c", "import pcam_kit; print(pcam_kit.__file__)").stdout.startswith(
        str(tmp_path / "site")
    )
    assert "lab_h5" in (
        tmp_path / "site/pcam_kit/_configs/competitions/tnm-112-lab-2-2024.yaml"
    ).read_text(encoding="utf-8")
    printed = python("-m", "pcam_kit", "train", "demo", "--print-config")
    assert printed.returncode == 0, printed.stderr
    assert "name: demo" in printed.stdout
    refused = python("-m", "pcam_kit", "fetch", "tnm112", "--from", "nowhere")
    assert refused.returncode == 3, "the competition is known, the folder is not there"
    assert "nowhere" in refused.stderr
