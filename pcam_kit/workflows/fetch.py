"""`pcam fetch`: raw files, from Kaggle, a public home or from disk, into a verified store."""

from __future__ import annotations

import hashlib
import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pcam_kit import downloads, kaggle_client, mirrors
from pcam_kit.clock import behind, now
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.sources.folders import walk
from pcam_kit.data.sources.zips import check_zip
from pcam_kit.data.store import Store, build_store, open_store, verify_store
from pcam_kit.data.store_stain import is_normalised_from, normalise_store
from pcam_kit.errors import DataError, UsageError
from pcam_kit.files import clear_partial, locked, read_json_object, write_json
from pcam_kit.names import shell_word
from pcam_kit.parsing import printable, reason_of
from pcam_kit.progress import SILENT, Display, Work
from pcam_kit.workflows.download import download_matching, ensure_raw_files, unpack
from pcam_kit.workflows.download_record import discard_doubtful
from pcam_kit.workflows.raw_source import KaggleSource, dataset_name, source_of, with_profile_hint
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

# in the competition's folder: when, from which dataset, and for --from what of
RECORD = "fetched.json"


@dataclass(frozen=True)
class FetchRequest:
    """What was asked for.

    `files`: take these from disk; `dataset`: take this one (OWNER/SLUG) in the competition's role;
    `public`: download from the public home that the profile names.
    """

    competition: str
    files: Path | None = None
    dataset: str | None = None
    public: bool = False
    keep_raw: bool = False  # lay the files of a downloaded zip beside it, too
    allow_missing: bool = False  # leave out rows without an image and images without a row


def fetch_request(
    competition: str | None,
    files: Path | None,
    dataset: str | None,
    *,
    public: bool = False,
    keep_raw: bool = False,
    allow_missing: bool = False,
) -> FetchRequest:
    """The request of these options. Raises UsageError for those that do not fit together."""
    if competition is None:
        raise UsageError(
            "no competition is named",
            hint="pcam fetch COMPETITION, or pcam fetch --dataset OWNER/SLUG --as COMPETITION; "
            "without an account: pcam fetch synthetic",
        )
    if "kaggle.com/datasets/" in competition:
        name = dataset_name(competition)
        raise UsageError(
            f"{name} is a dataset, not a competition",
            hint=f"pcam fetch --dataset {name} --as COMPETITION, e.g. --as pcam",
        )
    if files is not None and dataset is not None:
        raise UsageError(
            "--from and --dataset both say where the files come from", hint="leave one away"
        )
    if public and (files is not None or dataset is not None):
        raise UsageError(
            f"--download and {'--from' if dataset is None else '--dataset'} both say where the "
            "files come from",
            hint="leave one away",
        )
    source = None if dataset is None else dataset_name(dataset)
    return FetchRequest(competition, files, source, public, keep_raw, allow_missing)


def fetch(
    request: FetchRequest,
    workspace: Workspace,
    *,
    profile: Competition | None = None,
    display: Display = SILENT,
) -> Store:
    """Make the competition's store, or verify the one that is there.

    profile: in place of the one that the competition's name finds. Without `files` they come from
    Kaggle, or from the public home. Raises ConfigError, UsageError, DataError, KaggleError or
    StorageError; what was there before stays whole.
    """
    if profile is None:
        profile = find_competition(request.competition)
    home = workspace.competition_path(profile.slug)
    files = request.files
    if files is not None and not files.exists():
        raise DataError(
            f"no such file or folder: {printable(str(files))}",
            hint="give the folder or archive with the competition's files to --from",
        )
    _bring(workspace, profile, None)
    with locked(home / ".lock", f"fetching {profile.slug}"), display.work() as progress:
        clear_partial(home)
        recorded = read_json_object(home / RECORD)
        wanted = _wanted(request, recorded)
        store = _intact(profile, home / "store", progress)
        if store is not None and wanted == {name: recorded.get(name) for name in wanted}:
            log.info(f"{profile.slug}: the store is there and intact ({store.path}); nothing to do")
            raw = _raw_files(profile, home, wanted, progress) if request.keep_raw else None
        else:
            store = None  # closes its memory map: Windows renames no folder with an open file
            raw = files if files is not None else _raw_files(profile, home, wanted, progress)
            if files is not None and request.keep_raw:
                _check_all(files, progress)
            try:
                allow_missing = bool(wanted.get("allow_missing"))
                store = _build(raw, profile, home, progress, allow_missing=allow_missing)
            except DataError as error:
                if "source" in wanted:
                    raise
                # their variables hold the zip open, and Windows renames no open file
                traceback.clear_frames(error.__traceback__)
                aside = discard_doubtful(source_of(profile, home, wanted), error)
                if not aside:
                    raise
                hint = (
                    "run the same command again: it downloads anew what may not have come "
                    f"whole (kept as {', '.join(aside)})"
                )
                raise DataError(error.message, hint=hint) from error
        if request.keep_raw:
            _keep_raw(raw, home, progress)
        time = behind(workspace.fetch_times().values(), now())
        write_json(home / RECORD, {**wanted, "time": time})
    return store


def normalise(
    store: Store, stain: StainMethod, workspace: Workspace, *, display: Display = SILENT
) -> Store:
    """Make, or verify, the store of a competition's patches with their stain normalised.

    Raises as `fetch` does.
    """
    profile = store.profile
    _bring(workspace, profile, stain)
    with (
        locked(workspace.competition_path(profile.slug) / ".lock", f"fetching {profile.slug}"),
        display.work() as progress,
    ):
        place = workspace.store_path(profile.slug, stain)
        existing = _intact(profile, place, progress)
        if existing is not None and is_normalised_from(existing, store):
            log.info(
                f"{profile.slug}: the normalised store is there and intact ({place}); nothing to do"
            )
            return existing
        del existing  # closes its memory map, as in `fetch`
        raw = normalise_store(store, stain, progress=progress)
        result = build_store(raw, place, progress=progress)
    for note in result.notes:
        log.info(note)
    return result


def fetch_some(
    request: FetchRequest,
    patterns: Sequence[str],
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> list[Path]:
    """Download single files of the competition, or of the dataset, and build nothing.

    Raises as `fetch` does.
    """
    profile = find_competition(request.competition)
    home = workspace.competition_path(profile.slug)
    if request.files is not None:
        raise UsageError(
            "--only downloads, and --from takes files that are there", hint="leave one away"
        )
    if profile.layout == "synthetic":
        raise UsageError(
            f"{profile.slug} is synthetic: it has no files to download",
            hint=f"pcam fetch {profile.slug}",
        )
    source = source_of(profile, home, _wanted(request, read_json_object(home / RECORD)))
    with (
        locked(home / ".lock", f"fetching {profile.slug}"),
        display.work() as progress,
        with_profile_hint(profile),
    ):
        return download_matching(source, patterns, progress)


def _bring(workspace: Workspace, profile: Competition, stain: StainMethod | None) -> None:
    """Bring the store that another machine made, before this one would make it anew."""
    mirrors.refresh(workspace.data)
    mirrors.bring(workspace.store_path(profile.slug, stain))


def _intact(profile: Competition, path: Path, progress: Work) -> Store | None:
    """The store, when it is there, whole, and of this very profile."""
    if not (path / "manifest.json").is_file():
        return None
    try:
        store = open_store(path)
        verify_store(store, progress=progress)
    except DataError as error:
        log.warning(f"{error}; it is built anew")
        return None
    # without what stores do not remember
    return store if store.profile.model_dump() == profile.model_dump() else None


def _wanted(request: FetchRequest, recorded: dict[str, Any]) -> dict[str, Any]:
    """Where the files are to come from, and how: as asked for, else as last time."""
    missing = {"allow_missing": True} if request.allow_missing else {}
    if request.files is not None:
        return {
            "source": str(request.files.resolve()),
            "stamp": _stamp(request.files),
            **missing,
        }
    if request.dataset is not None:
        return {"dataset": request.dataset, **missing}
    if request.public:
        return {"public": True, **missing}
    names = {"source": str, "stamp": str, "dataset": str, "public": bool, "allow_missing": bool}
    earlier = {
        name: recorded[name] for name, kind in names.items() if isinstance(recorded.get(name), kind)
    }
    if "dataset" in earlier:  # it becomes a path: checked like one that was typed
        earlier["dataset"] = dataset_name(earlier["dataset"])
    return earlier | missing


def _stamp(source: Path) -> str:
    """A digest of names, sizes and times of the files at `source`.

    Equal digests mean that nothing changed.
    """
    digest = hashlib.sha256(os.fsencode(source.resolve()))
    files = [(".", source.stat())]
    if source.is_dir():
        try:
            files = sorted(walk(source), key=lambda file: file[0].split("/"))
        except OSError as error:
            raise DataError(
                f"cannot read the folder {printable(str(source))}: {reason_of(error)}"
            ) from error
    for name, stat in files:
        digest.update(os.fsencode(name) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _build(
    path: Path | None, profile: Competition, home: Path, progress: Work, *, allow_missing: bool
) -> Store:
    raw = open_raw(profile, path, allow_missing=allow_missing)
    store = build_store(raw, home / "store", progress=progress)
    for note in store.notes:
        log.info(note)
    return store


def _raw_files(
    profile: Competition, home: Path, wanted: dict[str, Any], progress: Work
) -> Path | None:
    """Where the raw files are, after downloading what is missing; None for synthetic data.

    Files taken from disk before are taken again.
    """
    if profile.layout == "synthetic":
        return None
    earlier: str | None = wanted.get("source")
    if earlier is not None and Path(earlier).exists():
        log.info(f"using {earlier}")
        return Path(earlier)
    source = source_of(profile, home, wanted)
    if isinstance(source, KaggleSource):
        for path in kaggle_client.exposed_files():
            word = shell_word(path)
            log.warning(f"others on this machine can read {path}; mend it with: chmod 600 {word}")
    with with_profile_hint(profile):
        return ensure_raw_files(source, progress)


def _zips_in(raw: Path | None) -> list[Path]:
    """The zips that `raw` is or holds."""
    zips: list[Path] = []
    if raw is not None:
        zips = [raw] if raw.is_file() else sorted(raw.glob("*"))
    return [path for path in zips if path.suffix.lower() == ".zip" and path.is_file()]


def _check_all(raw: Path, progress: Work) -> None:
    """Check every member of the zips that are to be unpacked beside the store.

    Raises DataError before the store is built: also for members of which the store needs nothing.
    Downloaded ones were checked when they came.
    """
    for path in _zips_in(raw):
        check_zip(path, name=str(path))
        fault = downloads.zip_fault(path, partial(progress.bytes, f"verifying {path.name}"))
        if fault:
            raise DataError(
                f"{path} cannot be unpacked: {fault}",
                hint="it is damaged: download it again, or leave --keep-raw away",
            )


def _keep_raw(raw: Path | None, home: Path, progress: Work) -> None:
    zips = _zips_in(raw)
    for path in zips:
        name = "unpacked" if len(zips) == 1 else f"unpacked/{path.stem}"
        unpack(path, home / name, progress)
    if not zips:
        log.info("there is no zip to unpack: the raw files lie as they were published")
