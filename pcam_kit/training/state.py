"""Everything a training needs to go on exactly: weights, optimiser, random states, averages,
history; as one file.
"""

# pyright: basic

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import RunError
from pcam_kit.files import read_npz, writing

SCHEMA_VERSION = 1


@dataclass
class Progress:
    """How far a training has come.

    `history` has one entry a finished epoch; `best_epoch` counts from 1, 0 is none yet.
    """

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the epoch under way
    loss_sum: float = 0.0  # over those steps
    seconds: float = 0.0
    best_epoch: int = 0
    best_auc: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


class WeightAverage:
    """Exponential moving average of all weights, batch-norm statistics included, kept outside the
    model in float32.

    The momentum grows with the number of updates t as (1 + t) / (10 + t) until it reaches
    `momentum`, so that the average does not remember the random start.
    """

    # updates between two averagings (momentum is raised to this power): reading weights back is not
    # free on a GPU
    EVERY = 4

    def __init__(self, model: keras.Model, momentum: float) -> None:
        self._model = model
        self._momentum = momentum
        self.values = weights_of(model)

    def update(self, step: int) -> None:
        """Take the weights after update number `step`, counted from 1 over the whole training, into
        the average.
        """
        if step % self.EVERY:
            return
        t = step // self.EVERY
        momentum = min(self._momentum**self.EVERY, (1 + t) / (10 + t))
        for average, weight in zip(self.values, weights_of(self._model), strict=True):
            average += (1 - momentum) * (weight - average)


def weights_of(model: keras.Model) -> list[NDArray[np.float32]]:
    """Copies of all weights, trainable or not."""
    return [np.array(keras.ops.convert_to_numpy(weight.value)) for weight in model.weights]


@contextmanager
def using_weights(model: keras.Model, values: list[NDArray[np.float32]] | None) -> Generator[None]:
    """Use `values` as the weights of `model` for a while; None: leave them."""
    if values is None:
        yield
        return
    own = weights_of(model)
    model.set_weights(values)
    try:
        yield
    finally:
        model.set_weights(own)


def save_state(
    path: Path, model: keras.Model, average: WeightAverage | None, progress: Progress
) -> None:
    """Write the state atomically. `model` must be compiled."""
    arrays: dict[str, Any] = {
        f"v{i}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(_variables(model))
    }
    if average is not None:
        arrays |= {f"a{i}": value for i, value in enumerate(average.values)}
    arrays["progress"] = np.array(
        json.dumps({"schema_version": SCHEMA_VERSION, **asdict(progress)})
    )
    with writing(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)


def load_state(path: Path, model: keras.Model, average: WeightAverage | None) -> Progress:
    """Put a saved state back into `model` and `average`.

    Raises RunError when it does not fit them.
    """
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise RunError(
            f"cannot read the checkpoint {path}: {error}",
            hint="it is damaged: start the training anew",
        ) from error
    progress = json.loads(str(arrays["progress"]))
    version = progress.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path} has schema version {version}, this pcam reads {SCHEMA_VERSION}",
            hint="start the training anew",
        )
    variables = _variables(model)
    names = {name for name in arrays if name.startswith("v")}
    if len(names) != len(variables) or any(
        arrays[f"v{i}"].shape != tuple(v.shape) for i, v in enumerate(variables)
    ):
        raise RunError(
            f"{path} does not fit this model: another Keras version or backend wrote it",
            hint="start the training anew",
        )
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"v{i}"])
    if average is not None:
        average.values = [arrays[f"a{i}"] for i in range(len(average.values))]
    return Progress(**progress)


def _variables(model: keras.Model) -> list[Any]:
    """Weights, seeds of dropout, and the optimiser's variables, in a fixed order and without
    repeats.
    """
    unique = {id(v): v for v in [*model.variables, *model.optimizer.variables]}
    return list(unique.values())
