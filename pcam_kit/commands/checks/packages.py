"""Python and packages: are the versions those that work together?

Read off the packages' metadata; nothing is imported.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pcam_kit.commands.checks import Check

OURS = "pcam-kit"
SHOWN = (
    "tensorflow",
    "keras",
    "numpy",
    "h5py",
    "albumentations",
    "opencv-python-headless",
    "kaggle",
)
# install the same folder, cv2
CV2 = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def python() -> Iterator[Check]:
    """Is this Python one that pcam-kit supports?"""
    from packaging.specifiers import SpecifierSet

    wanted, _ = declared()
    version = platform.python_version()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield Check("python", "ok", f"{version} on {platform.system()} {platform.machine()}")
    else:
        fix = (
            "make an environment with a Python that fits, e.g. uv venv --python 3.12, and "
            "install pcam-kit there"
        )
        yield Check(
            "python", "problem", f"{version} is not one that pcam-kit supports ({wanted})", fix
        )


def packages() -> Iterator[Check]:
    """Does every requirement hold: those of pcam-kit, and those of what it requires, all the way
    down?

    TensorFlow says which h5py it works with, albumentations which albucore. What breaks only a
    package further down is a warning.
    """
    from packaging.requirements import Requirement

    _, texts = declared()
    if not texts:
        yield Check(
            "packages",
            "warning",
            "cannot tell what pcam-kit requires: it is neither installed nor a checkout",
        )
        return
    waiting = [(Requirement(text), "", OURS, 0) for text in texts]
    seen: set[tuple[str, str]] = set()
    count = faults = 0
    while waiting:
        needed, extra, by, depth = waiting.pop(0)
        key = (str(needed), extra)
        if key in seen or (
            needed.marker is not None and not needed.marker.evaluate({"extra": extra})
        ):
            continue
        seen.add(key)
        found = _version(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            faults += 1
            state = (
                f"{needed.name} is not installed"
                if found is None
                else f"{needed.name} {found} is installed"
            )
            wants = str(needed.specifier) or "it"
            fix = f'pip install "{needed.name}{needed.specifier}"'
            yield Check(
                "packages",
                "problem" if depth < 2 else "warning",
                f"{state}, {by} needs {wants}",
                fix,
            )
            continue
        count += 1
        name = f"{needed.name} {found}"
        deeper = metadata.requires(needed.name) or []
        waiting += [
            (Requirement(text), wanted, name, depth + 1)
            for text in deeper
            for wanted in ("", *sorted(needed.extras))
        ]
    if faults == 0:
        versions = [
            f"{name} {version}" for name in SHOWN if (version := _version(name)) is not None
        ]
        yield Check("packages", "ok", f"{', '.join(versions)}; {count} requirements hold")


def lookalikes() -> Iterator[Check]:
    """Is another package installed under the import name of one that pcam-kit needs?"""
    found = [*_lookalikes()]
    yield from found or [
        Check(
            "lookalikes",
            "ok",
            "nothing else is installed under the import names of albumentations and OpenCV",
        )
    ]


def _lookalikes() -> Iterator[Check]:
    if (version := _version("albumentationsx")) is not None:
        # --no-deps: --force-reinstall alone would also bring the newest OpenCV, which
        # albumentations does not work with
        fix = (
            "pip uninstall albumentationsx && pip install --force-reinstall --no-deps "
            "albumentations==2.0.8"
        )
        message = (
            f"albumentationsx {version} (AGPL) takes the import name of albumentations "
            "2.0.8 (MIT), which pcam-kit is made for"
        )
        yield Check("lookalikes", "problem", message, fix)
    ours = _version("opencv-python-headless")
    for name in CV2:
        if ours is not None and (version := _version(name)) not in {None, ours}:
            message = (
                f"{name} {version} and opencv-python-headless {ours} both install cv2: "
                "which of them is used is chance"
            )
            fix = (
                f"pip uninstall {name} && pip install --force-reinstall --no-deps "
                '"opencv-python-headless>=4.10,<5"'
            )
            yield Check(
                "lookalikes",
                "problem" if str(version).startswith("5.") else "warning",
                message,
                fix,
            )


def declared() -> tuple[str, list[str]]:
    """The Python versions and the packages that pcam-kit requires: its pyproject.toml in a
    checkout, else its metadata.

    A checkout's pyproject.toml comes first because the metadata of an editable install stay as they
    were when it was made.
    """
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if project.is_file():
        values = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if values.get("name") == OURS:
            return values["requires-python"], list(values["dependencies"])
    try:
        return metadata.metadata(OURS)["Requires-Python"] or ">=3.11", metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return ">=3.11", []


def _version(name: str) -> str | None:
    """The version installed, None when it is not. Metadata without a version count as absent."""
    try:
        found: str | None = metadata.version(name)
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return found
