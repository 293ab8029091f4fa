"""`pcam fetch`: raw files, from Kaggle or from disk, into a verified store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pcam_kit import kaggle_client
from pcam_kit.commands.console import Work, print_table, say, warn, work
from pcam_kit.commands.folders import Folders
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.data.sources import open_raw
from pcam_kit.data.store import Store, build_store, open_store, verify_store
from pcam_kit.errors import AccessError, DataError
from pcam_kit.files import locked, write_json

KAGGLE_INPUT = Path("/kaggle/input")
FEW_FILES = 50  # up to here each file is downloaded by itself, so that a broken transfer costs one file


def fetch(competition: str, source: Path | None, folders: Folders) -> Store:
    """Make the competition's store, or verify the one that is there. Without `source` the files come from Kaggle.

    Raises ConfigError, DataError, KaggleError or StorageError; what was there before stays whole.
    """
    profile = find_competition(competition)
    home = folders.home(profile.slug)
    with locked(home / ".lock", f"fetching {profile.slug}"), work() as progress:
        store = _intact(home, source, progress)
        if store is not None:
            say(f"{profile.slug}: the store is there and intact ({store.path}); nothing to do")
        else:
            raw = source if source is not None else _raw_files(profile, home, progress)
            store = _build(profile, raw, home, progress)
        write_json(home / "fetched.json", {"time": datetime.now(UTC).isoformat(), "source": str(source or ""), "stamp": _stamp(source)})
    return store


def describe(store: Store) -> dict[str, Any]:
    """The JSON object of `pcam fetch`."""
    return {
        "store": str(store.path),
        "fingerprint": store.fingerprint,
        "splits": {name: asdict(count) for name, count in store.splits.items()},
    }


def show(store: Store) -> None:
    """The splits as a table."""
    rows = [
        [
            name,
            f"{count.n:,}",
            "unknown" if count.positive is None else f"{count.positive:,} ({100 * count.positive / max(1, count.n):.1f}%)",
        ]
        for name, count in store.splits.items()
    ]
    print_table(f"{store.profile.title} -> {store.path}", ["split", "patches", "positive"], rows)
    say("next: pcam train")


def _intact(home: Path, source: Path | None, progress: Work) -> Store | None:
    """The store, when it is there, whole, and made of `source` as it is now."""
    if not (home / "store" / "manifest.json").is_file():
        return None
    try:
        store = open_store(home / "store")
        verify_store(store, progress=progress)
    except DataError as error:
        warn(f"{error} It is built anew.")
        return None
    recorded = json.loads((home / "fetched.json").read_text(encoding="utf-8")) if (home / "fetched.json").is_file() else {}
    return store if source is None or recorded.get("stamp") == _stamp(source) else None


def _stamp(source: Path | None) -> str:
    """A digest of names, sizes and times of the files at `source`: equal means that nothing changed there."""
    if source is None:
        return ""
    digest = hashlib.sha256(str(source.resolve()).encode())
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _build(profile: Competition, raw: Path | None, home: Path, progress: Work) -> Store:
    if raw is not None and not raw.exists():
        raise DataError(f"no such file or folder: {raw}", hint="give the folder or .zip with the competition's files to --from")
    opened = open_raw(profile, raw)
    for note in opened.notes:
        say(note)
    return build_store(opened, home / "store", progress=progress)


def _raw_files(profile: Competition, home: Path, progress: Work) -> Path | None:
    """Where the raw files are, after downloading what is missing; None for made-up data."""
    if profile.layout == "synthetic":
        return None
    mounted = KAGGLE_INPUT / profile.slug
    if mounted.is_dir():
        say(f"using {mounted}")
        return mounted
    raw = home / "raw"
    if (raw / "complete.json").is_file() and _all_there(raw):
        return raw
    try:
        _download(profile, raw, progress)
    except AccessError as error:
        raise AccessError(error.message, hint=profile.missing_hint or error.hint) from error
    return raw


def _all_there(raw: Path) -> bool:
    recorded: dict[str, int] = json.loads((raw / "complete.json").read_text(encoding="utf-8"))
    return all((raw / name).is_file() and (raw / name).stat().st_size == size for name, size in recorded.items())


def _download(profile: Competition, raw: Path, progress: Work) -> None:
    listing = kaggle_client.list_files(profile.slug, limit=FEW_FILES + 1)
    if not listing.files:
        raise AccessError(
            f"Kaggle lists no files for {profile.slug}", hint=f"look at {profile.url}/data; a course may have closed its competition"
        )
    if listing.complete and len(listing.files) <= FEW_FILES:
        for file in listing.files:
            target = raw / file.name
            if not (target.is_file() and target.stat().st_size == file.size):
                kaggle_client.download_file(profile.slug, file, target, progress=progress)
        sizes = {file.name: file.size for file in listing.files}
    else:
        target = raw / f"{profile.slug}.zip"
        if not target.is_file():  # it has its name only once it is whole
            kaggle_client.download_all(profile.slug, target, progress=progress)
        sizes = {target.name: target.stat().st_size}
    write_json(raw / "complete.json", sizes)
