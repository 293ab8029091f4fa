"""Readers of raw data, one a layout. A new layout is a new file here and a line in `open_raw`."""

from __future__ import annotations

from pathlib import Path

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.sources import lab_h5, pcam_h5, tif_folders
from pcam_kit.data.sources.files import open_files
from pcam_kit.data.sources.synthetic import open_synthetic
from pcam_kit.errors import DataError


def open_raw(profile: Competition, path: Path | None, *, seed: int = 0) -> RawCompetition:
    """Find and check the raw data of a competition; pixels are not read yet.

    `path`: a folder (the files may lie a few folders deeper), a zip, a folder that holds the zip,
    or one of several HDF5 files; None only for made-up tissue, which `seed` draws. Raises DataError
    for what is missing or does not fit.
    """
    if profile.layout == "synthetic":
        return open_synthetic(profile, seed)
    if path is None:
        raise DataError(
            f"{profile.slug}: no raw data given",
            hint=f"pcam fetch {profile.slug} --from FOLDER_OR_ZIP",
        )
    match profile.layout:
        case "tif_folders":
            return tif_folders.open_tif_folders(
                profile, open_files(path, profile.slug, tif_folders.knows)
            )
        case "lab_h5":
            return lab_h5.open_lab_h5(profile, open_files(path, profile.slug, lab_h5.knows))
        case "pcam_h5":
            return pcam_h5.open_pcam_h5(profile, open_files(path, profile.slug, pcam_h5.knows))
