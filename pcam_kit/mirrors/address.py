"""Addresses of storage, `s3://bucket/prefix`, and the local folder that stands for one."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pcam_kit.errors import UsageError

Kind = Literal["data", "runs", "submissions"]

# two letters or more: `C:/data` is a drive
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://(.*)", re.DOTALL)
_COLLAPSED = re.compile(r"(s3|s3a|gs|gcs|abfs|abfss|az|sftp):[/\\][^/\\]")
LOCAL = ("file", "local")  # protocols without a bucket or host
S3, GS = ("s3", "s3a"), ("gs", "gcs")
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST",),
}


@dataclass(frozen=True)
class Address:
    """A folder in some storage. url: without a slash at the end. protocol: in small letters."""

    url: str
    protocol: str

    @property
    def bucket(self) -> str:
        """The bucket, container or host."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def endpoint(self) -> str:
        """Where the environment leads the client to; "" for the usual place.

        Another server's bucket of the same name is another folder.
        """
        family = {"s3a": "s3", "gcs": "gs"}.get(self.protocol, self.protocol)
        names = _ENDPOINTS.get(family, ())
        return next((value for name in names if (value := os.environ.get(name))), "")

    def home(self, kind: Kind) -> Path:
        """The folder in the cache that belongs to this address."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.url)[:60].strip("-")
        text = "\n".join((self.url, self.endpoint, kind))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return cache_folder() / "mirrors" / f"{name}-{digest}"


def is_url(text: str) -> bool:
    """Whether a text is an address of storage, and no path."""
    return _URL.match(text) is not None


def parse(text: str) -> Address:
    """The address that a URL is.

    Raises UsageError where it names no bucket, or has a password in it: runs keep their command.
    """
    found = _URL.match(text)
    if found is None:
        raise UsageError(f"{text!r} is no URL", hint="such as s3://bucket/prefix")
    protocol, rest = found[1].lower(), found[2].rstrip("/")
    address = Address(f"{protocol}://{rest}", protocol)
    if re.match(r"[^/@]*:[^/@]*@", rest):
        raise UsageError(
            f"a URL of {protocol}:// must not have a password in it: runs keep their command line",
            hint="use a key, or fsspec's file of settings: ~/.config/fsspec/conf.json",
        )
    if protocol == "memory":
        raise UsageError(
            "memory:// is gone when the process ends", hint="choose storage that stays"
        )
    if not rest or (protocol not in LOCAL and not address.bucket):
        raise UsageError(
            f"{address.url} names no bucket",
            hint=f"give one: {protocol}://BUCKET/PREFIX",
        )
    return address


def check_path(path: Path) -> None:
    """Raises UsageError for a URL that became a path: `Path("s3://b")` has one slash only."""
    if _COLLAPSED.match(str(path)):
        raise UsageError(
            f"{path} looks like a URL that was made a Path, which takes one of its slashes",
            hint='give the URL as text: Workspace(runs="s3://bucket/runs")',
        )


def cache_folder() -> Path:
    """PCAM_CACHE_DIR, or where this system keeps caches."""
    given = os.environ.get("PCAM_CACHE_DIR")
    if given:
        return Path(given).absolute()
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(
            "there is no home folder for the copies of what is in storage",
            hint="name a folder for them: export PCAM_CACHE_DIR=/some/folder",
        ) from error
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "pcam-kit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "pcam-kit"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "pcam-kit"
