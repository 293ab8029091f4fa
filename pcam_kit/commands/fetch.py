"""`pcam fetch`: raw files, from Kaggle or from disk, into a verified store."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pcam_kit import kaggle_client
from pcam_kit.commands.console import Work, print_table, say, warn, work
from pcam_kit.commands.download import (
    dataset_name,
    doubt,
    explained,
    raw_files,
    some_files,
    source_of,
    unpack,
)
from pcam_kit.commands.folders import Folders
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.sources import open_raw
from pcam_kit.data.store import Store, build_store, open_store, verify_store
from pcam_kit.data.store_stain import is_of, normalised
from pcam_kit.errors import DataError, UsageError
from pcam_kit.files import clear_partial, locked, read_json_object, write_json

# in the competition's folder: when, from which dataset, and for --from what of
RECORD = "fetched.json"


@dataclass(frozen=True)
class Request:
    """What was asked for.

    `files`: take these from disk; `dataset`: take this one (OWNER/SLUG) in the competition's role.
    """

    competition: str
    files: Path | None = None
    dataset: str | None = None
    keep_raw: bool = False  # lay the files of a downloaded zip beside it, too


def request(
    competition: str | None,
    role: str | None,
    files: Path | None,
    dataset: str | None,
    *,
    keep_raw: bool,
) -> Request:
    """The request that the options mean; `role` is what --as says.

    Raises UsageError for those that do not fit together.
    """
    if competition is not None and role is not None and competition != role:
        raise UsageError(
            f"two competitions are named: {competition} and --as {role}", hint="leave one away"
        )
    chosen = competition if competition is not None else role
    if chosen is None:
        raise UsageError(
            "no competition is named",
            hint="pcam fetch COMPETITION, or pcam fetch --dataset OWNER/SLUG --as COMPETITION; "
            "without an account: pcam fetch synthetic",
        )
    if "kaggle.com/datasets/" in chosen:
        name = dataset_name(chosen)
        raise UsageError(
            f"{name} is a dataset, not a competition",
            hint=f"pcam fetch --dataset {name} --as COMPETITION, e.g. --as pcam",
        )
    if files is not None and dataset is not None:
        raise UsageError(
            "--from and --dataset both say where the files come from", hint="leave one away"
        )
    return Request(chosen, files, None if dataset is None else dataset_name(dataset), keep_raw)


def fetch(request: Request, folders: Folders) -> Store:
    """Make the competition's store, or verify the one that is there.

    Without `files` they come from Kaggle.

    Raises ConfigError, UsageError, DataError, KaggleError or StorageError; what was there before
    stays whole.
    """
    profile = find_competition(request.competition)
    home = folders.home(profile.slug)
    files = request.files
    if files is not None and not files.exists():
        raise DataError(
            f"no such file or folder: {files}",
            hint="give the folder or .zip with the competition's files to --from",
        )
    with locked(home / ".lock", f"fetching {profile.slug}"), work() as progress:
        clear_partial(home)
        recorded = read_json_object(home / RECORD)
        wanted = _wanted(request, recorded)
        store = _intact(profile, home / "store", progress)
        if store is not None and wanted == {name: recorded.get(name) for name in wanted}:
            say(f"{profile.slug}: the store is there and intact ({store.path}); nothing to do")
            raw = _raw_files(profile, home, wanted, progress) if request.keep_raw else None
        else:
            raw = files if files is not None else _raw_files(profile, home, wanted, progress)
            try:
                store = _build(raw, profile, home, progress)
            except DataError as error:
                aside = (
                    doubt(source_of(profile, home, wanted.get("dataset")), error)
                    if "source" not in wanted
                    else []
                )
                if not aside:
                    raise
                hint = (
                    "run the same command again: it downloads anew what may not have come "
                    f"whole (kept as {', '.join(aside)})"
                )
                raise DataError(error.message, hint=hint) from error
        if request.keep_raw:
            _keep_raw(raw, home, progress)
        write_json(home / RECORD, {**wanted, "time": datetime.now(UTC).isoformat()})
    return store


def normalise(store: Store, stain: StainMethod, folders: Folders) -> Store:
    """Make, or verify, the second store of a competition: the patches of `store` with their stain
    normalised. Raises as `fetch` does.
    """
    profile = store.profile
    with (
        locked(folders.home(profile.slug) / ".lock", f"fetching {profile.slug}"),
        work() as progress,
    ):
        place = folders.place(profile.slug, stain)
        made = _intact(profile, place, progress)
        if made is not None and is_of(made, store):
            say(
                f"{profile.slug}: the normalised store is there and intact ({place}); nothing to do"
            )
            return made
        made = build_store(normalised(store, stain, progress=progress), place, progress=progress)
    for note in made.notes:
        say(note)
    return made


def fetch_some(request: Request, patterns: Sequence[str], folders: Folders) -> list[Path]:
    """Download single files of the competition, or of the dataset, and build nothing.

    Raises as `fetch` does.
    """
    profile = find_competition(request.competition)
    home = folders.home(profile.slug)
    if request.files is not None:
        raise UsageError(
            "--only downloads, and --from takes files that are there", hint="leave one away"
        )
    if profile.layout == "synthetic":
        raise UsageError(
            f"{profile.slug} is made up: it has no files to download",
            hint=f"pcam fetch {profile.slug}",
        )
    dataset: str | None = _wanted(request, read_json_object(home / RECORD)).get("dataset")
    with locked(home / ".lock", f"fetching {profile.slug}"), work() as progress, explained(profile):
        return some_files(source_of(profile, home, dataset), patterns, progress)


def describe_some(paths: Sequence[Path]) -> dict[str, Any]:
    """The JSON object of `pcam fetch --only`."""
    return {"files": [{"path": str(path), "bytes": path.stat().st_size} for path in paths]}


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
            "unknown"
            if count.positive is None
            else f"{count.positive:,} ({100 * count.positive / max(1, count.n):.1f}%)",
        ]
        for name, count in store.splits.items()
    ]
    print_table(f"{store.profile.title} -> {store.path}", ["split", "patches", "positive"], rows)
    say(
        "next: pcam train" + (f" --set data.stain={store.stain}" if store.stain is not None else "")
    )


def _intact(profile: Competition, path: Path, progress: Work) -> Store | None:
    """The store, when it is there, whole, and of this very profile."""
    if not (path / "manifest.json").is_file():
        return None
    try:
        store = open_store(path)
        verify_store(store, progress=progress)
    except DataError as error:
        warn(f"{error}; it is built anew")
        return None
    # without what stores do not remember
    return store if store.profile.model_dump() == profile.model_dump() else None


def _wanted(request: Request, recorded: dict[str, Any]) -> dict[str, Any]:
    """Where the files are to come from: as asked for, else as last time."""
    if request.files is not None:
        return {"source": str(request.files.resolve()), "stamp": _stamp(request.files)}
    if request.dataset is not None:
        return {"dataset": request.dataset}
    return {name: recorded[name] for name in ("source", "stamp", "dataset") if name in recorded}


def _stamp(source: Path) -> str:
    """A digest of names, sizes and times of the files at `source`: equal means that nothing changed
    there.
    """
    digest = hashlib.sha256(str(source.resolve()).encode())
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            stat = path.stat()
            digest.update(
                f"{path.relative_to(source)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode()
            )
    return digest.hexdigest()


def _build(raw: Path | None, profile: Competition, home: Path, progress: Work) -> Store:
    store = build_store(open_raw(profile, raw), home / "store", progress=progress)
    for note in store.notes:
        say(note)
    return store


def _raw_files(
    profile: Competition, home: Path, wanted: dict[str, Any], progress: Work
) -> Path | None:
    """Where the raw files are, after downloading what is missing; None for made-up data.

    Files taken from disk before are taken again.
    """
    if profile.layout == "synthetic":
        return None
    earlier: str | None = wanted.get("source")
    if earlier is not None and Path(earlier).exists():
        say(f"using {earlier}")
        return Path(earlier)
    for path in kaggle_client.exposed_files():
        warn(
            f"others on this machine can read {path}; mend it with: chmod 600 "
            f"{shlex.quote(str(path))}"
        )
    with explained(profile):
        return raw_files(source_of(profile, home, wanted.get("dataset")), progress)


def _keep_raw(raw: Path | None, home: Path, progress: Work) -> None:
    zips = (
        [raw]
        if raw is not None and raw.is_file()
        else [*raw.glob("*.zip")]
        if raw is not None
        else []
    )
    if len(zips) == 1 and zips[0].suffix.lower() == ".zip":
        unpack(zips[0], home / "unpacked", progress)
    else:
        say("there is no zip to unpack: the raw files lie as they were published")
