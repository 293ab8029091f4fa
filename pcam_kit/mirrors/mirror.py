"""One mirror: a local folder whose files are also in storage, each whole or absent on both sides.

CACHE/mirrors/<address>-<8 hex>/
    mirror.json      which address it mirrors, and the id of this machine as a writer
    files/           what the rest of the package works on
    index.sqlite     what was the same on both sides, and when (`index.py`)
    locks/           one for each folder of files/, held while it is compared
    removed/         copies of folders that were deleted in the storage

A file that differs from the index was written here since, and is uploaded; one whose tag differs
was written elsewhere, and is downloaded. Where both hold, nothing is touched: a ConflictError.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pcam_kit.errors import ConflictError, RemoteError
from pcam_kit.files import (
    PARTIAL,
    is_locked,
    locked,
    move,
    read_json_object,
    sha256_file,
    storage_error,
    storage_errors,
    sync_file,
    sync_folder,
    write_json,
)
from pcam_kit.mirrors.address import Address, Kind
from pcam_kit.mirrors.index import Index, Known
from pcam_kit.mirrors.remote import CHUNK, ChangedError, Remote, There
from pcam_kit.names import unsafe_name

log = logging.getLogger(__name__)

SCHEMA = 1
RETRY_SECONDS = 30.0  # without an attempt after one that failed, so that training goes on
ATTEMPTS = 3  # at a file that is replaced while it is read
AT_ONCE = 16  # small files, or folders of them
LARGE = 64 << 20  # bytes, from which on a transfer is announced
NEWS_SECONDS = 20.0  # between two words on a long transfer
# these make the others complete: uploaded last, downloaded last, in this order
MARKERS = ("meta.json", "result.json", "manifest.json", "fetched.json")
MANIFEST, RECORD = "manifest.json", "fetched.json"
# of all runs at once; the rest of a run comes when it is needed
SMALL = {"config.yaml", "meta.json", "metrics.jsonl", "result.json"}
STORE = re.compile(r"[^/]+/store(-[a-z]+)?")
# what of a data folder is shared: stores and when they were fetched
DATA = re.compile(r"[^/]+/(fetched\.json|store(-[a-z]+)?/(images\.npy|index\.npz|manifest\.json))")
LEDGER = re.compile(r"ledger[^/]*\.jsonl")
UPLOADS = {
    "data": "pcam fetch COMPETITION --data-dir",
    "runs": "pcam runs --runs-dir",
    "submissions": "pcam submissions --submissions-dir",
}


def top_of(name: str) -> str:
    """The first part of a name: a run, a competition, or a file."""
    return name.partition("/")[0]


class Mirror:
    """The mirror of an address. Nothing is asked of the storage before it is needed."""

    def __init__(self, address: Address, kind: Kind) -> None:
        self.address = address
        self.kind: Kind = kind
        home = address.home(kind)
        try:
            home.mkdir(parents=True, exist_ok=True)
            home = home.resolve()
            self.root = home / "files"
            self.root.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, home) from error
        self._home = home
        self._remote = Remote(address)
        self._index = Index(home / "index.sqlite")
        self.writer = self._register()
        self._seen: set[str] = set()  # names in the storage, when it was listed last
        self._caught_up = False
        self._failure: RemoteError | None = None
        self._retry_at = 0.0

    def _register(self) -> str:
        """Note whose mirror this is; the id under which this machine writes."""
        path = self._home / "mirror.json"
        with locked(self._home / "locks" / ".mirror", "making a mirror", wait=True):
            values = read_json_object(path)
            writer = values.get("writer")
            if not isinstance(writer, str) or re.fullmatch("[0-9a-f]{8}", writer) is None:
                writer = secrets.token_hex(4)
                values = {
                    "schema_version": SCHEMA,
                    "url": self.address.url,
                    "endpoint": self.address.endpoint,
                    "kind": self.kind,
                    "writer": writer,
                }
                write_json(path, values, announced=False)
        return writer

    def name_of(self, path: Path) -> str:
        """The name of a file or folder of this mirror."""
        return path.relative_to(self.root).as_posix()

    def shares(self, name: str) -> bool:
        """Whether a file of this name is uploaded, and downloaded."""
        if self.kind == "data":
            return DATA.fullmatch(name) is not None and not name.startswith(".")
        hidden = any(part.startswith(".") for part in name.split("/"))
        return not hidden and not name.endswith(".part") and not unsafe_name(name)

    def _is_shared_folder(self, path: Path, name: str) -> bool:
        return path.is_dir() and (self.kind != "data" or STORE.fullmatch(name) is not None)

    def is_there(self, name: str) -> bool:
        """Whether the storage had a file of this name when it was looked at last."""
        return name in self._seen

    # up

    def changed(self, path: Path) -> None:
        """Upload, or delete there, what was written or deleted here.

        A failure is reported once and kept for `flush`: it must not end a training.
        """
        name = self.name_of(path)
        top = top_of(name)
        if top.startswith(".") or not (self.shares(name) or self._is_shared_folder(path, name)):
            return
        known = None if path.exists() else self._index.get(name)
        if known is not None:
            self._index.put(name, Known(known.tag, known.size, known.mtime, gone=True))
        elif not path.exists():
            return
        if time.monotonic() < self._retry_at:
            return
        try:
            self.push(top)
        except RemoteError as error:
            if self._failure is None:
                log.warning(f"{error.message}; {name} stays here for now and is uploaded later")
            self._failure = error
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def push(self, top: str) -> None:
        """Upload all of a folder, or file, of the root that is not the same in the storage.

        In the order in which it was written, markers last. Raises RemoteError, ConflictError.
        """
        with self._lock(top):
            for _ in range(ATTEMPTS):  # a replaced store loses its manifest first
                known = self._index.all(top)
                dirty = self._dirty(top, known)
                for name in dirty:
                    self._send(name)
                if not dirty:
                    break
            known = self._index.all(top)
            for name, entry in known.items():
                if entry.gone and not (self.root / name).exists():
                    there = self._remote.find(name)
                    if there is not None and there.tag == entry.tag:  # another one is not ours
                        self._remote.delete(name)
                    self._index.drop(name)

    def flush(self) -> None:
        """Upload what an earlier attempt could not. Raises RemoteError."""
        if self._failure is None:
            return
        self._failure, self._retry_at = None, 0.0
        try:
            self._catch_up(strict=True)
        except RemoteError as error:
            raise type(error)(
                f"{error.message}; what was written is whole in {self.root}, but not all of it is "
                f"in {self.address.url}",
                hint=f"the next command there uploads it: {UPLOADS[self.kind]} {self.address.url}",
            ) from error

    def _catch_up(self, *, strict: bool = False) -> None:
        """Upload what earlier processes left, but for folders that another one works in now.

        strict: raise conflicts, and upload also where this process holds the lock.
        """
        known = self._index.all()
        gone = {top_of(name) for name, entry in known.items() if entry.gone}
        for top in sorted({path.name for path in self.root.iterdir()} | gone):
            if top.startswith(".") or not (top in gone or self._dirty(top, known)):
                continue
            if not strict and self._is_in_use(top):
                continue
            try:
                self.push(top)
            except ConflictError as error:
                if strict:
                    raise
                log.warning(f"{error.message} -> {error.hint}")

    def _dirty(self, top: str, known: dict[str, Known]) -> list[str]:
        """Files of a folder that were written since the index knew them, in order of writing."""
        found: list[tuple[int, int, str]] = []
        place = self.root / top
        places = [place]
        if self.kind == "data":  # raw files can be 300,000
            places = [place / RECORD, *place.glob("store*")]
        for path, stat in (item for one in places for item in _files(one)):
            name = self.name_of(path)
            entry = known.get(name)
            if self.shares(name) and (entry is None or not entry.tag or not entry.fits(stat)):
                found.append((_rank(name), stat.st_mtime_ns, name))
        return [name for _, _, name in sorted(found)]

    def _send(self, name: str) -> None:
        path = self.root / name
        with storage_errors(path, "read"):
            try:
                self._send_file(path, name)
            except FileNotFoundError:  # replaced or deleted meanwhile: who does that comes next
                return

    def _send_file(self, path: Path, name: str) -> None:
        known, there = self._index.get(name), self._remote.find(name)
        if there is not None and (known is None or there.tag != known.tag):
            if self._is_same(path, name, there, known):
                if self._index.get(name) != known:
                    return  # the same bytes
            else:
                raise self._conflict(name)
        self._invalidate(name)
        before = path.stat()
        if before.st_size > LARGE:
            log.info(f"uploading {name} ({before.st_size / 1e6:,.0f} MB)")
        entry = known or Known()
        sending = _md5(path) if before.st_size <= LARGE else ""
        # should this process die after the upload, the next one knows that it was ours
        self._index.put(name, Known(entry.tag, entry.size, entry.mtime, sending))
        sent = self._remote.write(path, name)
        self._index.put(name, Known(sent.tag, before.st_size, before.st_mtime_ns))
        self._seen.add(name)

    def _invalidate(self, name: str) -> None:
        """Before the patches of a store are replaced there, its manifest goes.

        Without it nobody takes the mixture for a store.
        """
        folder, _, last = name.rpartition("/")
        if last == MANIFEST or STORE.fullmatch(folder) is None or self.kind != "data":
            return
        manifest = f"{folder}/{MANIFEST}"
        known, there = self._index.get(manifest), self._remote.find(manifest)
        if there is None:
            return
        if known is None or known.tag != there.tag:
            raise self._conflict(manifest)
        self._remote.delete(manifest)
        self._index.drop(manifest)

    def _is_same(self, path: Path, name: str, there: There, known: Known | None) -> bool:
        """Whether what is there, not known, is what this machine has, or what it sent last."""
        here = _md5(path)
        content = there.tag  # most storages have the MD5 of what came in one piece
        sent = known.sending if known is not None else ""
        if content not in {here, sent} or not content:
            with self._temporary() as temporary:
                self._download(name, there, temporary)
                content = _md5(temporary)
        if content == here:
            stat = path.stat()
            self._index.put(name, Known(there.tag, stat.st_size, stat.st_mtime_ns))
            return True
        return bool(sent) and content == sent

    def _conflict(self, name: str) -> ConflictError:
        place = self.root / top_of(name)
        return ConflictError(
            f"{name} was changed on this machine and, elsewhere, in {self.address.url}: neither "
            "is overwritten",
            hint=f"to take the one in the storage, move {place} away; then run the same command "
            "again",
        )

    # down

    def refresh(self) -> None:
        """Bring the small files of every folder that changed elsewhere, and upload what waits.

        Of runs config, meta, metrics and result; of data when it was fetched; the ledgers. Raises
        RemoteError.
        """
        self._catch_up_once()
        listing = self._list("")
        self._seen = set(listing)
        known = self._index.all()
        new: dict[str, dict[str, There]] = {}
        for name, there in listing.items():
            entry = known.get(name)
            same = entry is not None and entry.tag == there.tag and (self.root / name).exists()
            if self._is_small(name) and not same:
                new.setdefault(top_of(name), {})[name] = there
        free = [top for top in new if not self._is_in_use(top)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            conflicts = list(pool.map(lambda top: self._take_some(top, new[top]), free))
        for error in filter(None, conflicts):
            log.warning(f"{error.message} -> {error.hint}")
        if self.kind == "runs":
            self._put_aside({top_of(name) for name in listing}, known)

    def bring(self, name: str) -> None:
        """Bring a file, or all of a folder, as it is in the storage. Raises RemoteError."""
        self._catch_up_once()
        if self._is_in_use(top_of(name)):
            return
        if self.kind == "data" and STORE.fullmatch(name):
            with self._lock(top_of(name)):
                self._bring_store(name)
            return
        listing = self._list(name)
        with self._lock(top_of(name)):
            for one in sorted(listing, key=_rank):
                self._take(one, listing[one])
            for one, entry in self._index.all(name).items():
                path = self.root / one
                if one not in listing and entry.tag and path.is_file() and entry.fits(path.stat()):
                    path.unlink()  # such as the checkpoint of a run that was completed
                    self._index.drop(one)

    def _catch_up_once(self) -> None:
        if not self._caught_up:
            self._catch_up()
            self._caught_up = True

    def _list(self, below: str) -> dict[str, There]:
        found = self._remote.list(below)
        return {name: there for name, there in found.items() if self.shares(name)}

    def _is_small(self, name: str) -> bool:
        match self.kind:
            case "runs":
                return name.count("/") == 1 and name.rpartition("/")[2] in SMALL
            case "data":
                return name.count("/") == 1
            case "submissions":
                return LEDGER.fullmatch(name) is not None

    def _take_some(self, top: str, listing: dict[str, There]) -> ConflictError | None:
        """Download some files of a folder; what stood in the way."""
        with self._lock(top):
            try:
                for name in sorted(listing, key=_rank):
                    self._take(name, listing[name])
            except ConflictError as error:
                return error
        return None

    def _take(self, name: str, there: There) -> None:
        """Download a file where the one here is absent, or older and unchanged."""
        path, known = self.root / name, self._index.get(name)
        if path.is_file():
            if known is not None and known.tag == there.tag:
                return  # ours is the same, or newer and still to be uploaded
            clean = known is not None and known.fits(path.stat())
            if not clean:
                if self._is_same(path, name, there, known):
                    return
                raise self._conflict(name)
        elif known is not None and known.gone:
            return
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._fetch(name, there)
                return
            except ChangedError:
                newer = self._remote.find(name)
                if newer is None:
                    return  # deleted meanwhile
                if attempt == ATTEMPTS:
                    raise
                there = newer

    def _fetch(self, name: str, there: There) -> None:
        """Download a file in place of the one here."""
        path = self.root / name
        with storage_errors(path):
            with self._temporary() as temporary:
                self._download(name, there, temporary)
                if there.size > CHUNK and self._remote.find(name) != there:  # came in pieces
                    raise ChangedError(
                        f"{self.address.url}/{name} was changed while it was downloaded",
                        hint="run the same command again",
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                move(temporary, path, announced=False)
            sync_folder(path.parent)
        stat = path.stat()
        self._index.put(name, Known(there.tag, stat.st_size, stat.st_mtime_ns))

    def _download(self, name: str, there: There, path: Path) -> None:
        """The file at `path`, of which there may be a beginning, fsynced."""
        began = told = time.monotonic()
        size = f"{there.size / 1e6:,.0f} MB"
        if there.size > LARGE:
            log.info(f"downloading {name} ({size}) from {self.address.url}")

        def progress(done: int) -> None:
            nonlocal told
            if there.size > LARGE and time.monotonic() - told > NEWS_SECONDS:
                told = time.monotonic()
                rate = done / (told - began) / 1e6
                log.info(f"{name}: {done / 1e6:,.0f} of {size}, {rate:,.0f} MB/s")

        path.touch()  # an empty file has no chunks
        self._remote.read(name, there, path, progress)
        sync_file(path)

    def _bring_store(self, name: str) -> None:
        """Replace a store by the one in the storage, as a whole, if that is another."""
        listing = self._remote.list(name)
        manifest = f"{name}/{MANIFEST}"
        folder, known = self.root / name, self._index.all(name)
        if manifest not in listing:
            return  # none, or one that is being uploaded
        if (folder / MANIFEST).is_file():
            if all(known.get(one, Known()).tag == there.tag for one, there in listing.items()):
                return
            clean = all(
                known.get(self.name_of(path), Known()).fits(stat) for path, stat in _files(folder)
            )
            if not clean:
                for one, there in listing.items():
                    if not self._is_same(self.root / one, one, there, known.get(one)):
                        raise self._conflict(manifest)
                return
        listing = {one: there for one, there in listing.items() if self.shares(one)}
        tags = "\n".join(f"{one} {there.tag}" for one, there in sorted(listing.items()))
        digest = hashlib.sha256(tags.encode()).hexdigest()[:8]
        coming = folder.with_name(f".{folder.name}.coming-{digest}")
        with storage_errors(folder):
            for other in folder.parent.glob(f".{folder.name}.coming-*"):
                if other != coming:  # of a store that was replaced meanwhile
                    shutil.rmtree(other, ignore_errors=True)
            coming.mkdir(parents=True, exist_ok=True)
            for one in sorted(listing, key=_rank):
                self._download(one, listing[one], coming / one.rpartition("/")[2])
            if self._remote.list(name) != listing:
                raise ChangedError(
                    f"{self.address.url}/{name} was changed while it was downloaded",
                    hint="run the same command again",
                )
            self._check_sums(coming)
            self._replace(folder, coming)
        for one, there in listing.items():
            stat = (self.root / one).stat()
            self._index.put(one, Known(there.tag, stat.st_size, stat.st_mtime_ns))

    def _check_sums(self, coming: Path) -> None:
        """Compare a downloaded store with its manifest: it may have come in several attempts."""
        files = read_json_object(coming / MANIFEST).get("files")
        sums = files if isinstance(files, dict) else {}
        for name, values in sums.items():
            path = coming / name
            expected = values.get("sha256") if isinstance(values, dict) else None
            if unsafe_name(name) or not path.is_file() or sha256_file(path) != expected:
                shutil.rmtree(coming, ignore_errors=True)
                raise RemoteError(
                    f"{self.address.url}: {name} of {coming.parent.name} is damaged: it is not "
                    "what its manifest says",
                    hint="run the same command again; if that does not help, delete that store "
                    "in the storage and fetch it anew: pcam fetch",
                )

    def _replace(self, folder: Path, coming: Path) -> None:
        """Put a downloaded store in its place; a kill in between leaves none."""
        old = folder.with_name(f".{folder.name}{PARTIAL}{secrets.token_hex(4)}")
        if folder.exists():
            move(folder, old, announced=False)
        try:
            move(coming, folder, announced=False)
        except OSError:
            if old.exists():
                move(old, folder, announced=False)
            raise
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _put_aside(self, there: set[str], known: dict[str, Known]) -> None:
        """Move copies of folders that were deleted in the storage out of the way."""
        for top in {top_of(name) for name, entry in known.items() if entry.tag} - there:
            folder = self.root / top
            if not folder.is_dir() or self._is_in_use(top) or self._dirty(top, known):
                continue
            with self._lock(top):
                place = self._home / "removed" / top
                if self._remote.list(top) or place.exists():
                    continue
                log.info(f"{top} was deleted in {self.address.url}; its copy is in {place}")
                place.parent.mkdir(exist_ok=True)
                move(folder, place, announced=False)
                self._index.drop(*(name for name in known if top_of(name) == top))

    def _is_in_use(self, top: str) -> bool:
        """Whether a process of this machine, such as a training, works in the folder now."""
        folder = self.root / top
        return folder.is_dir() and is_locked(folder / ".lock")

    @contextmanager
    def _lock(self, top: str) -> Generator[None]:
        """Held while the two sides of a folder are compared: threads and processes wait."""
        with locked(self._home / "locks" / top, f"comparing {top}", wait=True):
            yield

    @contextmanager
    def _temporary(self) -> Generator[Path]:
        path = self._home / f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _rank(name: str) -> int:
    """Markers are behind all else."""
    last = name.rpartition("/")[2]
    return MARKERS.index(last) + 1 if last in MARKERS else 0


def _files(place: Path) -> Generator[tuple[Path, os.stat_result]]:
    """The files at or below a place that are neither hidden nor links, with their stat."""
    if not place.is_dir():
        if place.is_file():
            yield place, place.stat()
        return
    for entry in os.scandir(place):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path), entry.stat()


def _md5(path: Path) -> str:
    """Hex MD5: what storages call the content, no protection against anybody."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
