"""Python and packages: are the versions those that work together?

Read from the packages' metadata; only cv2 is imported, in another process.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pcam_kit.workflows.doctor import Check, CheckStatus, background_python

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OURS = "pcam-kit"
ANY_PYTHON = ">=3.11"  # where neither a checkout nor metadata says more
# the versions that are shown when all is well
SHOWN = (
    "tensorflow",
    "keras",
    "numpy",
    "h5py",
    "albumentations",
    "opencv-python-headless",
    "kaggle",
)
# All install the same folder, cv2, so each does for another; metadata cannot say that. We require
# the first, as albumentations does.
CV2 = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
CV2_SECONDS = 30.0  # its import takes 0.2
# the variable that is set in such a notebook
NOTEBOOKS = {"KAGGLE_KERNEL_RUN_TYPE": "Kaggle", "COLAB_RELEASE_TAG": "Colab"}


def python() -> Iterator[Check]:
    """Is this Python one that pcam-kit supports?"""
    from packaging.specifiers import SpecifierSet

    supported, _ = own_requirements()
    version = platform.python_version()
    if SpecifierSet(supported).contains(version, prereleases=True):
        text = f"{version} on {platform.system()} {platform.machine()}"
        for variable, name in NOTEBOOKS.items():
            if variable in os.environ:
                text += f", in a {name} notebook ({os.environ[variable]})"
        yield Check("python", "ok", text)
    else:
        fix = (
            "make an environment with a Python that fits, e.g. uv venv --python 3.12, and "
            "install pcam-kit there"
        )
        yield Check(
            "python", "problem", f"{version} is not one that pcam-kit supports ({supported})", fix
        )


def packages() -> Iterator[Check]:
    """Does every requirement hold, those of pcam-kit and those of its requirements, all the way?

    TensorFlow says which h5py it works with, albumentations which albucore. A requirement that
    only concerns a package further down is a warning.
    """
    from packaging.requirements import Requirement

    _, texts = own_requirements()
    if not texts:
        yield Check(
            "packages",
            "warning",
            "cannot tell what pcam-kit requires: it is neither installed nor a checkout",
        )
        return
    # (requirement, the extra it belongs to, who requires it, how far below pcam-kit)
    queue = [(Requirement(text), "", OURS, 0) for text in texts]
    seen: set[tuple[str, str]] = set()
    holding = faults = 0
    while queue:
        requirement, extra, dependent, depth = queue.pop(0)
        key = (str(requirement), extra)
        marker = requirement.marker
        if key in seen or (marker is not None and not marker.evaluate({"extra": extra})):
            continue
        seen.add(key)
        specifier = requirement.specifier
        name, version = _candidate(requirement)
        if version is None or not specifier.contains(version, prereleases=True):
            faults += 1
            status: CheckStatus = "problem" if depth < 2 else "warning"
            state = f"{name} is not installed"
            if version is not None:
                state = f"{name} {version} is installed"
            yield Check(
                "packages",
                status,
                f"{state}, {dependent} needs {str(specifier) or 'it'}",
                f'pip install "{name}{specifier}"',
            )
            continue
        holding += 1
        queue += [
            (Requirement(text), required_extra, f"{name} {version}", depth + 1)
            for text in metadata.requires(name) or []
            for required_extra in ("", *sorted(requirement.extras))
        ]
    if faults == 0:
        versions = [
            f"{name} {version}" for name in SHOWN if (version := _version(name)) is not None
        ]
        yield Check("packages", "ok", f"{', '.join(versions)}; {holding} requirements hold")


def lookalikes() -> Iterator[Check]:
    """Is another package installed under the import name of one that pcam-kit needs?"""
    checks = [*_albumentations_lookalikes(), *_opencv_lookalikes()]
    yield from checks or [
        Check(
            "lookalikes",
            "ok",
            "nothing else is installed under the import names of albumentations and OpenCV",
        )
    ]


def _albumentations_lookalikes() -> Iterator[Check]:
    version = _version("albumentationsx")
    if version is None:
        return
    # --no-deps: --force-reinstall alone would also replace NumPy, SciPy and OpenCV
    fix = (
        "pip uninstall albumentationsx && pip install --force-reinstall --no-deps "
        "albumentations==2.0.8"
    )
    message = (
        f"albumentationsx {version} (AGPL) takes the import name of albumentations "
        "2.0.8 (MIT), which pcam-kit is made for"
    )
    yield Check("lookalikes", "problem", message, fix)


def _opencv_lookalikes() -> Iterator[Check]:
    """Does cv2 work, in a version that fits, where several packages install it?

    The one installed last wins, and uninstalling any of them deletes it.
    """
    from packaging.specifiers import SpecifierSet

    installed = {name: version for name in CV2 if (version := _version(name)) is not None}
    if not installed:
        return  # packages() says so
    supported = _required_opencv()
    names = " and ".join(f"{name} {version}" for name, version in installed.items())
    fix = f'pip install --force-reinstall --no-deps "{CV2[0]}{supported}"'
    try:
        with background_python("import cv2; print(cv2.__version__)", seconds=CV2_SECONDS) as wait:
            process = wait()
    except subprocess.TimeoutExpired:
        text = f"importing cv2 takes more than {CV2_SECONDS:.0f} s"
        yield Check("lookalikes", "warning", text, "try by hand: python -c 'import cv2'")
        return
    version = process.stdout.strip()
    if process.exit_code != 0:
        message = f"cv2 cannot be used: {process.failure}; installed: {names}"
        yield Check("lookalikes", "problem", message, fix)
    elif not SpecifierSet(supported).contains(version, prereleases=True):
        message = f"cv2 is OpenCV {version}, pcam-kit needs {supported}; installed: {names}"
        yield Check("lookalikes", "problem", message, fix)
    elif len(set(installed.values())) > 1:
        yield Check("lookalikes", "ok", f"cv2 is OpenCV {version}, which fits; installed: {names}")


def _required_opencv() -> str:
    """The versions of OpenCV that pcam-kit supports."""
    from packaging.requirements import Requirement

    requirements = map(Requirement, own_requirements()[1])
    return next((str(found.specifier) for found in requirements if found.name == CV2[0]), "")


def _candidate(requirement: Requirement) -> tuple[str, str | None]:
    """The package that should satisfy a requirement, and its installed version.

    That is the one it names, but for OpenCV any that satisfies it.
    """
    named = requirement.name
    if named in CV2:
        for name in (named, *CV2):
            version = _version(name)
            if version is not None and requirement.specifier.contains(version, prereleases=True):
                return name, version
    return named, _version(named)


def own_requirements() -> tuple[str, list[str]]:
    """The Python versions that pcam-kit supports, and the packages that it requires.

    From pyproject.toml in a checkout, otherwise from the metadata: those of an editable install
    stay as they were when it was installed. The list is empty where there is neither.
    """
    project_file = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if project_file.is_file():
        project = tomllib.loads(project_file.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == OURS:
            return project["requires-python"], list(project["dependencies"])
    try:
        supported = metadata.metadata(OURS)["Requires-Python"] or ANY_PYTHON
        return supported, metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return ANY_PYTHON, []


def _version(name: str) -> str | None:
    """The installed version of a package, None without one; metadata may lack the version."""
    try:
        version: str | None = metadata.version(name)
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return version
