"""Readers of raw data, a module a layout; a profile's `layout` names the module.

A module has `in_layout(name)`, whether a file of this base name belongs to the layout, and
`open_layout(profile, files)`, the raw competition. `synthetic` has no files and is drawn.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from pcam_kit.competitions import Competition
from pcam_kit.data.layouts.synthetic import open_synthetic
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.sources.files import open_files
from pcam_kit.errors import DataError


def open_raw(profile: Competition, path: Path | None, *, seed: int = 0) -> RawCompetition:
    """Find and check the raw data of a competition; pixels are not read yet.

    `path`: a folder (the files may be a few folders deeper), a zip, a folder that holds the zip, or
    one of several HDF5 files; None only for synthetic tissue, which `seed` draws. Raises DataError
    for what is missing or does not fit.
    """
    if profile.layout == "synthetic":
        return open_synthetic(profile, seed)
    slug = profile.slug
    if path is None:
        raise DataError(
            f"{slug}: no raw data given", hint=f"pcam fetch {slug} --from FOLDER_OR_ZIP"
        )
    layout: Any = import_module(f"{__name__}.{profile.layout}")
    return layout.open_layout(profile, open_files(path, slug, layout.in_layout))
