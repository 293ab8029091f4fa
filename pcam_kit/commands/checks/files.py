"""Files: room on the disk, the stores, the runs and the ledger. Reads all of them, changes none."""

from __future__ import annotations

import fcntl
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pcam_kit.commands.checks import Check, Status, size
from pcam_kit.commands.console import work
from pcam_kit.commands.download import source_of
from pcam_kit.commands.folders import Folders
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.raw import few
from pcam_kit.data.store import open_store, store_bytes, verify_store
from pcam_kit.errors import PcamError
from pcam_kit.runs import Run, list_runs

LITTLE = 1e9  # bytes of free disk


@dataclass(frozen=True)
class Subject:
    """The competition in question: the one `asked` for, or the one fetched last, or none.

    `here`: its store or its raw files are.
    """

    profile: Competition | None = None
    asked: bool = False
    here: bool = False

    @property
    def kaggle_slug(self) -> str:
        """What Kaggle can be asked about; "" when there is nothing."""
        return (
            self.profile.slug if self.profile is not None and not self.profile.missing_hint else ""
        )

    @property
    def trouble(self) -> Status:
        """How grave it is that Kaggle cannot be used: only what was asked for by name and is not
        here is out of reach.
        """
        return "problem" if self.asked and not self.here and self.kaggle_slug else "warning"

    def concerns(self, slug: str) -> bool:
        """Is this competition among those to look at? All are, unless one was asked for."""
        return not self.asked or self.profile is None or self.profile.slug == slug


def find_subject(name: str | None, folders: Folders) -> Subject:
    """The competition called `name`, else the one fetched last.

    Raises ConfigError when there is no profile of that name.
    """
    if name is not None:
        profile = find_competition(name)
        return Subject(
            profile,
            asked=True,
            here=_has_store(profile.slug, folders) or _has_raw(profile, folders),
        )
    try:
        return Subject(folders.competition(None), here=True)
    except PcamError:  # nothing fetched yet, or a damaged store, of which its own check tells
        return Subject()


def disk(subject: Subject, folders: Folders) -> Iterator[Check]:
    """Is there room for the store, and for the download before it?"""
    place = folders.data.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{size(free)} free for {folders.data}"
    if not os.access(place, os.W_OK):
        yield Check(
            "disk",
            "warning",
            f"{text}, but it is read-only",
            "choose another folder with --data-dir",
        )
        return
    profile = subject.profile
    more = "free some space, or choose another folder with --data-dir"
    if profile is not None and not _has_store(profile.slug, folders):
        store = store_bytes(profile)
        # hardly compresses
        download = 0 if profile.layout == "synthetic" or _has_raw(profile, folders) else store
        text += f"; {profile.slug} needs {size(store)} for its store" + (
            " and about as much for the download" if download else ""
        )
        status: Status = (
            "problem"
            if free < store
            else "warning"
            if free < max(store + download, LITTLE)
            else "ok"
        )
        yield Check("disk", status, text, "" if status == "ok" else more)
    elif free < LITTLE:
        yield Check("disk", "warning", f"{text}; a run and its checkpoints need some too", more)
    else:
        yield Check("disk", "ok", text)


def stores(subject: Subject, folders: Folders) -> Iterator[Check]:
    """Is every byte of the stores what it was when they were built?"""
    found = [
        path.parent.name
        for path in sorted(folders.data.glob("*/store"))
        if subject.concerns(path.parent.name)
    ]
    for slug in found:
        yield _store(folders.home(slug) / "store")
        for path in (folders.place(slug, stain) for stain in get_args(StainMethod)):
            if path.is_dir():
                yield _store(path)
    if not found and subject.asked and subject.profile is not None:
        profile = subject.profile
        state = (
            "its files are here, its store is not built yet" if subject.here else "not fetched yet"
        )
        by_hand = profile.missing_hint if profile.layout != "synthetic" and not subject.here else ""
        yield Check(
            "store", "ok", f"{profile.slug}: {state}", by_hand or f"pcam fetch {profile.slug}"
        )
    elif not found:
        yield Check(
            "store",
            "ok",
            f"no data in {folders.data} yet; pcam demo needs none, pcam fetch gets some",
        )


def _store(path: Path) -> Check:
    slug = path.parent.name + ("" if path.name == "store" else f" ({path.name})")
    try:
        store = open_store(path)
        with work() as progress:
            verify_store(store, progress=progress.bytes)
    except PcamError as error:
        return Check(
            "store", "problem", error.message, error.hint or f"pcam fetch {path.parent.name}"
        )
    counts = ", ".join(f"{name} {count.n:,}" for name, count in store.splits.items())
    return Check("store", "ok", f"{slug} is intact ({counts})")


def runs(subject: Subject, folders: Folders) -> Iterator[Check]:
    """Can every run be used: is it readable and whole, and is the store it was trained on still
    there?
    """
    damaged: list[str] = []
    found = [
        run
        for run in list_runs(folders.runs, damaged.append)
        if subject.concerns(run.competition.slug)
    ]
    finished = [run for run in found if run.result is not None]
    under_way = [run for run in found if run.result is None and _is_locked(run.lock_file)]
    stopped = len(found) - len(finished) - len(under_way)
    for message in damaged:
        yield Check("runs", "warning", message, "train again: pcam train")
    for run in finished:
        try:
            check_files(run)
        except PcamError as error:
            yield Check("runs", "warning", error.message, error.hint)
        except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            yield Check(
                "runs",
                "warning",
                f"{run.model_file} is damaged: {error}",
                "train again: pcam train",
            )
    yield from _without_store(found, folders)
    counts = {"finished": len(finished), "under way": len(under_way), "stopped": stopped}
    text = (
        ", ".join(f"{n} {what}" for what, n in counts.items() if n) or f"none in {folders.runs} yet"
    )
    yield Check("runs", "ok", text, "pcam train --resume" if stopped else "")


def check_files(run: Run) -> None:
    """Read the model and the predictions of a finished run.

    Raises BadZipFile or OSError for the model, RunError for predictions.
    """
    with zipfile.ZipFile(run.model_file) as model:
        if (bad := model.testzip()) is not None:
            raise zipfile.BadZipFile(f"{bad} in it is not what was written")
    for path in sorted((run.path / "predictions").glob("*.npz")):
        run.load_predictions(path.stem)


def ledger(subject: Subject, folders: Folders) -> Iterator[Check]:
    """Are there submissions whose fate is not known?"""
    entries = [entry for entry in folders.ledger.entries() if subject.concerns(entry.competition)]
    unknown = [entry.file_name for entry in entries if entry.status == "unknown"]
    pending = [entry.file_name for entry in entries if entry.status == "pending"]
    refresh = "pcam submissions --refresh"
    if unknown:
        yield Check(
            "ledger",
            "warning",
            f"it is not known whether Kaggle took {few(unknown, len(unknown))}",
            refresh,
        )
    if pending:
        yield Check("ledger", "warning", f"no score yet for {few(pending, len(pending))}", refresh)
    if not unknown and not pending:
        sent = sum(entry.id is not None for entry in entries)
        yield Check(
            "ledger",
            "ok",
            f"{sent} submissions, none with an open outcome" if sent else "no submissions yet",
        )


def _without_store(found: list[Run], folders: Folders) -> Iterator[Check]:
    """The runs whose store is gone or another one: they cannot be resumed, evaluated on other
    splits, or predicted with.
    """
    fingerprints: dict[tuple[str, StainMethod | None], str] = {}
    for key in {_store_key(run) for run in found}:
        try:
            fingerprints[key] = folders.store(*key).fingerprint
        except PcamError:
            fingerprints[key] = ""
    gone = [run.name for run in found if fingerprints[_store_key(run)] == ""]
    other = [
        run.name
        for run in found
        if fingerprints[_store_key(run)] not in {"", run.meta["store_fingerprint"]}
    ]
    fix = (
        "give the folder with their store with --data-dir, or bring it back: pcam fetch "
        "COMPETITION [--from PATH]"
    )
    if gone:
        yield Check(
            "runs",
            "warning",
            f"trained on a store that cannot be opened in {folders.data}: {few(gone, len(gone))}",
            fix,
        )
    if other:
        yield Check(
            "runs",
            "warning",
            f"trained on another store than the one in {folders.data} now: "
            f"{few(other, len(other))}",
            fix,
        )


def _store_key(run: Run) -> tuple[str, StainMethod | None]:
    return run.competition.slug, run.experiment.data.stain


def _has_store(slug: str, folders: Folders) -> bool:
    return (folders.home(slug) / "store" / "manifest.json").is_file()


def _has_raw(profile: Competition, folders: Folders) -> bool:
    source = source_of(profile, folders.home(profile.slug), None)
    return source.mounted is not None or source.record.is_file()


def _is_locked(path: Path) -> bool:
    """Does a process hold this lock? Taken only for the moment of asking, and never created."""
    try:
        with open(path, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
