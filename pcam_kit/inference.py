"""Predict with a trained model: one probability for each patch and view."""

# pyright: basic

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import RunError
from pcam_kit.pipeline.batches import take
from pcam_kit.views import VIEWS, apply_view

BATCH = 256


def load_model(path: Path) -> Any:
    """The trained model of a run: pixels 0-255 in, probability out.

    Raises RunError when it cannot be read.
    """
    if not path.is_file():
        raise RunError(
            f"no trained model at {path}", hint="finish the run first: pcam train --resume"
        )
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as error:
        raise RunError(
            f"cannot read the model {path}: {error}",
            hint="the file is damaged or of another Keras version: train again",
        ) from error


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

    The last batch is filled up, so that all batches have the same shape and a patch's result does
    not depend on how many others are predicted with it.
    """
    out = np.empty((len(rows), len(views)), np.float32)
    size = min(BATCH, len(rows))
    for start in range(0, len(rows), size):
        batch_rows = rows[start : start + size]
        end = start + len(batch_rows)
        batch = take(images, np.resize(batch_rows, size), crop)
        for column, view in enumerate(views):
            values = model.predict_on_batch(apply_view(batch, view))
            out[start:end, column] = np.asarray(values)[: len(batch_rows), 0]
        if progress is not None:
            progress(end)
    return out
