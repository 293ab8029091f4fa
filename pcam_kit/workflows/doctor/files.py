"""Files: room on the disk, the stores, the runs and the ledger. Reads all of them, changes none."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pcam_kit import mirrors
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.config.schema import Ensemble, StainMethod, WithoutNetwork
from pcam_kit.data.store import open_store, store_bytes, verify_store
from pcam_kit.errors import PcamError, RunError
from pcam_kit.files import is_locked
from pcam_kit.formatting import few, size
from pcam_kit.parsing import open_regular, parsing, printable
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run, list_runs
from pcam_kit.workflows.doctor import Check, CheckStatus
from pcam_kit.workflows.raw_source import KaggleSource
from pcam_kit.workspace import Workspace

ENOUGH_DISK = 1e9  # bytes; for runs and their checkpoints


@dataclass(frozen=True)
class Subject:
    """The competition to look at, or none.

    `requested`: it was asked for by name, not just fetched last. `on_disk`: its store or its raw
    files are in the workspace.
    """

    profile: Competition | None = None
    requested: bool = False
    on_disk: bool = False

    @property
    def kaggle_slug(self) -> str:
        """The slug of its competition on Kaggle, "" when there is none to ask about."""
        if self.profile is None or self.profile.missing_hint:
            return ""
        return self.profile.slug

    @property
    def severity(self) -> CheckStatus:
        """The status when Kaggle cannot be used.

        A problem only where the user asked for a competition whose files are not on the disk.
        """
        needs_kaggle = self.requested and not self.on_disk and self.kaggle_slug
        return "problem" if needs_kaggle else "warning"

    def concerns(self, slug: str) -> bool:
        """Whether to look at this competition: at all of them unless one was asked for by name."""
        return not self.requested or self.profile is None or self.profile.slug == slug


def find_subject(name: str | None, workspace: Workspace) -> Subject:
    """The competition called `name`, else the one fetched last.

    Raises ConfigError when there is no profile of that name.
    """
    if name is None:
        try:
            return Subject(workspace.competition(None), on_disk=True)
        except PcamError:  # nothing fetched yet, or a damaged store, which its own check reports
            return Subject()
    profile = find_competition(name)
    on_disk = _has_store(profile.slug, workspace) or _has_raw(profile, workspace)
    return Subject(profile, requested=True, on_disk=on_disk)


def disk(subject: Subject, workspace: Workspace) -> Iterator[Check]:
    """Is there room for the store, and for the download before it?"""
    place = workspace.data.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{size(free)} free for {workspace.data}"
    more = "free some space, or choose another folder with --data-dir"
    profile = subject.profile
    if not os.access(place, os.W_OK):
        fix = "choose another folder with --data-dir"
        yield Check("disk", "warning", f"{text}, but it is read-only", fix)
    elif profile is not None and not _has_store(profile.slug, workspace):
        yield _room_for_store(profile, workspace, free, text, more)
    elif free < ENOUGH_DISK:
        yield Check("disk", "warning", f"{text}; a run and its checkpoints need some too", more)
    else:
        yield Check("disk", "ok", text)


def _room_for_store(
    profile: Competition, workspace: Workspace, free: int, text: str, more: str
) -> Check:
    """Is there room for a store that is not built yet?

    `free`: bytes. `text` says how much that is, `more` how to get more.
    """
    store = store_bytes(profile)
    text += f"; {profile.slug} needs {size(store)} for its store"
    total = store
    if store and profile.layout != "synthetic" and not _has_raw(profile, workspace):
        total += store  # patches hardly compress
        text += " and about as much for the download"
    if free < store:
        return Check("disk", "problem", text, more)
    if free < max(total, ENOUGH_DISK):
        return Check("disk", "warning", text, more)
    return Check("disk", "ok", text)


def stores(subject: Subject, workspace: Workspace, *, display: Display = SILENT) -> Iterator[Check]:
    """Is every byte of the stores what it was when they were built?"""
    slugs = [
        path.parent.name
        for path in sorted(workspace.data.glob("*/store"))
        if subject.concerns(path.parent.name)
    ]
    for slug in slugs:
        yield _store(workspace.competition_path(slug) / "store", display)
        for path in (workspace.store_path(slug, stain) for stain in get_args(StainMethod)):
            if path.is_dir():
                yield _store(path, display)
    if not slugs:
        yield _no_store(subject, workspace)


def _store(path: Path, display: Display) -> Check:
    """Is one store intact?"""
    slug = path.parent.name
    try:
        store = open_store(path)
        with display.work() as progress:
            verify_store(store, progress=progress.bytes)
    except PcamError as error:
        return Check("store", "problem", error.message, error.hint or f"pcam fetch {slug}")
    name = slug if path.name == "store" else f"{slug} ({path.name})"
    counts = ", ".join(f"{split} {count.n:,}" for split, count in store.splits.items())
    return Check("store", "ok", f"{name} is intact ({counts})")


def _no_store(subject: Subject, workspace: Workspace) -> Check:
    """How to get a store where there is none; that is no fault."""
    profile = subject.profile
    if not subject.requested or profile is None:
        text = f"no data in {workspace.data} yet; pcam demo needs none, pcam fetch gets some"
        return Check("store", "ok", text)
    fetch = f"pcam fetch {profile.slug}"
    if subject.on_disk:
        text = f"{profile.slug}: its files are here, its store is not built yet"
        return Check("store", "ok", text, fetch)
    by_hand = profile.missing_hint if profile.layout != "synthetic" else ""
    return Check("store", "ok", f"{profile.slug}: not fetched yet", by_hand or fetch)


def runs(subject: Subject, workspace: Workspace) -> Iterator[Check]:
    """Can every run be used?

    It must be readable and undamaged, and the store it was trained on must still be there.
    """
    unreadable: list[str] = []
    chosen = [
        run
        for run in list_runs(workspace.runs, unreadable.append)
        if subject.concerns(run.competition.slug)
    ]
    finished = [run for run in chosen if run.result is not None]
    under_way = [run for run in chosen if run.result is None and is_locked(run.lock_file)]
    stopped = len(chosen) - len(finished) - len(under_way)
    again = "train again: pcam train"
    for message in unreadable:
        yield Check("runs", "warning", message, again)
    for run in finished:
        try:
            check_files(run)
        except PcamError as error:
            yield Check("runs", "warning", error.message, error.hint)
    yield from _without_store(chosen, workspace)
    counts = {"finished": len(finished), "under way": len(under_way), "stopped": stopped}
    text = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    fix = "pcam train --resume" if stopped else ""
    yield Check("runs", "ok", text or f"none in {workspace.runs} yet", fix)


def check_files(run: Run) -> None:
    """Read the model and the predictions of a finished run.

    Raises RunError for what is damaged, or was not written by this run; StorageError.
    """
    # of a run in storage, what was not brought yet cannot be damaged here
    only_there = not run.model_file.exists() and mirrors.exists(run.model_file)
    if not only_there and not isinstance(run.experiment.model, WithoutNetwork | Ensemble):
        _check_archive(run.model_file)
        run.check_model()
    for path in sorted((run.path / "predictions").glob("*.npz")):
        run.load_predictions(path.stem)


def _check_archive(path: Path) -> None:
    """Compare the parts of a `.keras` file with their checksums, without Keras."""
    hint = "bring it back from a copy, or train again: pcam train"
    with (
        parsing(lambda reason: RunError(f"{path} is damaged: {reason}", hint=hint)),
        open_regular(path) as handle,
        zipfile.ZipFile(handle) as model,
    ):
        if (bad := model.testzip()) is not None:
            raise ValueError(f"{printable(bad)} in it is not what was written")


def ledger(subject: Subject, workspace: Workspace) -> Iterator[Check]:
    """Are there submissions whose outcome is not known?"""
    entries = [entry for entry in workspace.ledger.entries() if subject.concerns(entry.competition)]
    unknown = [entry.file_name for entry in entries if entry.status == "unknown"]
    pending = [entry.file_name for entry in entries if entry.status == "pending"]
    refresh = "pcam submissions --refresh"
    if unknown:
        text = f"it is not known whether Kaggle took {few(unknown, len(unknown))}"
        yield Check("ledger", "warning", text, refresh)
    if pending:
        text = f"no score yet for {few(pending, len(pending))}"
        yield Check("ledger", "warning", text, refresh)
    if not unknown and not pending:
        sent = sum(entry.id is not None for entry in entries)
        text = f"{sent} submissions, none with an open outcome" if sent else "no submissions yet"
        yield Check("ledger", "ok", text)


def _without_store(runs: list[Run], workspace: Workspace) -> Iterator[Check]:
    """The runs whose store is gone or has been replaced.

    They cannot be resumed, evaluated on other splits, or predicted with.
    """
    # of the stores that the runs name; "" for one that cannot be opened
    fingerprints: dict[tuple[str, StainMethod | None], str] = {}
    for key in {_store_key(run) for run in runs}:
        try:
            fingerprints[key] = workspace.store(*key).fingerprint
        except PcamError:
            fingerprints[key] = ""
    gone: list[str] = []
    replaced: list[str] = []
    for run in runs:
        fingerprint = fingerprints[_store_key(run)]
        if not fingerprint:
            gone.append(run.name)
        elif fingerprint != run.meta["store_fingerprint"]:
            replaced.append(run.name)
    fix = (
        "give the folder with their store with --data-dir, or bring it back: pcam fetch "
        "COMPETITION [--from PATH]"
    )
    data = workspace.data
    if gone:
        text = f"trained on a store that cannot be opened in {data}: {few(gone, len(gone))}"
        yield Check("runs", "warning", text, fix)
    if replaced:
        names = few(replaced, len(replaced))
        text = f"trained on another store than the one in {data} now: {names}"
        yield Check("runs", "warning", text, fix)


def _store_key(run: Run) -> tuple[str, StainMethod | None]:
    return run.competition.slug, run.experiment.data.stain


def _has_store(slug: str, workspace: Workspace) -> bool:
    return (workspace.competition_path(slug) / "store" / "manifest.json").is_file()


def _has_raw(profile: Competition, workspace: Workspace) -> bool:
    raw = workspace.competition_path(profile.slug) / "raw"  # also of a public home
    source = KaggleSource(profile.slug, raw, profile)
    return source.mounted is not None or source.record.is_file()
