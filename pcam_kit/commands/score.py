"""What `pcam train`, `pcam evaluate` and `pcam predict` share: a run's probabilities on a split,
made once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.console import quiet_import, work
from pcam_kit.commands.folders import Folders
from pcam_kit.commands.parts import rows_of
from pcam_kit.config.schema import Tta
from pcam_kit.data.folding import names
from pcam_kit.data.store import Store
from pcam_kit.errors import UsageError
from pcam_kit.runs import Predictions, Run
from pcam_kit.views import VIEWS


def predictions(run: Run, split: str, tta: Tta, folders: Folders) -> Predictions:
    """The run's predictions on `split`: those kept in the run folder, without a look at the store,
    or new ones.
    """
    kept = run.load_predictions(split)
    return (
        kept
        if kept is not None and kept.covers(tta)
        else predict_split(run, split, tta, folders.store_of(run))
    )


def predict_split(run: Run, split: str, tta: Tta, store: Store) -> Predictions:
    """Compute the run's predictions on `split` of its store, and keep them in the run folder."""
    with quiet_import():  # and late: TensorFlow takes seconds, and kept predictions do without
        from pcam_kit.inference import load_model, predict

    rows = rows_of(run, store, split)
    model = load_model(run.model_file)
    crop = run.experiment.data.crop or store.images.shape[1]
    with work() as progress:
        orbit = predict(
            model,
            store.images,
            rows,
            crop=crop,
            views=VIEWS[tta],
            progress=lambda n: progress(f"predicting {split}", n, len(rows)),
        )
    made = Predictions(names(store, rows), store.labels[rows], orbit, store.groups[rows])
    run.save_predictions(split, made)
    return made


def known_labels(made: Predictions, split: str) -> NDArray[np.int8]:
    """The labels of `split`. Raises UsageError where they are not known."""
    if (made.labels < 0).any():
        raise UsageError(
            f"the labels of the {split} split are not known, so it cannot be evaluated",
            hint="evaluate on --split valid; the score on the test split comes from pcam submit",
        )
    return made.labels
