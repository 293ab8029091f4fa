"""The patches that a run is trained and validated on, and what a config leaves to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.leak_guard import settled, training_rows
from pcam_kit.config.schema import Experiment
from pcam_kit.data import folding
from pcam_kit.data.store import Store
from pcam_kit.errors import RunError
from pcam_kit.runs import Run


def rows_of(run: Run, store: Store, split: str) -> NDArray[np.int64]:
    """Rows of a split as it was for `run`.

    Raises RunError where the folds are drawn otherwise than they were for it.
    """
    fold = run.experiment.data.fold
    if fold is not None and folding.folds_hash(store, fold) != run.meta.get("folds_hash"):
        raise RunError(
            f"{run.name} was trained on other folds than this pcam draws from {store.path}",
            hint="use the pcam that made this run (its version is in meta.json), or train again",
        )
    return folding.rows(store, split, fold)


def on_store(experiment: Experiment, store: Store) -> Experiment:
    """The experiment of a new run, with all that depends on the patches decided: epochs
    (`training.most_patches`), `data.drop_copies`.
    """
    experiment = settled(experiment, store)
    most = experiment.training.most_patches
    if most is None:
        return experiment
    patches = min(len(training_rows(experiment, store)), experiment.data.limit or most)
    epochs = min(experiment.training.epochs, max(1, most // patches))
    return experiment.model_copy(
        update={"training": experiment.training.model_copy(update={"epochs": epochs})}
    )
