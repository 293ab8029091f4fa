"""`pcam fetch`: raw files, from Kaggle or from disk, into a verified store."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pcam_kit import kaggle_client
from pcam_kit.commands.console import Work, print_table, say, warn, work
from pcam_kit.commands.folders import Folders
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.data.sources import open_raw
from pcam_kit.data.store import Store, build_store, open_store, verify_store
from pcam_kit.errors import AccessError, DataError
from pcam_kit.files import clear_partial, locked, read_json_object, write_json

KAGGLE_INPUT = Path("/kaggle/input")
RECORD = "fetched.json"  # in the competition's folder: when, and for --from what of
COMPLETE = "complete.json"  # in raw/: the sizes of all files, once they are all there
FEW_FILES = 50  # up to here each file is downloaded by itself, so that a broken transfer costs one file


def fetch(competition: str, source: Path | None, folders: Folders) -> Store:
    """Make the competition's store, or verify the one that is there. Without `source` the files come from Kaggle.

    Raises ConfigError, DataError, KaggleError or StorageError; what was there before stays whole.
    """
    profile = find_competition(competition)
    home = folders.home(profile.slug)
    if source is not None and not source.exists():
        raise DataError(f"no such file or folder: {source}", hint="give the folder or .zip with the competition's files to --from")
    with locked(home / ".lock", f"fetching {profile.slug}"), work() as progress:
        clear_partial(home)
        recorded = read_json_object(home / RECORD)
        stamp = _stamp(source) if source is not None else recorded.get("stamp")
        store = _intact(profile, home, progress)
        if store is not None and stamp == recorded.get("stamp"):
            say(f"{profile.slug}: the store is there and intact ({store.path}); nothing to do")
        else:
            raw = source if source is not None else _raw_files(profile, home, recorded.get("source"), progress)
            store = _build(raw, profile, home, progress)
            recorded = {"source": str(source.resolve()), "stamp": _stamp(source)} if source is not None else {}
        write_json(home / RECORD, {**recorded, "time": datetime.now(UTC).isoformat()})
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


def _intact(profile: Competition, home: Path, progress: Work) -> Store | None:
    """The store, when it is there, whole, and of this very profile."""
    if not (home / "store" / "manifest.json").is_file():
        return None
    try:
        store = open_store(home / "store")
        verify_store(store, progress=progress)
    except DataError as error:
        warn(f"{error}; it is built anew")
        return None
    return store if store.profile == profile else None


def _stamp(source: Path) -> str:
    """A digest of names, sizes and times of the files at `source`: equal means that nothing changed there."""
    digest = hashlib.sha256(str(source.resolve()).encode())
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path.relative_to(source)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _build(raw: Path | None, profile: Competition, home: Path, progress: Work) -> Store:
    store = build_store(open_raw(profile, raw), home / "store", progress=progress)
    for note in store.notes:
        say(note)
    return store


def _raw_files(profile: Competition, home: Path, earlier: str | None, progress: Work) -> Path | None:
    """Where the raw files are, after downloading what is missing; None for made-up data. `earlier`: what --from said last time."""
    if profile.layout == "synthetic":
        return None
    raw = home / "raw"
    known = [KAGGLE_INPUT / profile.slug, KAGGLE_INPUT / "competitions" / profile.slug, *([Path(earlier)] if earlier else [])]
    for folder in known:
        if folder.exists():
            say(f"using {folder}")
            return folder
    if not _all_there(raw):
        try:
            _download(profile, raw, progress)
        except AccessError as error:
            raise AccessError(error.message, hint=profile.missing_hint or error.hint) from error
    return raw


def _all_there(raw: Path) -> bool:
    recorded: dict[str, int] = read_json_object(raw / COMPLETE)
    return bool(recorded) and all((raw / name).is_file() and (raw / name).stat().st_size == size for name, size in recorded.items())


def _download(profile: Competition, raw: Path, progress: Work) -> None:
    files = [*islice(kaggle_client.list_files(profile.slug), FEW_FILES + 1)]
    if not files:
        raise AccessError(
            f"Kaggle lists no files for {profile.slug}", hint=f"look at {profile.url}/data; a course may have closed its competition"
        )
    if len(files) <= FEW_FILES:
        for file in files:
            target = raw / _safe(file.name)
            if target.is_file() and file.size in {0, target.stat().st_size}:  # 0: Kaggle does not tell
                kaggle_client.discard_part(target)
            else:
                kaggle_client.download_file(profile.slug, file, target, progress=progress)
        sizes = {file.name: (raw / file.name).stat().st_size for file in files}
    else:
        target = raw / f"{profile.slug}.zip"
        if target.is_file():  # it has its name only once it is whole
            kaggle_client.discard_part(target)
        else:
            kaggle_client.download_all(profile.slug, target, progress=progress)
        sizes = {target.name: target.stat().st_size}
    write_json(raw / COMPLETE, sizes)


def _safe(name: str) -> str:
    """A name from Kaggle's listing, if it stays inside the folder it is put in."""
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise DataError(f"Kaggle lists a file with an unsafe name: {name!r}", hint="download it by hand, look at it, and use --from")
    return name
