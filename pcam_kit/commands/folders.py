"""Where things lie: the three folders a user may move, and the stores inside the first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pcam_kit.competitions import Competition, find_competition
from pcam_kit.data.store import Store, open_store
from pcam_kit.errors import RunError, UsageError
from pcam_kit.files import read_json_object
from pcam_kit.runs import Run
from pcam_kit.submissions import Ledger


@dataclass(frozen=True)
class Folders:
    """Data, runs and submissions; relative to the working directory unless told otherwise."""

    data: Path = Path("data")
    runs: Path = Path("runs")
    submissions: Path = Path("submissions")

    def home(self, slug: str) -> Path:
        """Everything of one competition: `raw/`, `store/`, `fetched.json`."""
        return self.data / slug

    def store(self, name: str) -> Store:
        """The store of a competition, by slug or alias. Raises DataError when it is not there or not whole."""
        slug = name if self.home(name).is_dir() else find_competition(name).slug
        return open_store(self.home(slug) / "store")

    def store_of(self, run: Run) -> Store:
        """The store that `run` was trained on. Raises DataError when it is not there, RunError when another one is."""
        store = self.store(run.competition.slug)
        expected: str = run.meta["store_fingerprint"]
        if store.fingerprint != expected:
            raise RunError(
                f"{run.name} was trained on a store with fingerprint {expected[:8]}, {store.path} has {store.fingerprint[:8]}",
                hint="give the store of that run with --data-dir, or bring it back: pcam fetch --from",
            )
        return store

    @property
    def ledger(self) -> Ledger:
        """The record of all submissions."""
        return Ledger(self.submissions / "ledger.jsonl")

    def fetched_last(self) -> str:
        """Slug of the competition fetched last. Raises UsageError when none was."""
        times: dict[str, str] = {}
        for path in self.data.glob("*/fetched.json"):
            if (path.parent / "store" / "manifest.json").is_file():
                times[path.parent.name] = str(read_json_object(path).get("time", ""))
        if not times:
            raise UsageError(
                f"no competition's data in {self.data}",
                hint="get some: pcam fetch COMPETITION (with files on disk: --from PATH; made-up tissue, no account: pcam fetch synthetic)",
            )
        return max(times, key=lambda slug: times[slug])

    def competition(self, name: str | None) -> Competition:
        """The profile called `name`, or the one fetched last as its store remembers it."""
        return find_competition(name) if name is not None else self.store(self.fetched_last()).profile
