"""Where things lie: the three folders a user may move, and the stores inside the first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pcam_kit.competitions import Competition, find_competition
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.store import Store, open_store
from pcam_kit.data.store_reader import NORMALISED
from pcam_kit.errors import DataError, RunError, UsageError
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

    def place(self, slug: str, stain: StainMethod | None) -> Path:
        """Where a competition's store lies: as published, or normalised."""
        return self.home(slug) / ("store" if stain is None else f"{NORMALISED}{stain}")

    def store(self, name: str, stain: StainMethod | None = None) -> Store:
        """The store of a competition, by slug or alias.

        Raises DataError when it is not there, not whole, or not normalised by `stain`.
        """
        slug = name if self.home(name).is_dir() else find_competition(name).slug
        store = open_store(self.place(slug, stain))
        again = f"pcam fetch {slug}" + (f" --stain {stain}" if stain is not None else "")
        if store.stain != stain:
            raise DataError(
                f"{store.path}: expected patches {_words(stain)}, found patches "
                f"{_words(store.stain)}",
                hint=again,
            )
        base = self.place(slug, None)
        if (
            stain is not None
            and base.is_dir()
            and (found := open_store(base).fingerprint)
            != (made_of := store.manifest["stain"]["of"])
        ):
            raise DataError(
                f"{store.path} was normalised from a store with fingerprint {made_of[:8]}, "
                f"{base} has {found[:8]} now",
                hint=again,
            )
        return store

    def store_of(self, run: Run) -> Store:
        """The store that `run` was trained on.

        Raises DataError when it is not there, RunError when another one is.
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

    def fetched_last(self) -> str:
        """Slug of the competition fetched last. Raises UsageError when none was."""
        times: dict[str, str] = {}
        for path in self.data.glob("*/fetched.json"):
            if (path.parent / "store" / "manifest.json").is_file():
                times[path.parent.name] = str(read_json_object(path).get("time", ""))
        if not times:
            raise UsageError(
                f"no competition's data in {self.data}",
                hint="get some: pcam fetch COMPETITION (with files on disk: --from PATH; made-up "
                "tissue, no account: pcam fetch synthetic)",
            )
        return max(times, key=lambda slug: times[slug])

    def competition(self, name: str | None) -> Competition:
        """The profile called `name`, or the one fetched last as its store remembers it."""
        return (
            find_competition(name) if name is not None else self.store(self.fetched_last()).profile
        )


def _words(stain: StainMethod | None) -> str:
    return "as published" if stain is None else f"normalised ({stain})"
