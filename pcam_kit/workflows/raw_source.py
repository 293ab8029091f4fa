"""Sources of raw files: a competition at Kaggle, a dataset in its role, or a public home."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pcam_kit import kaggle_client
from pcam_kit.competitions import Competition, PublicFiles
from pcam_kit.downloads import Mirrors, RemoteFile
from pcam_kit.errors import AccessError, DataError, StorageError, UsageError
from pcam_kit.names import unsafe_name
from pcam_kit.parsing import printable
from pcam_kit.progress import Progress

KAGGLE_INPUT = "/kaggle/input"  # where Kaggle's notebooks find their data


@dataclass(frozen=True)
class RawSource(ABC):
    """Where a competition's raw files come from, and the folder for them.

    name: what they are the files of, for messages. lister: who says which files there are.
    """

    name: str
    folder: Path
    profile: Competition
    lister: ClassVar[str]

    @property
    def record(self) -> Path:
        """The JSON file that says which files were downloaded, once all are there."""
        return self.folder.with_name(f"{self.folder.name}.json")

    def own_path(self, name: str) -> Path:
        """The path of the file `name`, which may be written or renamed.

        Raises DataError for a name that would leave the folder, StorageError when the folder, or
        one on the way to the file, is a link: the files behind it are not of this download.
        """
        fault = unsafe_name(name)
        if fault:
            raise DataError(
                f"{self.folder} holds no file {printable(name)!r}: {fault}",
                hint=f"delete {self.record}, then run the same command again",
            )
        path = self.folder / name
        levels = name.count("/") + (3 if "/" in self.name else 1)
        linked = [folder for folder in [*path.parents][:levels] if folder.is_symlink()]
        if linked:
            raise StorageError(
                f"{linked[-1]} is a link to another folder: nothing is written or renamed there",
                hint="put a real folder there, or link the whole data folder with --data-dir",
            )
        return path

    @property
    def mounted(self) -> Path | None:
        """A folder of this machine that has the same files, so that they need no download."""
        return None

    @property
    @abstractmethod
    def url(self) -> str:
        """The page that shows the files."""

    @abstractmethod
    def list_files(self) -> Iterator[RemoteFile]:
        """The files, as they become known. Raises KaggleError."""

    @abstractmethod
    def download(self, file: RemoteFile, target: Path, progress: Progress) -> str:
        """Download one file to `target`; its CRC-32C in hex. Raises KaggleError, StorageError."""


@dataclass(frozen=True)
class KaggleSource(RawSource):
    """A competition or a dataset at Kaggle.

    name: a competition's slug, or a dataset's OWNER/SLUG.
    """

    lister = "Kaggle"

    @property
    def mounted(self) -> Path | None:
        """The folder with the same files in a Kaggle notebook."""
        kind = "datasets" if "/" in self.name else "competitions"
        candidates = [
            Path(KAGGLE_INPUT, self.name.rpartition("/")[2]),
            Path(KAGGLE_INPUT, kind, self.name),
        ]
        return next((folder for folder in candidates if folder.is_dir()), None)

    @property
    def url(self) -> str:
        """The page at Kaggle."""
        if "/" in self.name:
            return f"https://www.kaggle.com/datasets/{self.name}"
        return f"{self.profile.url}/data"

    def list_files(self) -> Iterator[RemoteFile]:
        """The files in Kaggle's order, page by page."""
        return kaggle_client.list_files(self.name)

    def download(self, file: RemoteFile, target: Path, progress: Progress) -> str:
        """Download one file, from the address that Kaggle signs for it."""
        return kaggle_client.download_file(self.name, file, target, progress=progress)


@dataclass(frozen=True)
class PublicSource(RawSource):
    """The public home of a competition's files, which needs no account; see `PublicFiles`."""

    public: PublicFiles
    mirrors: Mirrors
    lister = "the profile"

    @property
    def url(self) -> str:
        """The page of the public home."""
        return self.public.page

    def list_files(self) -> Iterator[RemoteFile]:
        """The files in the profile's order."""
        for file in self.public.files:
            yield RemoteFile(file.name, file.bytes, file.md5)

    def download(self, file: RemoteFile, target: Path, progress: Progress) -> str:
        """Download one file, from the first of the mirrors that gives it."""
        return self.mirrors.download(file, target, progress=progress)


def dataset_name(text: str) -> str:
    """OWNER/SLUG, from that or from the dataset's address. Raises UsageError for other text."""
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


def source_of(profile: Competition, home: Path, wanted: Mapping[str, Any]) -> RawSource:
    """The source of a competition's raw files.

    home: the competition's folder. wanted: has `dataset`, OWNER/SLUG, for files to be used in place
    of the competition's own, or `public` for its public home. Raises UsageError where the profile
    has none, and where that is the only one and was not asked for.
    """
    dataset: str | None = wanted.get("dataset")
    if dataset is not None:
        return KaggleSource(dataset, home / "datasets" / dataset, profile)
    public = profile.public_files
    if not wanted.get("public"):
        source = KaggleSource(profile.slug, home / "raw", profile)
        if public is not None and profile.missing_hint and source.mounted is None:
            raise UsageError(
                f"{profile.slug} is no competition at Kaggle: say where its files come from",
                hint=profile.missing_hint,
            )
        return source
    if public is None:
        raise UsageError(
            f"{profile.slug} has no public home: its profile has no `public_files`",
            hint=f"pcam fetch {profile.slug}",
        )
    return PublicSource(profile.slug, home / "raw", profile, public, Mirrors(public.mirrors))


@contextmanager
def with_profile_hint(profile: Competition) -> Generator[None]:
    """Give an AccessError inside the block the profile's own hint, if it has one."""
    try:
        yield
    except AccessError as error:
        raise AccessError(error.message, hint=profile.missing_hint or error.hint) from error
