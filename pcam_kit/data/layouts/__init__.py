"""Readers of raw data, a module a layout; a profile's `layout` names the module.

A module has `fits(files)`, whether there are files of the layout, and `open_layout(profile,
files)`, the raw competition; those in COPIES have `is_copy(files)`, too. `synthetic` has no
files and is drawn.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pcam_kit.competitions import Competition
from pcam_kit.data.layouts.synthetic import open_synthetic
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.sources.opening import open_files, unpack_archives
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.errors import DataError
from pcam_kit.files import check_space
from pcam_kit.progress import Progress

# forms in which the patches of any competition are passed on, where its own files are not there
COPIES = ("tif_folders", "parquet")


def open_raw(
    profile: Competition, path: Path | None, *, seed: int = 0, allow_missing: bool = False
) -> RawCompetition:
    """Find and check the raw data of a competition; pixels are not read yet.

    `path`: a folder (the files may be a few folders deeper, or in archives), an archive, or one of
    several HDF5 files; None only for synthetic tissue, which `seed` draws. allow_missing: leave out
    rows without an image and images without a row. Raises DataError for what is missing or does not
    fit.
    """
    if profile.layout == "synthetic":
        return open_synthetic(profile, seed)
    slug = profile.slug
    if path is None:
        raise DataError(
            f"{slug}: no raw data given", hint=f"pcam fetch {slug} --from FOLDER_OR_ARCHIVE"
        )
    files = open_files(path, slug)
    files.allow_missing = allow_missing
    if not files.packed:
        return _read(profile, files)
    noted = [*files.notes]
    try:
        raw = _read(profile, files)
        if not files.missed:
            return raw
    except DataError:
        pass  # what is missing may be in the archives that are not open yet
    size = sum(place.files.sizes[place.name] for place in files.packed)

    def unpack(work: Path, progress: Progress) -> RawCompetition:
        files.restart(noted)
        unpack_archives(files, work, progress)
        raw = _read(profile, files)
        check_space(work, 2 * raw.unpack_bytes)  # unpacked, and as a store
        return replace(raw.unpacked(work, progress), close=files.close)

    return RawCompetition(profile, (), [], (), unpack, size)


def _read(profile: Competition, files: SourceFiles) -> RawCompetition:
    """The raw competition in its own layout or, where it has no such files, in another form."""
    layout: Any = import_module(f"{__name__}.{profile.layout}")
    if not layout.fits(files):
        for name in COPIES:
            other: Any = import_module(f"{__name__}.{name}")
            if other.is_copy(files):
                layout = other
                break
    raw = layout.open_layout(profile, files)
    files.notes.extend(f"{fault}; nothing in it was needed" for fault in files.faults)
    return _with_notes(raw, files)


def _with_notes(raw: RawCompetition, files: SourceFiles) -> RawCompetition:
    """`raw` with what was noted about its files, also once it is unpacked."""
    unpack = raw.unpack

    def unpack_noted(work: Path, progress: Progress) -> RawCompetition:
        assert unpack is not None
        return _with_notes(unpack(work, progress), files)

    return replace(
        raw,
        notes=(*raw.notes, *files.all_notes(), *files.id_warnings),
        id_warnings=tuple(files.id_warnings),
        unpack=None if unpack is None else unpack_noted,
    )
