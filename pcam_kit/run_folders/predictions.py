"""Predictions of a run on one split, and the .npz file that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Tta
from pcam_kit.errors import RunError
from pcam_kit.files import writing
from pcam_kit.parsing import read_npz
from pcam_kit.views import UNNAMED, VIEWS


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one run on one split.

    probabilities: float32 [n, k], one column for each of the `views`, by their names in
    `views.VIEWS`. labels: int8 [n], -1 where unknown. groups: int32 [n], the number of the slide,
    -1 where unknown; None in files written before slides were kept.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    probabilities: NDArray[np.float32]
    views: tuple[str, ...]
    groups: NDArray[np.int32] | None = None

    def probability(self, tta: Tta) -> NDArray[np.float32]:
        """Probabilities float32 [n]: the mean over the views of `tta`.

        Raises RunError when some of these views are missing (see `covers`).
        """
        if not self.covers(tta):
            raise RunError(
                f"predictions of {len(self.views)} views of each patch hold none of --tta {tta}"
            )
        columns = [self.views.index(view) for view in VIEWS[tta]]
        return self.probabilities[:, columns].astype(np.float64).mean(axis=1).astype(np.float32)

    def covers(self, tta: Tta) -> bool:
        """Whether all views that `tta` averages are present."""
        return set(VIEWS[tta]) <= set(self.views)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file atomically, with the names of the views."""
    arrays: dict[str, Any] = {
        "ids": predictions.ids,
        "labels": predictions.labels,
        "orbit": predictions.probabilities,  # named so on disk since version 0.1
        "views": np.array(predictions.views),
    }
    if predictions.groups is not None:
        arrays["groups"] = predictions.groups
    with writing(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)


def read_predictions(path: Path) -> Predictions:
    """Read the file.

    Raises RunError when it is damaged or does not say which views its columns are.
    """
    try:
        return _from_arrays(read_npz(path))
    except (ValueError, KeyError) as error:
        raise RunError(
            f"cannot read {path}: {error}",
            hint=f"delete {path}, then run the same command again",
        ) from error


def _from_arrays(arrays: dict[str, Any]) -> Predictions:
    """The arrays of a file as predictions.

    Raises KeyError or ValueError when they do not fit.
    """
    probabilities = arrays["orbit"]
    if probabilities.ndim != 2:
        raise ValueError(f"orbit should be [patches, views], found {list(probabilities.shape)}")
    columns = probabilities.shape[1]
    if "views" in arrays:
        views = tuple(str(name) for name in arrays["views"])
    elif columns in UNNAMED:
        views = VIEWS[UNNAMED[columns]]
    else:
        raise ValueError(f"{columns} views without names")
    if len(views) != columns:
        raise ValueError(f"{columns} columns and {len(views)} names of views")
    return Predictions(arrays["ids"], arrays["labels"], probabilities, views, arrays.get("groups"))
