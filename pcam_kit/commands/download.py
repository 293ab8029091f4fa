"""Raw files from Kaggle into a folder: which ones, whether there is room, several at once, and a
record of what is whole.
"""

from __future__ import annotations

import fnmatch
import queue
import re
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from pcam_kit import kaggle_client
from pcam_kit.commands.console import Work, say, warn
from pcam_kit.competitions import Competition
from pcam_kit.data.raw import few
from pcam_kit.data.sources.zips import check_zip, unpack_zip
from pcam_kit.data.store import store_bytes
from pcam_kit.errors import AccessError, DataError, Interrupted, UsageError
from pcam_kit.files import PARTIAL, check_space, read_json_object, unsafe_name, write_json
from pcam_kit.kaggle_client import RemoteFile

KAGGLE_INPUT = "/kaggle/input"  # where Kaggle's notebooks find their data
# up to here each file is downloaded by itself, so that a broken transfer costs one file
FEW_FILES = 50
MANY_FILES = 1000  # of --only; each takes a request and a connection
AT_ONCE = 4  # downloads
PART = re.compile(r"\.part(\.json)?$|(^|/)" + re.escape(PARTIAL))


@dataclass(frozen=True)
class Source:
    """Where raw files come from: `name` is a competition's slug or a dataset's OWNER/SLUG, `folder`
    where they go.
    """

    name: str
    folder: Path
    profile: Competition

    @property
    def record(self) -> Path:
        """The file that says that all files are there: a _Record as JSON."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def mounted(self) -> Path | None:
        """The same files in a Kaggle notebook, where they need no download."""
        kind = "datasets" if "/" in self.name else "competitions"
        known = [
            Path(KAGGLE_INPUT, self.name.rpartition("/")[2]),
            Path(KAGGLE_INPUT, kind, self.name),
        ]
        return next((folder for folder in known if folder.is_dir()), None)

    @property
    def url(self) -> str:
        """Its page."""
        return (
            f"https://www.kaggle.com/datasets/{self.name}"
            if "/" in self.name
            else f"{self.profile.url}/data"
        )


def dataset_name(text: str) -> str:
    """OWNER/SLUG from that or from the dataset's address. Raises UsageError for anything else."""
    match = re.fullmatch(
        r"(?:(?:https?://)?(?:www\.)?kaggle\.com/datasets/)?([\w-]+/[\w-]+)/?(?:[?#].*)?",
        text.strip(),
    )
    if match is None:
        raise UsageError(
            f"no dataset's name: {text!r}",
            hint="give OWNER/SLUG, the end of its address kaggle.com/datasets/OWNER/SLUG",
        )
    return match.group(1)


def source_of(profile: Competition, home: Path, dataset: str | None) -> Source:
    """The competition itself, or the `dataset` OWNER/SLUG in its role."""
    return (
        Source(profile.slug, home / "raw", profile)
        if dataset is None
        else Source(dataset, home / "datasets" / dataset, profile)
    )


@contextmanager
def explained(profile: Competition) -> Generator[None]:
    """An AccessError gets the profile's own hint, if it has one."""
    try:
        yield
    except AccessError as error:
        raise AccessError(error.message, hint=profile.missing_hint or error.hint) from error


def raw_files(source: Source, progress: Work) -> Path:
    """What to build the store from: a folder or a zip, after downloading what is missing.

    Raises KaggleError, DataError, StorageError.
    """
    if (mounted := source.mounted) is not None:
        say(f"using {mounted}")
        return mounted
    there = _complete(source, progress)
    return there if there is not None else _download_all(source, progress)


def some_files(source: Source, patterns: Sequence[str], progress: Work) -> list[Path]:
    """Download the files whose name, or its last part, matches a pattern (`*.csv`).

    Raises UsageError when none does.
    """
    wanted: dict[str, RemoteFile] = {}
    seen: list[str] = []
    for file in kaggle_client.list_files(source.name):
        seen.append(file.name)
        progress("listing files", len(seen), 0)
        names = (file.name, file.name.rpartition("/")[2])
        if any(
            name == pattern or fnmatch.fnmatchcase(name, pattern)
            for name in names
            for pattern in patterns
        ):
            wanted[file.name] = file
        # all of them are whole names: no need to read a thousand pages
        if wanted.keys() >= set(patterns):
            break
    if not wanted:
        there = few(seen, len(seen), 5) or "no files"
        raise UsageError(
            f"no file of {source.name} matches {' or '.join(patterns)}: Kaggle lists {there}",
            hint=f"see {source.url}",
        )
    if len(wanted) > MANY_FILES:
        raise UsageError(
            f"{len(wanted):,} files of {source.name} match {' or '.join(patterns)}: expected at "
            f"most {MANY_FILES:,}",
            hint=f"everything comes as one zip: pcam fetch {source.profile.slug} --keep-raw lays "
            "its files beside it",
        )
    return [*_download_each(source, [*wanted.values()], progress, for_store=False)]


def doubt(source: Source, error: DataError) -> list[str]:
    """Forget that the download was complete, so that Kaggle's list is read again.

    Downloaded files that `error` names, and of which it is
    not certain that they came whole, are set aside: their new names.
    """
    names = [name for name in _recorded(source).unproven if name in error.message]
    paths = [source.folder / name for name in names if (source.folder / name).is_file()]
    source.record.unlink(missing_ok=True)
    return [_set_aside(path).name for path in paths]


def unpack(archive: Path, destination: Path, progress: Work) -> None:
    """Lay the files of a downloaded zip beside it.

    Raises DataError for an unsafe one, StorageError.
    """
    if unpack_zip(archive, destination, progress.bytes):
        say(f"unpacked {archive.name} into {destination}")
    else:
        say(f"{destination} holds the files of {archive.name} already")


@dataclass(frozen=True)
class _Record:
    """What is known of a complete download.

    `read`: what to open below the folder; `crcs`: the CRC-32C of every file, in hex.

    `unproven`: files of which neither a size nor a hash nor a checksum inside has shown that they
    are whole.
    """

    read: str = "."
    crcs: dict[str, str] = field(default_factory=dict[str, str])
    unproven: list[str] = field(default_factory=list[str])


def _recorded(source: Source) -> _Record:
    """The record; an empty one where there is none, or one of another form."""
    told = read_json_object(source.record)
    read, crcs, unproven = (told.get(name) for name in ("read", "crcs", "unproven"))
    return (
        _Record(read, crcs, unproven)
        if isinstance(read, str) and isinstance(crcs, dict) and isinstance(unproven, list)
        else _Record()
    )


def _complete(source: Source, progress: Work) -> Path | None:
    """What to open, when every file is there as it was recorded; otherwise None, and what is
    damaged is set aside.
    """
    record = _recorded(source)
    whole = bool(record.crcs)
    for name, crc in record.crcs.items():
        path = source.folder / name
        if not path.is_file():
            whole = False
        elif _crc(source, name, progress) != crc:
            warn(
                f"{path} is not what was downloaded any more; it is kept as "
                f"{_set_aside(path).name} and downloaded again"
            )
            whole = False
    return source.folder / record.read if whole else None


def _set_aside(path: Path) -> Path:
    return path.replace(path.with_name(f"{path.name}.damaged"))


def _download_all(source: Source, progress: Work) -> Path:
    files = [*islice(kaggle_client.list_files(source.name), FEW_FILES + 1)]
    if not files:
        hint = f"look at {source.url}; a course may have closed its competition"
        raise AccessError(f"Kaggle lists no files for {source.name}", hint=hint)
    known = _recorded(source).crcs
    if len(files) <= FEW_FILES:
        came = _download_each(source, files, progress, for_store=True)
        crcs = {path.relative_to(source.folder).as_posix(): crc for path, crc in came.items()}
        sizes = {file.name: file.size for file in files}
        # before, and nobody remembers how they came
        there = [name for name in crcs if crcs[name] is None and name not in known]
        unproven = sorted(
            {
                *there,
                *(
                    name
                    for name in crcs
                    if sizes[name] == 0 and (source.folder / name).stat().st_size > 0
                ),
            }
        )
        read = "."
    else:
        read = f"{source.name.rpartition('/')[2]}.zip"
        crcs, unproven = {read: _download_zip(source, source.folder / read, progress)}, []
    whole = {
        name: crc if crc is not None else _crc(source, name, progress) for name, crc in crcs.items()
    }
    write_json(source.record, asdict(_Record(read, whole, unproven)))
    return source.folder / read


def _download_zip(source: Source, target: Path, progress: Work) -> str:
    """Download everything as the zip `target`, or check the one that lies there without a record;
    its CRC-32C.
    """
    inspect = partial(check_zip, name=target.name)
    if target.is_file():
        kaggle_client.discard_part(target)
        fault = kaggle_client.zip_fault(target, partial(progress.bytes, f"verifying {target.name}"))
        if not fault:
            inspect(target)
            return _crc(source, target.name, progress)
        warn(
            f"{target} is damaged ({fault}); it is kept as {_set_aside(target).name} and "
            "downloaded again"
        )
    return kaggle_client.download_all(
        source.name,
        target,
        inspect=inspect,
        progress=progress.bytes,
        room=lambda total: total + _store_room(source.profile, total),
    )


def _crc(source: Source, name: str, progress: Work) -> str:
    return kaggle_client.crc32c(source.folder / name, partial(progress.bytes, f"verifying {name}"))


def _store_room(profile: Competition, download: int) -> int:
    """What the store will take, but never more than twice the download: a server may hand out a
    part of what is published.
    """
    return min(store_bytes(profile), 2 * download)


def _download_each(
    source: Source, files: Sequence[RemoteFile], progress: Work, *, for_store: bool
) -> dict[Path, str | None]:
    """Download those of `files` that are not there.

    The CRC-32C of each, None for one that was there.
    """
    targets: dict[Path, RemoteFile] = {}
    for file in files:
        if why := unsafe_name(file.name) or (
            "the name of a part of a download" if PART.search(file.name) else ""
        ):
            hint = "download it by hand, look at it, and use --from"
            raise DataError(
                f"Kaggle lists a file with an unsafe name: {file.name!r} ({why})", hint=hint
            )
        targets[source.folder / file.name] = file
    missing: dict[Path, RemoteFile] = {}
    for target, file in targets.items():
        if target.is_file() and file.size in {0, target.stat().st_size}:  # 0: Kaggle does not tell
            kaggle_client.discard_part(target)
        else:
            missing[target] = file
    source.folder.mkdir(parents=True, exist_ok=True)
    to_come = sum(
        max(0, file.size - kaggle_client.part_size(target)) for target, file in missing.items()
    )
    store = _store_room(source.profile, sum(file.size for file in files)) if for_store else 0
    check_space(source.folder, to_come + store)
    crcs: dict[Path, str | None] = dict.fromkeys(targets)

    def task(target: Path, file: RemoteFile, tell: kaggle_client.Progress) -> None:
        crcs[target] = kaggle_client.download_file(source.name, file, target, progress=tell)

    _at_once([partial(task, target, file) for target, file in missing.items()], progress.bytes)
    return crcs


def _at_once(
    tasks: Sequence[Callable[[kaggle_client.Progress], None]], progress: kaggle_client.Progress
) -> None:
    """Run the tasks, a few at a time.

    Raises the first failure; the others then stop at their next bytes.

    Daemon threads, so that neither Ctrl-C nor an error waits for a line that says nothing: what a
    download has written is good at any moment, as if the process had been killed.
    """
    waiting: queue.SimpleQueue[Callable[[kaggle_client.Progress], None]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    for task in tasks:
        waiting.put(task)

    def tell(what: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise Interrupted("stopped, because another download failed")
        progress(what, done, total)

    def work() -> None:
        with suppress(queue.Empty):
            while not stopped.is_set():
                task = waiting.get_nowait()
                try:
                    task(tell)
                except BaseException as error:
                    ended.put(error)
                else:
                    ended.put(None)

    try:
        for _ in range(min(AT_ONCE, len(tasks))):
            threading.Thread(target=work, daemon=True).start()
        for _ in tasks:
            if (error := ended.get()) is not None:
                raise error
    finally:
        stopped.set()
