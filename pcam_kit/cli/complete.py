"""What the Tab key completes: names of runs, configs, competitions and settings.

Called by the shell at each Tab, so without NumPy, and but for settings without pydantic.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from pcam_kit.config.folders import list_configs
from pcam_kit.errors import PcamError


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """Runs, newest first."""
    return _starting(_names(context), incomplete)


def config_names(incomplete: str) -> list[str]:
    """Configs of `pcam train`."""
    return _starting(list_configs(), incomplete)


def competition_names(incomplete: str) -> list[str]:
    """Competitions that have a profile."""
    return _starting(list_configs(kind="competitions"), incomplete)


def setting_keys(incomplete: str) -> list[str]:
    """Settings of an experiment."""
    from pcam_kit.config.reference import all_settings

    return _starting(list(dict.fromkeys(item.key for item in all_settings())), incomplete)


def overrides(incomplete: str) -> list[str]:
    """The same for --set; the value is the user's."""
    return [f"{key}=" for key in setting_keys(incomplete)] if "=" not in incomplete else []


def _names(context: typer.Context) -> list[str]:
    given: Any = context.params.get("runs_dir")
    text = str(given or os.environ.get("PCAM_RUNS_DIR") or "runs")
    folder = Path(text)
    if "://" in text:  # what its mirror has; a Tab key does not wait for a network
        from pcam_kit.mirrors.address import parse

        try:
            folder = parse(text).home("runs") / "files"
        except PcamError:
            return []
    try:
        names = [path.parent.name for path in folder.glob("*/meta.json")]
    except OSError:
        return []
    return sorted((name for name in names if name.isprintable()), reverse=True)


def _starting(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
