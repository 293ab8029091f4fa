"""Where a run comes from: command line, code, packages, machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pcam_kit import __version__

PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "albumentations",
    "opencv-python-headless",
    "h5py",
    "scikit-learn",
    "kaggle",
)


def provenance(overrides: list[str]) -> dict[str, Any]:
    """What `meta.json` says about how a run came to be.

    Nothing secret: no environment variables.
    """
    return {
        "started": now(),
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "overrides": overrides,
        "pcam_kit": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond: short runs begin within the same second."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def git_state() -> dict[str, Any] | None:
    """Commit of the checkout this package runs from, and whether it was changed since; None for an
    installed wheel.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    return (
        {
            "commit": commit,
            "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
        }
        if commit
        else None
    )


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
