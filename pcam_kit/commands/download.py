"""Raw files from Kaggle into a folder: which ones, whether there is room, several at once, and a record of what is whole."""

from __future__ import annotations

import fnmatch
import queue
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from pcam_kit import kaggle_client
from pcam_kit.commands.console import Work, say, warn
from pcam_kit.competitions import Competition
from pcam_kit.data.sources.zips import check_zip, unpack_zip
from pcam_kit.errors import AccessError, DataError, Interrupted, UsageError
from pcam_kit.files import PARTIAL, check_space, read_json_object, unsafe_name, write_json
from pcam_kit.kaggle_client import RemoteFile

KAGGLE_INPUT = "/kaggle/input"  # where Kaggle's notebooks find their data
FEW_FILES = 50  # up to here each file is downloaded by itself, so that a broken transfer costs one file
AT_ONCE = 4  # downloads
PART = re.compile(r"\.part(\.json)?$|(^|/)" + re.escape(PARTIAL))
ROW_BYTES = 256  # of a store beside the pixels of a patch, about


@dataclass(frozen=True)
class Source:
    """Where raw files come from: `name` is a competition's slug or a dataset's OWNER/SLUG, `folder` where they go."""

    name: str
    folder: Path
    profile: Competition

    @property
    def record(self) -> Path:
        """{"read": what to open below the folder, "files": {name: {"bytes", "crc32c"}}, "unsized": [name]}, once all files are there."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def mounted(self) -> Path | None:
        """The same files in a Kaggle notebook, where they need no download."""
        kind = "datasets" if "/" in self.name else "competitions"
        known = [Path(KAGGLE_INPUT, self.name.rpartition("/")[2]), Path(KAGGLE_INPUT, kind, self.name)]
        return next((folder for folder in known if folder.is_dir()), None)

    @property
    def url(self) -> str:
        """Its page."""
        return f"https://www.kaggle.com/datasets/{self.name}" if "/" in self.name else f"{self.profile.url}/data"


def dataset_name(text: str) -> str:
    """OWNER/SLUG from that or from the dataset's address. Raises UsageError for anything else."""
    match = re.fullmatch(r"(?:(?:https?://)?(?:www\.)?kaggle\.com/datasets/)?([\w-]+/[\w-]+)/?(?:[?#].*)?", text.strip())
    if match is None:
        raise UsageError(f"no dataset's name: {text!r}", hint="give OWNER/SLUG, the end of its address kaggle.com/datasets/OWNER/SLUG")
    return match.group(1)


def source_of(profile: Competition, home: Path, dataset: str | None) -> Source:
    """The competition itself, or the `dataset` OWNER/SLUG in its role."""
    return Source(profile.slug, home / "raw", profile) if dataset is None else Source(dataset, home / "datasets" / dataset, profile)


def raw_files(source: Source, progress: Work) -> Path:
    """What to build the store from: a folder or a zip, after downloading what is missing. Raises KaggleError, DataError, StorageError."""
    if (mounted := source.mounted) is not None:
        say(f"using {mounted}")
        return mounted
    there = _complete(source, progress)
    return there if there is not None else _download_all(source, progress)


def some_files(source: Source, patterns: Sequence[str], progress: Work) -> list[Path]:
    """Download the files whose name, or its last part, matches a pattern (`*.csv`). Raises UsageError when none does."""
    wanted: dict[str, RemoteFile] = {}
    seen: list[str] = []
    for file in kaggle_client.list_files(source.name):
        seen.append(file.name)
        progress("listing files", len(seen), 0)
        if any(fnmatch.fnmatchcase(name, pattern) for name in (file.name, file.name.rpartition("/")[2]) for pattern in patterns):
            wanted[file.name] = file
        if wanted.keys() >= set(patterns):  # all of them are whole names: no need to read a thousand pages
            break
    if not wanted:
        there = f"{', '.join(seen[:5])}{f' and {len(seen) - 5:,} more' if len(seen) > 5 else ''}" if seen else "no files"
        raise UsageError(f"no file of {source.name} matches {' or '.join(patterns)}: Kaggle lists {there}", hint=f"see {source.url}")
    return _download_each(source, [*wanted.values()], progress, for_store=False)


def doubt(source: Source) -> list[str]:
    """Called when downloaded files cannot be read: those of which it is not certain that they are whole are set aside. Their new names."""
    unsized: list[str] = read_json_object(source.record).get("unsized", [])
    paths = [path for path in (source.folder / name for name in unsized) if path.is_file() and path.stat().st_size > 0]
    if paths:
        source.record.unlink(missing_ok=True)
    return [_set_aside(path).name for path in paths]


def unpack(archive: Path, destination: Path, progress: Work) -> None:
    """Lay the files of a downloaded zip beside it. Raises DataError for an unsafe one, StorageError."""
    if unpack_zip(archive, destination, progress.bytes):
        say(f"unpacked {archive.name} into {destination}")
    else:
        say(f"{destination} holds the files of {archive.name} already")


def store_bytes(profile: Competition, downloaded: int) -> int:
    """About how much the store will take. Never more than twice the download: a server may hand out a part of what is published."""
    whole = sum(profile.counts.values()) * (3 * profile.image_size**2 + ROW_BYTES)
    return min(whole, 2 * downloaded) if downloaded > 0 else 0


def _complete(source: Source, progress: Work) -> Path | None:
    """What to open, when every file is there as it was recorded; None when something has to be downloaded."""
    record = read_json_object(source.record)
    files: dict[str, dict[str, object]] = record.get("files", {})
    for name, expected in files.items():
        path = source.folder / name
        if not path.is_file():
            return None
        tell = partial(progress.bytes, f"verifying {name}")
        if path.stat().st_size != expected["bytes"] or kaggle_client.crc32c(path, tell) != expected["crc32c"]:
            warn(f"{path} is not what was downloaded any more; it is kept as {_set_aside(path).name} and downloaded again")
            return None
    return source.folder / record["read"] if files else None


def _set_aside(path: Path) -> Path:
    return path.replace(path.with_name(f"{path.name}.damaged"))


def _download_all(source: Source, progress: Work) -> Path:
    files = [*islice(kaggle_client.list_files(source.name), FEW_FILES + 1)]
    if not files:
        hint = f"look at {source.url}; a course may have closed its competition"
        raise AccessError(f"Kaggle lists no files for {source.name}", hint=hint)
    if len(files) <= FEW_FILES:
        paths = _download_each(source, files, progress, for_store=True)
        read = "."
    else:
        target = source.folder / f"{source.name.rpartition('/')[2]}.zip"
        if target.is_file():  # it has its name only once it is whole
            kaggle_client.discard_part(target)
        else:
            room = partial(_room, source.profile)
            inspect = partial(check_zip, name=target.name)
            kaggle_client.download_all(source.name, target, inspect=inspect, progress=progress.bytes, room=room)
        paths, read = [target], target.name
    names = {path: path.relative_to(source.folder).as_posix() for path in paths}
    sums = {
        name: {"bytes": path.stat().st_size, "crc32c": kaggle_client.crc32c(path, partial(progress.bytes, f"verifying {name}"))}
        for path, name in names.items()
    }
    unsized = [name for name in sums if any(file.name == name and file.size == 0 for file in files)] if read == "." else []
    write_json(source.record, {"read": read, "files": sums, "unsized": unsized})
    return source.folder / read


def _room(profile: Competition, download: int) -> int:
    return download + store_bytes(profile, download)


def _download_each(source: Source, files: Sequence[RemoteFile], progress: Work, *, for_store: bool) -> list[Path]:
    """Download those of `files` that are not there; the paths of all."""
    targets: dict[Path, RemoteFile] = {}
    for file in files:
        if why := unsafe_name(file.name) or ("the name of a part of a download" if PART.search(file.name) else ""):
            hint = "download it by hand, look at it, and use --from"
            raise DataError(f"Kaggle lists a file with an unsafe name: {file.name!r} ({why})", hint=hint)
        targets[source.folder / file.name] = file
    missing: dict[Path, RemoteFile] = {}
    for target, file in targets.items():
        if target.is_file() and file.size in {0, target.stat().st_size}:  # 0: Kaggle does not tell
            kaggle_client.discard_part(target)
        else:
            missing[target] = file
    source.folder.mkdir(parents=True, exist_ok=True)
    to_come = sum(max(0, file.size - kaggle_client.part_size(target)) for target, file in missing.items())
    store = store_bytes(source.profile, sum(file.size for file in files)) if for_store else 0
    check_space(source.folder, to_come + store)

    def task(target: Path, file: RemoteFile, tell: kaggle_client.Progress) -> None:
        kaggle_client.download_file(source.name, file, target, progress=tell)

    _at_once([partial(task, target, file) for target, file in missing.items()], progress.bytes)
    return [*targets]


def _at_once(tasks: Sequence[Callable[[kaggle_client.Progress], None]], progress: kaggle_client.Progress) -> None:
    """Run the tasks, a few at a time. Raises the first failure; the others then stop at their next bytes.

    Daemon threads, so that neither Ctrl-C nor an error waits for a line that says nothing: what a download has written is good at any
    moment, as if the process had been killed.
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
