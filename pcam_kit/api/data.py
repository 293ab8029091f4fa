"""Data: fetch a competition, open its store, look at it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import WorkspaceLike, display_of, path_of, workspace_of

if TYPE_CHECKING:
    from pcam_kit.config.schema import StainMethod
    from pcam_kit.data.store import Store
    from pcam_kit.progress import Display
    from pcam_kit.workflows.copies import CopiesReport
    from pcam_kit.workflows.shift import ColourShift


def fetch(
    competition: str | None = None,
    *,
    files: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    download: bool = False,
    stain: StainMethod | None = None,
    keep_raw: bool = False,
    allow_missing: bool = False,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Store:
    """Get a competition's files and build its store, or verify the one that is there.

    competition: a slug, alias, Kaggle URL or a profile's .yaml; "synthetic" needs no account; None,
    with `stain`: the one fetched last. files: take these from disk, a folder or an archive; None:
    download from Kaggle. dataset: OWNER/SLUG of a Kaggle dataset in the competition's role.
    download: from the files' public home, without an account ("pcam"). stain: also build, and
    return, a second store with the stain normalised. keep_raw: unpack a downloaded zip, too.
    allow_missing: leave out rows without an image and images without a row. Raises ConfigError,
    UsageError, DataError, KaggleError, StorageError; what was there before stays whole.
    """
    from pcam_kit.workflows import fetch as workflow

    place, shown = workspace_of(workspace), display_of(display)
    is_new = files is not None or dataset is not None or download
    if competition is None and stain is not None and not is_new:
        competition = place.last_fetched()
    request = workflow.fetch_request(
        competition,
        path_of(files),
        dataset,
        public=download,
        keep_raw=keep_raw,
        allow_missing=allow_missing,
    )
    store = workflow.fetch(request, place, display=shown)
    return store if stain is None else workflow.normalise(store, stain, place, display=shown)


def download(
    competition: str | None,
    patterns: Sequence[str],
    *,
    files: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    public: bool = False,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> list[Path]:
    """Download single files, e.g. ["*.csv"], and build nothing.

    public: from the files' public home, without an account. Raises as `fetch`.
    """
    from pcam_kit.workflows import fetch as workflow

    request = workflow.fetch_request(competition, path_of(files), dataset, public=public)
    return workflow.fetch_some(
        request, patterns, workspace_of(workspace), display=display_of(display)
    )


def synthetic(
    *,
    size: int = 32,
    train: int = 3000,
    valid: int = 1000,
    test: int = 1000,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Store:
    """Draw patches of synthetic tissue and build their store: no account, no download.

    size: pixels a side, at least 32. train, valid, test: patches of each split. The same numbers
    give the same patches; other ones replace the store, and the one before is kept beside it.
    Raises DataError, StorageError.
    """
    from pcam_kit.competitions import find_competition
    from pcam_kit.workflows import fetch as workflow

    counts = {"train": train, "valid": valid, "test": test}
    changes = {"image_size": size, "counts": counts}
    profile = find_competition("synthetic").model_copy(update=changes)
    return workflow.fetch(
        workflow.FetchRequest("synthetic"),
        workspace_of(workspace),
        profile=profile,
        display=display_of(display),
    )


def open_store(
    competition: str | None = None,
    *,
    stain: StainMethod | None = None,
    workspace: WorkspaceLike | None = None,
) -> Store:
    """The store of a competition that was fetched; None: the one fetched last.

    Raises DataError, UsageError.
    """
    place = workspace_of(workspace)
    return place.store(competition if competition is not None else place.last_fetched(), stain)


def find_copies(
    competitions: Sequence[str] = (),
    *,
    centre: int | None = None,
    examples: int = 0,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> CopiesReport:
    """Find patches that are there twice, within and across splits and stores.

    competitions: slugs or store folders; empty: all in the data folder. centre: compare so many
    pixels a side. examples: pairs of ids to list for each two splits. Raises DataError, UsageError.
    """
    from pcam_kit.workflows import copies as workflow

    return workflow.find_copies(
        competitions, centre, examples, workspace_of(workspace), display=display_of(display)
    )


def colour_shift(
    competition: str | None = None,
    *,
    stain: StainMethod | None = None,
    workspace: WorkspaceLike | None = None,
) -> ColourShift:
    """Compare the colours of a store's splits. Raises DataError, UsageError."""
    from pcam_kit.workflows import shift as workflow

    return workflow.colour_shift(competition, stain, workspace_of(workspace))
