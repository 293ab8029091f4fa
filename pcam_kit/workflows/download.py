"""Downloads raw files: which ones, whether there is room, several at once."""

from __future__ import annotations

import fnmatch
import logging
import queue
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from pcam_kit import downloads, kaggle_client
from pcam_kit.competitions import Competition
from pcam_kit.data.sources.zips import check_zip, unpack_zip
from pcam_kit.data.store import store_bytes
from pcam_kit.downloads import RemoteFile
from pcam_kit.errors import AccessError, DataError, Interrupted, UsageError
from pcam_kit.files import PARTIAL, check_space
from pcam_kit.formatting import few
from pcam_kit.names import unsafe_name
from pcam_kit.parsing import printable
from pcam_kit.progress import Progress, Work
from pcam_kit.workflows.download_record import (
    DownloadRecord,
    file_crc,
    find_complete,
    read_record,
    set_aside,
    write_record,
)
from pcam_kit.workflows.raw_source import RawSource

log = logging.getLogger(__name__)

# up to here each file is downloaded by itself, so that a broken transfer costs one file
MAX_SINGLE_FILES = 50
MAX_CHOSEN_FILES = 1000  # of --only; each takes a request and a connection
PARALLEL_DOWNLOADS = 4
PART_NAME = re.compile(r"\.part(\.json)?$|(^|/)" + re.escape(PARTIAL))


def ensure_raw_files(source: RawSource, progress: Work) -> Path:
    """The folder or zip to build the store from, after downloading what is missing.

    Raises KaggleError, DataError, StorageError.
    """
    mounted = source.mounted
    if mounted is not None:
        log.info(f"using {mounted}")
        return mounted
    complete = find_complete(source, progress)
    return complete if complete is not None else _download_all(source, progress)


def download_matching(source: RawSource, patterns: Sequence[str], progress: Work) -> list[Path]:
    """Download the files whose name, with or without its folders, matches a pattern (`*.csv`).

    Raises UsageError when none does, KaggleError, DataError, StorageError.
    """
    matching: dict[str, RemoteFile] = {}
    names: list[str] = []
    for file in source.list_files():
        names.append(file.name)
        progress("listing files", len(names), 0)
        if _matches(file.name, patterns):
            matching[file.name] = file
        # all patterns are complete names: no need to read a thousand pages
        if matching.keys() >= set(patterns):
            break
    if not matching:
        listed = few(map(printable, names), len(names), 5) or "no files"
        raise UsageError(
            f"no file of {source.name} matches {' or '.join(patterns)}: {source.lister} lists "
            f"{listed}",
            hint=f"see {source.url}",
        )
    if len(matching) > MAX_CHOSEN_FILES:
        raise UsageError(
            f"{len(matching):,} files of {source.name} match {' or '.join(patterns)}: expected at "
            f"most {MAX_CHOSEN_FILES:,}",
            hint=f"everything comes as one zip: pcam fetch {source.profile.slug} --keep-raw lays "
            "its files beside it",
        )
    return [*_download_each(source, [*matching.values()], progress, for_store=False)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        form == pattern or fnmatch.fnmatchcase(form, pattern)
        for form in (name, name.rpartition("/")[2])
        for pattern in patterns
    )


def unpack(archive: Path, destination: Path, progress: Work) -> None:
    """Unpack a downloaded zip into the folder `destination`.

    Raises DataError for an unsafe one, StorageError.
    """
    if unpack_zip(archive, destination, progress.bytes):
        log.info(f"unpacked {archive.name} into {destination}")
    else:
        log.info(f"{destination} holds the files of {archive.name} already")


def _download_all(source: RawSource, progress: Work) -> Path:
    """Download every file, or everything as one zip, and record it; the folder or zip to open.

    Only Kaggle has zips: a public home has at most MAX_SINGLE_FILES files.
    """
    files = [*islice(source.list_files(), MAX_SINGLE_FILES + 1)]
    if not files:
        hint = f"look at {source.url}; a course may have closed its competition"
        raise AccessError(f"{source.lister} lists no files for {source.name}", hint=hint)
    if len(files) <= MAX_SINGLE_FILES:
        record = _download_files(source, files, progress)
    else:
        name = f"{source.name.rpartition('/')[2]}.zip"
        record = DownloadRecord(
            name, {name: _download_zip(source, source.own_path(name), progress)}
        )
    write_record(source, record)
    return source.folder / record.read


def _download_files(
    source: RawSource, files: Sequence[RemoteFile], progress: Work
) -> DownloadRecord:
    recorded = read_record(source).crcs
    found = _download_each(source, files, progress, for_store=True)
    crcs: dict[str, str] = {}
    unproven: set[str] = set()
    listed = {file.name: file for file in files}
    for path, crc in found.items():
        name = path.relative_to(source.folder).as_posix()
        # it was there before, and no record says that it is complete
        if crc is None and name not in recorded:
            unproven.add(name)
        file = listed[name]
        if file.size == 0 and not file.md5 and path.stat().st_size > 0:
            unproven.add(name)
        crcs[name] = crc if crc is not None else file_crc(source, name, progress)
    return DownloadRecord(".", crcs, sorted(unproven))


def _download_zip(source: RawSource, target: Path, progress: Work) -> str:
    """Download everything as the zip `target`, or check an existing one without a record.

    Returns its CRC-32C in hex.
    """
    inspect = partial(check_zip, name=target.name)
    if target.is_file():
        downloads.discard_part(target)
        fault = downloads.zip_fault(target, partial(progress.bytes, f"verifying {target.name}"))
        if not fault:
            inspect(target)
            return file_crc(source, target.name, progress)
        log.warning(
            f"{target} is damaged ({fault}); it is kept as {set_aside(target).name} and "
            "downloaded again"
        )
    return kaggle_client.download_all(
        source.name,
        target,
        inspect=inspect,
        progress=progress.bytes,
        room=lambda total: total + _store_room(source.profile, total),
    )


def _store_room(profile: Competition, download: int) -> int:
    """The bytes that the store will take; at most twice the download.

    A server may hand out only a part of what is published.
    """
    return min(store_bytes(profile), 2 * download)


def _download_each(
    source: RawSource, files: Sequence[RemoteFile], progress: Work, *, for_store: bool
) -> dict[Path, str | None]:
    """Download those of `files` that do not exist yet.

    The CRC-32C by path in hex; None for an existing file, unless its md5 had to be checked. Raises
    KaggleError, StorageError, and DataError for an unsafe name.
    """
    targets = {source.own_path(_checked_name(file, source.lister)): file for file in files}
    crcs: dict[Path, str | None] = dict.fromkeys(targets)
    missing: dict[Path, RemoteFile] = {}
    recorded = read_record(source).crcs
    for target, file in targets.items():
        exists = target.is_file()
        # 0: the size is not known
        is_whole = exists and file.size in {0, target.stat().st_size}
        if exists and file.md5 and not (is_whole and file.name in recorded):
            crcs[target] = _checked_crc(target, file, progress)
            is_whole = crcs[target] is not None
        if is_whole:
            downloads.discard_part(target)
        else:
            missing[target] = file
    source.folder.mkdir(parents=True, exist_ok=True)
    needed = sum(
        max(0, file.size - downloads.part_size(target)) for target, file in missing.items()
    )
    if for_store:
        needed += _store_room(source.profile, sum(file.size for file in files))
        # unpacked while the store is built
        needed += sum(file.size for file in files if file.name.endswith(".gz"))
    check_space(source.folder, needed)

    def download(target: Path, file: RemoteFile, report: Progress) -> None:
        crcs[target] = source.download(file, target, report)

    tasks = [partial(download, target, file) for target, file in missing.items()]
    _run_in_parallel(tasks, progress.bytes)
    return crcs


def _checked_crc(target: Path, file: RemoteFile, progress: Work) -> str | None:
    """The CRC-32C in hex of a file that has the published md5; None for another, which is renamed.

    A stopped download left it, or somebody put it there: no record says that it is complete.
    """
    report = partial(progress.bytes, f"verifying {file.name}")
    fault, crc = downloads.compare_hashes(target, {"md5": file.md5}, report)
    if not fault:
        return crc
    log.warning(
        f"{target} is not the published file ({fault}); it is kept as {set_aside(target).name} and "
        "downloaded again"
    )
    return None


def _checked_name(file: RemoteFile, lister: str) -> str:
    """The file's name. Raises DataError when it is unsafe, or that of a part of a download."""
    fault = unsafe_name(file.name)
    if not fault and PART_NAME.search(file.name):
        fault = "the name of a part of a download"
    if fault:
        raise DataError(
            f"{lister} lists a file with an unsafe name: {file.name!r} ({fault})",
            hint="download it by hand, look at it, and use --from",
        )
    return file.name


def _run_in_parallel(tasks: Sequence[Callable[[Progress], None]], progress: Progress) -> None:
    """Run the tasks, a few at a time.

    Raises the first failure; the other tasks then stop when they next report progress. The threads
    are daemons, so that neither Ctrl-C nor an error waits for a silent connection: what a download
    has written is valid at any moment, as if the process had been killed.
    """
    waiting: queue.SimpleQueue[Callable[[Progress], None]] = queue.SimpleQueue()
    results: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    for task in tasks:
        waiting.put(task)

    def report(what: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise Interrupted("stopped, because another download failed")
        progress(what, done, total)

    def work() -> None:
        with suppress(queue.Empty):
            while not stopped.is_set():
                task = waiting.get_nowait()
                try:
                    task(report)
                except BaseException as error:
                    results.put(error)
                else:
                    results.put(None)

    try:
        for _ in range(min(PARALLEL_DOWNLOADS, len(tasks))):
            threading.Thread(target=work, daemon=True).start()
        for _ in tasks:
            error = results.get()
            if error is not None:
                raise error
    finally:
        stopped.set()
