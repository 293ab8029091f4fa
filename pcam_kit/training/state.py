"""The checkpoint of a training: everything it needs for an exact resume, in one file.

Weights, optimiser, random states, averaged weights, history.
"""

# pyright: basic

from __future__ import annotations

import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import RunError
from pcam_kit.files import writing
from pcam_kit.parsing import parse_json, parsing, read_npz
from pcam_kit.run_folders.seal import sealed, unsealed

SCHEMA_VERSION = 1
WHAT = "the checkpoint"  # in its seal


@dataclass
class TrainingState:
    """How far a training has come.

    `history` has one entry per finished epoch; `best_epoch` counts from 1, 0 means none yet.
    accuracy_sum: of the training batches, over `accuracy_steps` of the current epoch; those are
    fewer than `step` after a resume from a checkpoint of version 0.1, which had no accuracy.
    """

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the current epoch
    loss_sum: float = 0.0  # over those steps
    seconds: float = 0.0
    best_epoch: int = 0
    best_auc: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    accuracy_sum: float = 0.0
    accuracy_steps: int = 0


class WeightAverage:
    """Exponential moving average of all weights, batch-norm statistics included.

    It is kept outside the model, in float32. The momentum grows with the number of updates t as
    (1 + t) / (10 + t) until it reaches `momentum`, so that the random initial weights are soon
    forgotten.
    """

    # Average at every 4th training step, with momentum to the power of 4: reading weights back from
    # a GPU takes time.
    EVERY = 4

    def __init__(self, model: keras.Model, momentum: float) -> None:
        self._model = model
        self._momentum = momentum
        self.values = weights_of(model)

    def share(self, step: int) -> float:
        """How much of the weights after training step number `step` the average takes, 0..1.

        Steps are counted from 1 over the whole training.
        """
        if step % self.EVERY != 0:
            return 0.0
        t = step // self.EVERY
        return 1 - min(self._momentum**self.EVERY, (1 + t) / (10 + t))

    def update(self, step: int) -> None:
        """Add the weights after training step number `step` to the average."""
        share = self.share(step)
        if share == 0:
            return
        for average, weight in zip(self.values, weights_of(self._model), strict=True):
            average += share * (weight - average)


def weights_of(model: keras.Model) -> list[NDArray[np.float32]]:
    """Copies of all weights, trainable or not."""
    return [np.array(keras.ops.convert_to_numpy(weight.value)) for weight in model.weights]


@contextmanager
def using_weights(model: keras.Model, values: list[NDArray[np.float32]] | None) -> Generator[None]:
    """Give `model` the weights `values` while the block runs; None keeps its own."""
    if values is None:
        yield
        return
    original = weights_of(model)
    model.set_weights(values)
    try:
        yield
    finally:
        model.set_weights(original)


def save_state(
    path: Path,
    model: keras.Model,
    average: WeightAverage | None,
    state: TrainingState,
    owner: str = "",
) -> None:
    """Write the state atomically.

    model: compiled, with its optimiser. owner: the id of the run.
    """
    arrays: dict[str, Any] = {
        f"v{i}": keras.ops.convert_to_numpy(variable.value)
        for i, variable in enumerate(_variables(model))
    }
    if average is not None:
        arrays |= {f"a{i}": value for i, value in enumerate(average.values)}
    arrays["progress"] = np.array(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(state)}))
    with writing(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **sealed(arrays, owner, WHAT))


def load_state(
    path: Path, model: keras.Model, average: WeightAverage | None, owner: str = ""
) -> TrainingState:
    """Restore a saved state into `model` and `average`.

    owner: the id of the run. Raises RunError, and changes nothing, when the file is damaged, when
    it is not what that run wrote, or does not fit.
    """

    def unusable(reason: str) -> RunError:
        hint = f"bring {path.name} back from a copy, or start a new training"
        return RunError(f"cannot read the checkpoint {path}: {reason}", hint=hint)

    with parsing(unusable):
        arrays = unsealed(read_npz(path), owner, WHAT)
        values = parse_json(str(arrays["progress"]))
        version = values.pop("schema_version", None) if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path} has schema version {version}, this pcam reads {SCHEMA_VERSION}",
            hint="start a new training",
        )
    with parsing(unusable):
        state = _progress(values)
    variables = _variables(model)
    expected: dict[str, Any] = {f"v{i}": variable for i, variable in enumerate(variables)}
    if average is not None:
        expected |= {f"a{i}": value for i, value in enumerate(average.values)}
    fits = arrays.keys() - {"progress"} == expected.keys() and all(
        arrays[name].shape == tuple(variable.shape)
        and str(arrays[name].dtype) == keras.backend.standardize_dtype(variable.dtype)
        for name, variable in expected.items()
    )
    if not fits:
        raise RunError(
            f"{path} does not fit this model: another Keras version or backend wrote it",
            hint="start a new training",
        )
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"v{i}"])
    if average is not None:
        average.values = [arrays[f"a{i}"] for i in range(len(average.values))]
    return state


def _progress(values: dict[str, Any]) -> TrainingState:
    """The state in a checkpoint. Raises TypeError, ValueError or OverflowError for what is none."""
    state = TrainingState(**values)
    for field_ in fields(state):
        value, usual = getattr(state, field_.name), getattr(TrainingState(), field_.name)
        if type(value) is not type(usual):
            raise ValueError(f"{field_.name} should be a {type(usual).__name__}, found {value!r}")
    numbers = [state.loss_sum, state.seconds, state.best_auc, state.accuracy_sum]
    counts = [state.epoch, state.step, state.best_epoch, state.accuracy_steps]
    possible = state.best_epoch <= state.epoch and state.accuracy_steps <= state.step
    if not all(map(math.isfinite, numbers)) or min(counts) < 0 or not possible:
        raise ValueError(f"its progress is impossible: {numbers + counts}")
    lines = [line for line in state.history if isinstance(line, dict)]
    if not len(lines) == len(state.history) == state.epoch:
        raise ValueError(f"epoch {state.epoch} has a history of {len(state.history)} epochs")
    return state


def _variables(model: keras.Model) -> list[Any]:
    """Weights, dropout seeds and the optimiser's variables, each once and in a fixed order."""
    variables = [*model.variables, *model.optimizer.variables]
    return list({id(variable): variable for variable in variables}.values())
