"""Predictions of a split in parts, side by side: in processes here, or on a Ray cluster."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Tta
from pcam_kit.files import writing
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run, find_run
from pcam_kit.workflows.plan import rows_of
from pcam_kit.workflows.predictions import (
    keep_predictions,
    members_of,
    predict_rows,
)
from pcam_kit.workflows.sweep.job import Outcome, place_of, shared_folder
from pcam_kit.workflows.sweep.pools import Where, open_pool
from pcam_kit.workflows.sweep.side_by_side import run_side_by_side
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

COLUMNS = ("run", "part", "of")
LEAST = 2048  # patches of a part: a process takes seconds to start


@dataclass(frozen=True)
class ShardJob:
    """Part `trial` of `parts`, counted from 1, of a run's predictions on a split.

    folder: where the parts are put together. run: its name. data, runs: folders, or URLs. place:
    the working directory.
    """

    trial: int
    parts: int
    folder: str
    run: str
    split: str
    tta: Tta
    data: str
    runs: str
    place: str

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.run}-{self.split}-{self.trial:05d}"

    def path(self, suffix: str) -> Path:
        """One of its files."""
        return Path(self.folder) / f"{self.name}{suffix}"

    def perform(self) -> Outcome:
        """Predict the part; nothing where its file is there."""
        workspace = Workspace.of(data=self.data, runs=self.runs)
        run = find_run(workspace.runs, self.run)
        if not self.path(".npy").is_file():
            store = workspace.store_of(run)
            rows = np.array_split(rows_of(run, store, self.split), self.parts)[self.trial - 1]
            values = predict_rows(run, rows, self.tta, store, self.split)
            with writing(self.path(".npy")) as temporary, open(temporary, "wb") as file:
                np.save(file, values, allow_pickle=False)
        return Outcome("complete", run.name)

    def read(self) -> NDArray[np.float32]:
        """The probabilities of the part, [n, views]."""
        return np.load(self.path(".npy"), allow_pickle=False)


def predict_side_by_side(
    wanted: Iterable[tuple[Run, str, Tta]],
    where: Where,
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> None:
    """Compute what is not kept yet of the predictions of runs on splits with some views.

    Afterwards `predictions_of` finds them in the run folders. The parts of a call that was stopped
    are used again. Raises RunError, DataError, Interrupted.
    """
    # by name: two ensembles may share members
    missing: dict[tuple[str, str, Tta], Run] = {
        (one.name, of, views): one
        for run, split, tta in wanted
        for one, of, views in _networks(run, split, tta)
        if not _is_kept(one, of, views)
    }
    if not missing:
        return
    pool = open_pool(where)
    several = [
        (run, _parts(run, split, tta, pool.size(), workspace))
        for (_, split, tta), run in missing.items()
    ]
    jobs = [job for _, own in several for job in own]
    run_side_by_side(jobs, pool, "part", display, columns=COLUMNS, row=_row)
    for run, own in several:
        values = np.concatenate([job.read() for job in own])
        first = own[0]
        keep_predictions(run, first.split, first.tta, workspace.store_of(run), values)
        shutil.rmtree(first.folder, ignore_errors=True)


def _parts(run: Run, split: str, tta: Tta, most: int, workspace: Workspace) -> list[ShardJob]:
    n = len(rows_of(run, workspace.store_of(run), split))
    parts = max(1, min(most, n // LEAST))
    name = f".parts-{run.name}-{split}-{tta}-{parts}"
    folder = shared_folder(run.path.parent) / name
    folder.mkdir(exist_ok=True)
    return [
        ShardJob(
            trial=number,
            parts=parts,
            folder=str(folder),
            run=run.name,
            split=split,
            tta=tta,
            data=place_of(workspace.data),
            runs=place_of(run.path.parent),
            place=str(Path.cwd()),
        )
        for number in range(1, parts + 1)
    ]


def _networks(run: Run, split: str, tta: Tta) -> list[tuple[Run, str, Tta]]:
    """The run, or the members of an ensemble, each with the views that it was measured with."""
    if not run.members:
        return [(run, split, tta)]
    return [(member, split, member.outcome.tta) for member in members_of(run)]


def _is_kept(run: Run, split: str, tta: Tta) -> bool:
    kept = run.load_predictions(split)
    return kept is not None and kept.covers(tta)


def _row(job: ShardJob) -> list[str]:
    return [job.run, str(job.trial), str(job.parts)]
