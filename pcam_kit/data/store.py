"""Build, open and verify the store of a competition.

What stands at its place is whole or absent, at any moment.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import Progress, RawCompetition, few, silent
from pcam_kit.data.store_files import IMAGES, INDEX, MANIFEST
from pcam_kit.data.store_reader import SplitCount, Store, open_store, verify_store
from pcam_kit.data.store_writer import KEPT, patch_bytes, write_manifest, write_store
from pcam_kit.errors import DataError, StorageError
from pcam_kit.files import PARTIAL, storage_error, sync_folder, write_json

__all__ = ["SplitCount", "Store", "build_store", "open_store", "store_bytes", "verify_store"]


def build_store(
    raw: RawCompetition, destination: Path, *, seed: int = 0, progress: Progress | None = None
) -> Store:
    """Build the store of `raw` at `destination`; the caller holds a lock.

    `seed` draws the split where none is given.

    An equal, intact store that is there is kept; a damaged one is replaced; a different intact one
    is moved aside to `<destination>.<8 hex>`, which the new store's notes say. Needs room for the
    pixels, and for unpacking packed HDF5. Raises DataError or StorageError, and then what stood
    there is untouched and nothing of the attempt is left.
    """
    tell = silent if progress is None else progress
    partial = destination.with_name(f".{destination.name}{PARTIAL}{secrets.token_hex(4)}")
    try:
        _refuse_foreign(destination)
        destination.parent.mkdir(parents=True, exist_ok=True)
        # of builds that were killed
        for left in destination.parent.glob(f".{destination.name}{PARTIAL}*"):
            _remove(left)
        partial.mkdir()
        manifest = write_store(raw, partial, seed=seed, progress=tell)
        _put_in_place(partial, destination, manifest, tell)
        return open_store(destination)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, destination) from error
    finally:
        _remove(partial)


def store_bytes(profile: Competition) -> int:
    """About how much the store of all that the competition publishes takes."""
    return sum(profile.counts.values()) * patch_bytes(profile.image_size)


def _remove(path: Path) -> None:
    """Delete if possible; what stays carries PARTIAL in its name and is never read."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _refuse_foreign(destination: Path) -> None:
    """A folder with other things in it is nobody's damaged store: replacing it could cost someone's
    files.
    """
    if not destination.exists():
        return
    there = (
        sorted(path.name for path in destination.iterdir())
        if destination.is_dir()
        else [destination.name]
    )
    other = [
        name for name in there if name not in (IMAGES, INDEX, MANIFEST) and PARTIAL not in name
    ]
    if other:
        raise StorageError(
            f"{destination} is no store: expected {IMAGES}, {INDEX} and {MANIFEST}, found "
            f"{few(other, len(other))}",
            hint="move that away, or choose another folder with --data-dir",
        )


def _put_in_place(
    partial: Path, destination: Path, manifest: dict[str, Any], progress: Progress
) -> None:
    """Rename the whole new store to its place, dealing with what stands there."""
    if not destination.exists():
        partial.rename(destination)
        sync_folder(destination.parent)
        return
    old = _intact(destination, progress)
    if old is not None and old.fingerprint == manifest["fingerprint"]:
        newer = old.profile != Competition.model_validate(manifest["profile"]) or old.manifest.get(
            "stain"
        ) != manifest.get("stain")
        if newer:  # same data, other columns, titles or origin
            write_json(destination / MANIFEST, manifest)
        return
    aside = destination.with_name(f".{destination.name}{PARTIAL}{secrets.token_hex(4)}")
    keep = old is not None and not _kept_before(destination, old.fingerprint, progress)
    if old is not None and keep:
        aside = _aside(destination, old.fingerprint)
        manifest["notes"].append(f"{KEPT} {aside.name}")
        write_manifest(partial, manifest)
    del old  # closes its memory map
    destination.rename(aside)
    try:
        partial.rename(destination)
    except OSError:
        aside.rename(destination)
        raise
    sync_folder(destination.parent)
    if not keep:
        _remove(aside)


def _aside(destination: Path, fingerprint: str) -> Path:
    name = f"{destination.name}.{fingerprint[:8]}"
    taken = {path.name for path in destination.parent.iterdir()}
    free = next(
        choice
        for choice in (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3)))
        if choice not in taken
    )
    return destination.with_name(free)


def _kept_before(destination: Path, fingerprint: str, progress: Progress) -> bool:
    """Does an intact copy of that store stand aside already?"""
    kept = _intact(destination.with_name(f"{destination.name}.{fingerprint[:8]}"), progress)
    return kept is not None and kept.fingerprint == fingerprint


def _intact(path: Path, progress: Progress) -> Store | None:
    try:
        store = open_store(path)
        verify_store(store, progress=progress)
    except DataError:
        return None
    return store
