"""The workspace: the folders of data, runs, submissions and sweeps, and the stores of data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pcam_kit import mirrors
from pcam_kit.competitions import Competition, find_competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.store import Store, open_store
from pcam_kit.data.store_reader import MLE_BENCH, NORMALISED
from pcam_kit.errors import DataError, RunError, UsageError
from pcam_kit.files import read_json_object
from pcam_kit.run_folders import Run
from pcam_kit.submissions import Ledger


@dataclass(frozen=True)
class Workspace:
    """The folders of data, runs, submissions and sweeps, by default in the working directory.

    The first three may be given as URLs of folders in storage, `s3://bucket/runs`; each is then the
    local mirror of that (`pcam_kit.mirrors`). Raises UsageError for a URL that cannot be one.
    """

    data: Path = Path("data")
    runs: Path = Path("runs")
    submissions: Path = Path("submissions")
    sweeps: Path = Path("sweeps")

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", mirrors.folder_of(self.data, "data"))
        object.__setattr__(self, "runs", mirrors.folder_of(self.runs, "runs"))
        submissions = mirrors.folder_of(self.submissions, "submissions")
        object.__setattr__(self, "submissions", submissions)

    @classmethod
    def of(
        cls,
        data: str | os.PathLike[str] = "data",
        runs: str | os.PathLike[str] = "runs",
        submissions: str | os.PathLike[str] = "submissions",
        sweeps: Path = Path("sweeps"),
    ) -> Workspace:
        """The workspace of paths or URLs."""
        return cls(
            mirrors.folder_of(data, "data"),
            mirrors.folder_of(runs, "runs"),
            mirrors.folder_of(submissions, "submissions"),
            sweeps,
        )

    @classmethod
    def below(cls, folder: str | os.PathLike[str]) -> Workspace:
        """The folders by their usual names below `folder`, a path or a URL.

        Of a URL the sweeps are in the working directory.
        """
        text = os.fspath(folder)
        if mirrors.is_url(text):
            text = text.rstrip("/")
            return cls.of(f"{text}/data", f"{text}/runs", f"{text}/submissions")
        path = Path(text)
        return cls(path / "data", path / "runs", path / "submissions", path / "sweeps")

    @classmethod
    def from_environment(cls) -> Workspace:
        """The folders in PCAM_DATA_DIR, PCAM_RUNS_DIR and PCAM_SUBMISSIONS_DIR.

        A variable that is not set stands for the usual name.
        """
        return cls.of(
            os.environ.get("PCAM_DATA_DIR") or "data",
            os.environ.get("PCAM_RUNS_DIR") or "runs",
            os.environ.get("PCAM_SUBMISSIONS_DIR") or "submissions",
        )

    def competition_path(self, slug: str) -> Path:
        """The folder of one competition: `raw/`, `store/`, `features/`, `fetched.json`."""
        return self.data / slug

    def features_path(self, slug: str) -> Path:
        """Where the features of a competition's patches lie, a folder for each network."""
        return self.competition_path(slug) / "features"

    def store_path(self, slug: str, stain: StainMethod | None) -> Path:
        """The folder of a competition's store: patches as published, or normalised by `stain`."""
        name = "store" if stain is None else f"{NORMALISED}{stain}"
        return self.competition_path(slug) / name

    def store(self, name: str, stain: StainMethod | None = None) -> Store:
        """The store of a competition, by slug or alias.

        Raises DataError when it is missing, incomplete or not normalised by `stain`, or when the
        store it was normalised from has changed.
        """
        mirrors.refresh(self.data)
        slug = name
        if name != MLE_BENCH and not self.competition_path(name).is_dir():
            slug = find_competition(name).slug
        mirrors.bring(self.store_path(slug, stain))
        store = open_store(self.store_path(slug, stain))
        command = f"pcam fetch {slug}"
        if stain is not None:
            command += f" --stain {stain}"
        if store.stain != stain:
            raise DataError(
                f"{store.path}: expected patches {_describe(stain)}, found patches "
                f"{_describe(store.stain)}",
                hint=command,
            )
        published = self.store_path(slug, None)
        if stain is None or not published.is_dir():
            return store
        expected: str = store.manifest["stain"]["of"]
        fingerprint = open_store(published).fingerprint
        if fingerprint != expected:
            raise DataError(
                f"{store.path} was normalised from a store with fingerprint {expected[:8]}, "
                f"{published} has {fingerprint[:8]} now",
                hint=command,
            )
        return store

    def store_of(self, run: Run) -> Store:
        """The store that `run` was trained on.

        Raises DataError when there is no store, RunError when it is a different one.
        """
        store = self.store(run.competition.slug, run.experiment.data.stain)
        expected: str = run.meta["store_fingerprint"]
        if store.fingerprint != expected:
            raise RunError(
                f"{run.name} was trained on a store with fingerprint {expected[:8]}, "
                f"{store.path} has {store.fingerprint[:8]}",
                hint="give the store of that run with --data-dir, or bring it back: pcam fetch "
                "--from",
            )
        return store

    @property
    def ledger(self) -> Ledger:
        """The record of all submissions."""
        return Ledger(self.submissions / "ledger.jsonl")

    def fetch_times(self) -> dict[str, str]:
        """When each competition with a store was fetched, by slug; they sort as text."""
        mirrors.refresh(self.data)
        return {
            path.parent.name: str(read_json_object(path).get("time", ""))
            for path in self.data.glob("*/fetched.json")
            if mirrors.exists(path.parent / "store" / "manifest.json")
        }

    def last_fetched(self) -> str:
        """The slug of the competition fetched last.

        Raises UsageError when there is no store at all.
        """
        times = self.fetch_times()
        if not times:
            raise UsageError(
                f"no competition's data in {self.data}",
                hint="get some: pcam fetch COMPETITION (with files on disk: --from PATH; synthetic "
                "tissue, no account: pcam fetch synthetic)",
            )
        return max(times, key=lambda slug: times[slug])

    def competition(self, name: str | None) -> Competition:
        """The profile called `name`; by default that of the store fetched last."""
        if name is not None:
            return find_competition(name)
        return self.store(self.last_fetched()).profile


def _describe(stain: StainMethod | None) -> str:
    return "as published" if stain is None else f"normalised ({stain})"
