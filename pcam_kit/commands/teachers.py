"""What a network learns from beside the labels: the answers of others on the same patches
(`training.teachers`).
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.folders import Folders
from pcam_kit.commands.parts import rows_of
from pcam_kit.commands.score import predictions
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Experiment
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.evaluation.ensemble import combine
from pcam_kit.runs import Run, find_run

Recipe = tuple[str, tuple[str, ...]]  # a config, and the changes to it


def recipes(experiment: Experiment, store: Store) -> list[Recipe]:
    """What is to be trained before `experiment`: each teacher by its own config, but on the same
    patches and with the same seed.

    Raises ConfigError where a config is unusable or has teachers itself.
    """
    wanted = experiment.training.teachers
    data = experiment.data.model_dump(
        mode="json", include={"stain", "limit", "drop_copies", "fold"}
    )
    same = {"competition": store.profile.slug, "seed": experiment.seed} | {
        f"data.{key}": value for key, value in data.items()
    }
    found: list[Recipe] = []
    for config in wanted.configs if wanted is not None else ():
        changes = tuple(f"{key}={json.dumps(value)}" for key, value in same.items())
        if load_experiment(config, changes).training.teachers is not None:
            raise ConfigError(
                f"training.teachers: {config} has teachers itself",
                hint="name configs without training.teachers",
            )
        found.append((config, changes))
    return found


def targets(run: Run, store: Store, folders: Folders) -> NDArray[np.int8] | NDArray[np.float32]:
    """What the run's network is to say of each patch of the store, [total]: the labels, or these
    mixed with what its teachers say.

    The teachers see the patches as they are, averaged over the symmetries as they were measured.
    Raises RunError where one is gone.
    """
    wanted = run.experiment.training.teachers
    if wanted is None:
        return store.labels
    said: list[NDArray[np.float32]] = []
    for name in (teacher["run"] for teacher in run.meta["teachers"]):
        teacher = _find(name, run, folders)
        tta = teacher.experiment.evaluation.tta
        said.append(predictions(teacher, "train", tta, folders).probability(tta))
    mixed = store.labels.astype(np.float32)
    rows = rows_of(run, store, "train")
    mixed[rows] += wanted.weight * (combine(said, "logits") - mixed[rows])
    return mixed


def seconds_of_teachers(run: Run) -> float:
    """What the training of the run's teachers took."""
    return sum(teacher["seconds"] for teacher in run.meta.get("teachers", ()))


def _find(name: str, run: Run, folders: Folders) -> Run:
    try:
        return find_run(folders.runs, name)
    except RunError as error:
        raise RunError(
            f"{run.name} learns from {name}, and that is gone: {error.message}",
            hint="start a new run: pcam train",
        ) from error
