"""The storage itself, through fsspec: whole objects in and out, every error as a sentence."""

# pyright: basic

from __future__ import annotations

import logging
import posixpath
import secrets
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcam_kit.errors import PcamError, RemoteError, UsageError
from pcam_kit.files import PARTIAL
from pcam_kit.mirrors.address import GS, S3, Address
from pcam_kit.names import unsafe_name
from pcam_kit.parsing import reason_of

log = logging.getLogger(__name__)

CHUNK = 16 << 20  # bytes of one request; smaller files are written by one
AT_ONCE = 4  # chunks
# protocols whose PUT of an object is atomic; elsewhere a temporary name is renamed
OBJECTS = {*S3, *GS, "abfs", "abfss", "az", "adl", "oss", "oci"}
EXTRAS = dict.fromkeys(S3, "s3") | dict.fromkeys(GS, "gs")
TAGS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified")
REFUSED = (
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
    *("TokenRetrievalError", "DefaultCredentialsError", "RefreshError", "AuthenticationException"),
)
REFUSED_TEXTS = (
    *("invalidaccesskeyid", "signaturedoesnotmatch", "accessdenied", "access denied"),
    *("forbidden", "unauthorized"),
)
SIGN_IN = dict.fromkeys(
    S3,
    "sign in: aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for another server "
    "than Amazon's also AWS_ENDPOINT_URL",
) | dict.fromkeys(
    GS,
    "sign in: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS",
)


@dataclass(frozen=True)
class There:
    """A file in the storage. tag: another content has another one."""

    size: int
    tag: str


class ChangedError(RemoteError):
    """A file was cut short, or replaced while it was read."""


class Remote:
    """The folder at an address. Connects at the first request; for any number of threads.

    Every method raises RemoteError where the storage refuses or does not answer, UsageError where
    a package is missing or the protocol unknown.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._connection: tuple[Any, str] | None = None

    def list(self, below: str = "") -> dict[str, There]:
        """The files below a folder, by their names from the address on.

        Names that no file here may have are left out.
        """
        fs, root = self._connect()
        with self._errors("list"):
            fs.invalidate_cache()
            try:
                found = fs.find(posixpath.join(root, below) if below else root, detail=True)
            except FileNotFoundError:
                if self.address.protocol in OBJECTS:
                    raise  # the bucket
                found = {}
        files: dict[str, There] = {}
        for path, info in found.items():
            name = str(path)[len(root) :].lstrip("/")
            if not info:  # some say nothing of a single file
                with self._errors("look at"):
                    info = fs.info(path)
            if info.get("type") == "file" and not unsafe_name(name):
                files[name] = _there(info)
        return files

    def find(self, name: str) -> There | None:
        """One file; None where there is none."""
        fs, root = self._connect()
        with self._errors("look at"):
            fs.invalidate_cache()
            try:
                return _there(fs.info(posixpath.join(root, name)))
            except FileNotFoundError:
                return None

    def read(self, name: str, there: There, path: Path, progress: Callable[[int], None]) -> None:
        """Append to the local file at `path` what it does not have yet. Raises OSError, too.

        progress: is called with the bytes there are. Raises ChangedError where it has another size
        than `there` says.
        """
        fs, root = self._connect()
        source = posixpath.join(root, name)

        def chunk(start: int) -> bytes:
            end = min(start + CHUNK, there.size)
            # a small one whole, which is one state of it
            span = {"start": start, "end": end} if there.size > CHUNK else {}
            with self._errors("read"):
                try:
                    data = fs.cat_file(source, **span)
                except FileNotFoundError:
                    data = b""
            if len(data) != end - start:
                raise ChangedError(
                    f"{self.address.url}/{name} did not come whole: expected {there.size:,} bytes, "
                    f"found {start + len(data):,}",
                    hint="run the same command again",
                )
            return data

        with open(path, "ab") as handle, ThreadPoolExecutor(AT_ONCE) as pool:
            done = handle.tell()
            while done < there.size:
                starts = range(done, min(done + AT_ONCE * CHUNK, there.size), CHUNK)
                # the storage's errors must not look like those of this disk, nor the reverse
                for data in pool.map(chunk, starts):
                    handle.write(data)
                    done += len(data)
                progress(done)

    def write(self, path: Path, name: str) -> There:
        """Replace a file by the one at `path`: whole or not at all. Raises OSError, too."""
        fs, root = self._connect()
        target = posixpath.join(root, name)
        atomic = self.address.protocol in OBJECTS
        folder, last = posixpath.split(target)
        place = target if atomic else f"{folder}/{PARTIAL}{secrets.token_hex(4)}.{last}"
        data = path.read_bytes() if path.stat().st_size <= CHUNK else None
        with self._errors("write"):
            if not atomic:
                fs.makedirs(folder, exist_ok=True)
            if data is not None:
                fs.pipe_file(place, data)
            else:
                fs.put_file(str(path), place)
            if not atomic:
                fs.mv(place, target)
            fs.invalidate_cache()
            return _there(fs.info(target))

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        fs, root = self._connect()
        with self._errors("delete"):
            fs.invalidate_cache()
            try:
                fs.rm_file(posixpath.join(root, name))
            except FileNotFoundError:
                return

    def _connect(self) -> tuple[Any, str]:
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
            return self._connection

    def _open(self) -> tuple[Any, str]:
        protocol = self.address.protocol
        extra = EXTRAS.get(protocol)
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise UsageError(
                f"{self.address.url} needs fsspec, which is not installed",
                hint=f'pip install "pcam-kit[{extra}]"' if extra else "pip install fsspec",
            ) from error
        try:
            with self._errors("open"):
                fs, root = url_to_fs(self.address.url)
        except RemoteError as error:
            match error.__cause__:
                case ImportError() as cause:
                    hint = f'pip install "pcam-kit[{extra}]"' if extra else str(cause)
                    raise UsageError(
                        f"{self.address.url} needs a package that is not installed: "
                        f"{reason_of(cause)}",
                        hint=hint,
                    ) from cause
                case ValueError() as cause if "rotocol not known" in str(cause):
                    raise UsageError(
                        f"nothing is known about {protocol}:// ({self.address.url})",
                        hint="s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or another protocol that "
                        "fsspec knows; a folder of this machine needs no protocol",
                    ) from cause
                case _:
                    raise
        return fs, str(root).rstrip("/")

    @contextmanager
    def _errors(self, doing: str) -> Generator[None]:
        try:
            yield
        except PcamError:
            raise
        except Exception as error:  # every client raises errors of its own
            raise self._error(error, doing) from error

    def _error(self, error: Exception, doing: str) -> RemoteError:
        where, protocol, reason = self.address.url, self.address.protocol, reason_of(error)
        names = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, FileNotFoundError):
            make = {
                "s3": f"aws s3 mb s3://{self.address.bucket}",
                "gs": f"gcloud storage buckets create gs://{self.address.bucket}",
            }.get(EXTRAS.get(protocol, ""), f"make {self.address.bucket}")
            return RemoteError(
                f"cannot {doing} {where}: there is no {self.address.bucket} ({reason})",
                hint=f"mend the URL, or make it: {make}",
            )
        if (
            isinstance(error, PermissionError)
            or names & {*REFUSED}
            or any(text in reason.lower() for text in REFUSED_TEXTS)
        ):
            return RemoteError(
                f"cannot {doing} {where}: not allowed ({reason})",
                hint=SIGN_IN.get(protocol, "check the account, and what it may do there"),
            )
        if any("Checksum" in name for name in names):
            return ChangedError(
                f"what came from {where} did not come whole ({reason})",
                hint="run the same command again",
            )
        return RemoteError(
            f"cannot {doing} {where}: no answer ({reason})",
            hint="look at the network and the server, then run the same command again; nothing on "
            "this machine is lost",
        )


def _there(info: dict[str, Any]) -> There:
    tag = next((str(info[key]) for key in TAGS if info.get(key) is not None), "")
    return There(int(info.get("size") or 0), tag.strip('"'))
