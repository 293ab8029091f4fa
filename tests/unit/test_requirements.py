"""The lowest versions that are tested are those that pyproject.toml allows."""

from __future__ import annotations

import tomllib

from command_line import CHECKOUT
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOWEST = CHECKOUT / "tests" / "lowest.txt"


def only_version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


def lowest() -> dict[str, str]:
    """The version of each package in tests/lowest.txt."""
    lines = LOWEST.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]
    return {pin.name: only_version(pin) for pin in pins}


def floor(requirement: Requirement) -> Version | None:
    """The lowest version that a requirement allows; None where it names none."""
    for specifier in requirement.specifier:
        if specifier.operator in {">=", "=="}:
            return Version(specifier.version)
    return None


def test_what_is_tested_as_lowest_is_the_lowest() -> None:
    tested = lowest()
    for requirement in map(Requirement, PROJECT["dependencies"]):
        version = Version(tested[requirement.name])
        least = floor(requirement)
        assert requirement.specifier.contains(version), requirement
        if least is not None:
            # 2.32 is not below 2.32.0; a build number may follow
            assert version.release[: len(least.release)] == least.release, requirement
            assert not any(version.release[len(least.release) : 3]), requirement


def test_the_extra_for_a_gpu_is_the_same_tensorflow() -> None:
    (cuda,) = map(Requirement, PROJECT["optional-dependencies"]["cuda"])
    assert (cuda.name, cuda.extras, str(cuda.specifier)) == ("tensorflow", {"and-cuda"}, "")
