"""Build, open and verify the store of a competition; it is complete or absent at any moment."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.store_files import IMAGES, INDEX, MANIFEST
from pcam_kit.data.store_reader import SplitCount, Store, open_store, verify_store
from pcam_kit.data.store_writer import KEPT, patch_bytes, write_manifest, write_store
from pcam_kit.errors import DataError, StorageError
from pcam_kit.files import PARTIAL, move, storage_error, sync_folder, write_json
from pcam_kit.formatting import few
from pcam_kit.progress import Progress, silent

__all__ = ["SplitCount", "Store", "build_store", "open_store", "store_bytes", "verify_store"]


def build_store(
    raw: RawCompetition, destination: Path, *, seed: int = 0, progress: Progress = silent
) -> Store:
    """Build the store of `raw` at `destination`; the caller holds a lock.

    `seed` draws the split where none is given.

    An equal, intact store at `destination` is kept. A damaged one is replaced. A different intact
    one is moved aside to `<destination>.<8 hex>`, which the new store's notes say. Needs space for
    the pixels, and for unpacking packed HDF5. Raises DataError or StorageError; then `destination`
    is unchanged and nothing of the attempt is left.
    """
    partial = _partial_path(destination)
    try:
        _refuse_foreign(destination)
        destination.parent.mkdir(parents=True, exist_ok=True)
        for leftover in destination.parent.glob(f".{destination.name}{PARTIAL}*"):
            _remove(leftover)  # of a build that was killed
        partial.mkdir()
        manifest = write_store(raw, partial, seed=seed, progress=progress)
        _put_in_place(partial, destination, manifest, progress)
        return open_store(destination)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, destination) from error
    finally:
        _remove(partial)


def store_bytes(profile: Competition) -> int:
    """About how many bytes the store of all that the competition publishes takes."""
    return sum(profile.counts.values()) * patch_bytes(profile.image_size)


def _partial_path(destination: Path) -> Path:
    """A new path beside `destination` whose name marks it as never to be read."""
    return destination.with_name(f".{destination.name}{PARTIAL}{secrets.token_hex(4)}")


def _remove(path: Path) -> None:
    """Delete if possible; what remains carries PARTIAL in its name and is never read."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _refuse_foreign(destination: Path) -> None:
    """Raises StorageError when `destination` holds other files: replacing it would lose them."""
    if not destination.exists():
        return
    names = [destination.name]
    if destination.is_dir():
        names = sorted(path.name for path in destination.iterdir())
    foreign = [
        name for name in names if name not in (IMAGES, INDEX, MANIFEST) and PARTIAL not in name
    ]
    if foreign:
        raise StorageError(
            f"{destination} is no store: expected {IMAGES}, {INDEX} and {MANIFEST}, found "
            f"{few(foreign, len(foreign))}",
            hint="move that away, or choose another folder with --data-dir",
        )


def _put_in_place(
    partial: Path, destination: Path, manifest: dict[str, Any], progress: Progress
) -> None:
    """Rename the complete new store to its place; an intact older one is kept."""
    if not destination.exists():
        move(partial, destination)
        sync_folder(destination.parent)
        return
    old = _open_intact(destination, progress)
    if old is not None and old.fingerprint == manifest["fingerprint"]:
        same_profile = old.profile == Competition.model_validate(manifest["profile"])
        same_origin = old.manifest.get("stain") == manifest.get("stain")
        same_ids = old.id_warnings == manifest["id_warnings"]
        same_sums = old.manifest.get("blocks") == manifest["blocks"]
        if not (same_profile and same_origin and same_ids and same_sums):
            # the same data with other columns, titles or origin, ids that are sure now, or from an
            # earlier version
            write_json(destination / MANIFEST, manifest)
        return
    aside = _partial_path(destination)
    keep = old is not None and not _already_kept(destination, old.fingerprint, progress)
    if old is not None and keep:
        aside = _kept_path(destination, old.fingerprint)
        manifest["notes"].append(f"{KEPT} {aside.name}")
        write_manifest(partial, manifest)
    del old  # closes its memory map
    move(destination, aside)
    try:
        move(partial, destination)
    except OSError:
        move(aside, destination)
        raise
    sync_folder(destination.parent)
    if not keep:
        _remove(aside)


def _kept_path(destination: Path, fingerprint: str) -> Path:
    """Where to move an older store: `<name>.<8 hex>`, or with `-2`, `-3` ... what is free."""
    name = f"{destination.name}.{fingerprint[:8]}"
    existing = {path.name for path in destination.parent.iterdir()}
    candidate, number = name, 1
    while candidate in existing:
        number += 1
        candidate = f"{name}-{number}"
    return destination.with_name(candidate)


def _already_kept(destination: Path, fingerprint: str, progress: Progress) -> bool:
    """Whether an intact copy of that store was moved aside before."""
    path = destination.with_name(f"{destination.name}.{fingerprint[:8]}")
    kept = _open_intact(path, progress)
    return kept is not None and kept.fingerprint == fingerprint


def _open_intact(path: Path, progress: Progress) -> Store | None:
    """The verified store at `path`; None when there is none, or it is damaged."""
    try:
        store = open_store(path)
        verify_store(store, progress=progress)
    except DataError:
        return None
    return store
