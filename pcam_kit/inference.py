"""Predict with a trained model: one probability for each patch and view."""

# pyright: basic

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit import mirrors
from pcam_kit.ahead import read_ahead
from pcam_kit.config.schema import Custom
from pcam_kit.errors import RunError
from pcam_kit.models.saved import read_model
from pcam_kit.pipeline.images import take
from pcam_kit.run_folders import Run
from pcam_kit.views import VIEWS, apply_view

BATCH = 256
# uint8 [n, h, w, 3] -> float32 [n]
Answers = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
FOREIGN = "expected a .keras file of Keras' own layers: save the network without others"


def load_model(path: Path, *, owner: str = "", custom: bool = False, hint: str = FOREIGN) -> Any:
    """The model in a `.keras` file: pixels 0-255 in, probability out.

    owner: the id of the run that must have written it; "" for any. custom: whether layers that are
    no part of Keras may be in it. Raises RunError when it cannot be read or trusted.
    """

    def unusable(reason: str) -> RunError:
        return RunError(f"cannot read the model {path}: {reason}", hint=hint)

    return read_model(path, unusable, owner=owner, custom=custom)


def load_trained(run: Run) -> Any:
    """The trained model of a run.

    Layers of the caller's own are accepted where the run was trained with a network of the
    caller's own. Raises RunError when it is missing, damaged, or not the one that the run wrote.
    """
    run.check_network()
    path = run.model_file
    mirrors.bring(run.path)  # also what a network of the caller's own needs
    if not path.exists():
        raise RunError(
            f"no trained model at {path}",
            hint="bring it back from a copy, or finish the run: pcam train --resume",
        )
    run.check_model()
    return load_model(
        path,
        owner=run.id,
        custom=isinstance(run.experiment.model, Custom),
        hint="bring it back from a copy, or train again: pcam train",
    )


def predict(
    model: keras.Model,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    crop: int,
    views: Sequence[str] = VIEWS["none"],
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Outputs float32 [n, k] of `model` for `rows` of `images`, one column per view.

    `progress` is called with the number of rows done so far.
    """
    return predict_with(
        keras_answers(model), images, rows, crop=crop, views=views, progress=progress
    )


def keras_answers(model: keras.Model) -> Answers:
    """The model's own outputs."""
    return lambda patches: np.asarray(model.predict_on_batch(patches))[:, 0]


def predict_with(
    answers: Answers,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    crop: int,
    views: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """The same for what answers to patches.

    The last batch is filled up, so that all batches have the same shape and a patch's result does
    not depend on how many others are predicted with it. Each batch is read, and turned into its
    views, while the one before is predicted.
    """
    out = np.empty((len(rows), len(views)), np.float32)
    size = min(BATCH, len(rows))

    def prepare(start: int) -> list[NDArray[np.uint8]]:
        batch = take(images, np.resize(rows[start : start + size], size), crop)
        return [apply_view(batch, view) for view in views]

    starts = range(0, len(rows), size or 1)
    for start, batch in zip(starts, read_ahead(map(prepare, starts)), strict=True):
        end = min(start + size, len(rows))
        for column, patches in enumerate(batch):
            out[start:end, column] = answers(patches)[: end - start]
        if progress is not None:
            progress(end)
    return out
