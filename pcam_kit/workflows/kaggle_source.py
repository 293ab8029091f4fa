"""Sources of raw files at Kaggle: a competition, or a dataset in its role."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pcam_kit.competitions import Competition
from pcam_kit.errors import AccessError, DataError, StorageError, UsageError
from pcam_kit.names import unsafe_name
from pcam_kit.parsing import printable

KAGGLE_INPUT = "/kaggle/input"  # where Kaggle's notebooks find their data


@dataclass(frozen=True)
class KaggleSource:
    """A competition or a dataset at Kaggle, and the folder for its files.

    name: a competition's slug, or a dataset's OWNER/SLUG.
    """

    name: str
    folder: Path
    profile: Competition

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
        """The folder with the same files in a Kaggle notebook, where they need no download."""
        kind = "datasets" if "/" in self.name else "competitions"
        candidates = [
            Path(KAGGLE_INPUT, self.name.rpartition("/")[2]),
            Path(KAGGLE_INPUT, kind, self.name),
        ]
        return next((folder for folder in candidates if folder.is_dir()), None)

    @property
    def url(self) -> str:
        """The page at Kaggle that shows the files."""
        if "/" in self.name:
            return f"https://www.kaggle.com/datasets/{self.name}"
        return f"{self.profile.url}/data"


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


def source_of(profile: Competition, home: Path, dataset: str | None) -> KaggleSource:
    """The source of a competition's raw files.

    home: the competition's folder. dataset: OWNER/SLUG, to be used in place of the competition's
    own files.
    """
    if dataset is None:
        return KaggleSource(profile.slug, home / "raw", profile)
    return KaggleSource(dataset, home / "datasets" / dataset, profile)


@contextmanager
def with_profile_hint(profile: Competition) -> Generator[None]:
    """Give an AccessError inside the block the profile's own hint, if it has one."""
    try:
        yield
    except AccessError as error:
        raise AccessError(error.message, hint=profile.missing_hint or error.hint) from error
