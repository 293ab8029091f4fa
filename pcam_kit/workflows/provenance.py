"""The provenance of a run: command line, code, packages, machine, and what leaked into it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pcam_kit import __version__
from pcam_kit.clock import now
from pcam_kit.run_folders import Run

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
    """The provenance of a run, as `meta.json` records it.

    Environment variables are left out, as they may be secret.
    """
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "started": now(),
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "overrides": overrides,
        "pcam_kit": __version__,
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: version for name, version in versions.items() if version},
    }


def leaks_of(runs: Sequence[Run]) -> dict[str, Any]:
    """The leak labels of several runs together: fields of `Origin`.

    test_seen: the largest share of test patches that one of them has seen.
    """
    labels = dict.fromkeys(label for run in runs for label in run.meta.get("leaks") or ())
    seen = max(float(run.meta.get("test_seen") or 0.0) for run in runs)
    return {"leaks": [*labels], "test_seen": seen}


def git_state() -> dict[str, Any] | None:
    """The commit of the checkout that this package runs from, and whether it was changed since.

    None for an installed wheel.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command; "" when it fails."""
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
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
