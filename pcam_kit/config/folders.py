"""The folders in which configs lie, and the names of the configs there."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def config_folders() -> tuple[Path, ...]:
    """The folders to search for a config by name: the working directory's, then the shipped one."""
    shipped = PACKAGE / "_configs"  # in a wheel
    if not shipped.is_dir():
        shipped = PACKAGE.parent / "configs"  # in a checkout
    return (Path("configs"), shipped)


def list_configs(*, kind: str = ".") -> list[str]:
    """The names of all available configs, sorted."""
    return sorted(
        {path.stem for folder in config_folders() for path in (folder / kind).glob("*.yaml")}
    )
