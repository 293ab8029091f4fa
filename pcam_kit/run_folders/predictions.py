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
from pcam_kit.parsing import parsing, read_npz
from pcam_kit.run_folders.seal import sealed, unsealed
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


def write_predictions(path: Path, predictions: Predictions, owner: str = "") -> None:
    """Write the file atomically, with the names of the views and a seal.

    owner: the id of the run.
    """
    arrays: dict[str, Any] = {
        "ids": predictions.ids,
        "labels": predictions.labels,
        "orbit": predictions.probabilities,  # named so on disk since version 0.1
        "views": np.array(predictions.views),
    }
    if predictions.groups is not None:
        arrays["groups"] = predictions.groups
    with writing(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **sealed(arrays, owner, path.stem))


def read_predictions(path: Path, owner: str = "") -> Predictions:
    """Read the file.

    owner: the id of the run. Raises RunError when the file is damaged, when it is not what that run
    wrote, or does not say which views its columns are.
    """

    def damaged(reason: str) -> RunError:
        hint = f"delete {path}, then run the same command again"
        return RunError(f"cannot read {path}: {reason}", hint=hint)

    with parsing(damaged):
        return _from_arrays(unsealed(read_npz(path), owner, path.stem))


def _from_arrays(arrays: dict[str, Any]) -> Predictions:
    """The arrays of a file as predictions. Raises KeyError or ValueError when they do not fit."""
    ids, labels, probabilities = arrays["ids"], arrays["labels"], arrays["orbit"]
    if probabilities.ndim != 2:
        raise ValueError(f"orbit should be [patches, views], found {list(probabilities.shape)}")
    n, columns = probabilities.shape
    if "views" in arrays:
        views = tuple(str(name) for name in np.atleast_1d(arrays["views"]))
    elif columns in UNNAMED:
        views = VIEWS[UNNAMED[columns]]
    else:
        raise ValueError(f"{columns} views without names")
    if len(views) != columns:
        raise ValueError(f"{columns} columns and {len(views)} names of views")
    if len(set(views)) < columns:
        raise ValueError("a view is in it twice")
    groups = arrays.get("groups")
    if n == 0:
        raise ValueError("it holds no patches")
    for name, array, kind in (("ids", ids, "U"), ("labels", labels, "i"), ("groups", groups, "i")):
        if array is not None and (array.dtype.kind != kind or array.shape != (n,)):
            raise ValueError(
                f"{name} should be {'text' if kind == 'U' else 'whole numbers'} [{n}], found "
                f"{array.dtype} {list(array.shape)}"
            )
    if len(set(ids.tolist())) < n:
        raise ValueError("an id is in it twice")
    if ((labels < -1) | (labels > 1)).any():
        raise ValueError(f"labels should be 0, 1 or -1, found {labels.min()} to {labels.max()}")
    outside = probabilities.dtype != np.float32 or ~((probabilities >= 0) & (probabilities <= 1))
    if np.any(outside):  # also where it is NaN
        raise ValueError("orbit should hold float32 probabilities within 0..1")
    return Predictions(ids, labels, probabilities, views, groups)
