"""Knowledge distillation (`training.teachers`): learning from other networks' answers."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Ensemble, Experiment
from pcam_kit.data.folds import split_rows
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.evaluation.ensemble import combine
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run, find_run
from pcam_kit.workflows.plan import Targets, TrainingPlan
from pcam_kit.workflows.predictions import predictions_of
from pcam_kit.workspace import Workspace


@dataclass(frozen=True)
class Recipe:
    """How a teacher, or a member of an ensemble, is trained: a config and overrides of it."""

    config: str
    overrides: tuple[str, ...]


def teacher_recipes(experiment: Experiment, store: Store) -> list[Recipe]:
    """What is trained before `experiment`: each teacher by its own config.

    The teachers see the same patches and have the same seed. Raises ConfigError where a config is
    unusable or has teachers itself.
    """
    teachers = experiment.training.teachers
    if teachers is None:
        return []
    data = experiment.data.model_dump(
        mode="json", include={"stain", "limit", "drop_copies", "fold"}
    )
    shared = {"competition": store.profile.slug, "seed": experiment.seed}
    shared |= {f"data.{key}": value for key, value in data.items()}
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in shared.items())
    for config in teachers.configs:
        teacher = load_experiment(config, overrides)
        if isinstance(teacher.model, Ensemble):
            raise ConfigError(
                f"training.teachers: {config} is an ensemble",
                hint="name its members: the mean of all teachers is learnt",
            )
        if teacher.training.teachers is not None:
            raise ConfigError(
                f"training.teachers: {config} has teachers itself",
                hint="name configs without training.teachers",
            )
    return [Recipe(config, overrides) for config in teachers.configs]


def blended_targets(
    run: Run, plan: TrainingPlan, workspace: Workspace, *, display: Display = SILENT
) -> Targets:
    """The targets of the run's network, [total]: labels, or these blended with teachers' answers.

    The teachers see the patches without augmentation, averaged over views as each was measured.
    Raises RunError where one is gone.
    """
    teachers = run.experiment.training.teachers
    if teachers is None:
        return plan.targets
    answers: list[NDArray[np.float32]] = []
    for entry in run.meta["teachers"]:
        teacher = _find_teacher(entry["run"], run, workspace)
        tta = teacher.experiment.evaluation.tta
        predictions = predictions_of(teacher, "train", tta, workspace, display=display)
        answers.append(predictions.probability(tta))
    targets = plan.store.labels.astype(np.float32)
    rows = split_rows(plan.store, "train", run.experiment.data.fold)
    targets[rows] += teachers.weight * (combine(answers, "logits") - targets[rows])
    return targets


def teacher_seconds(run: Run) -> float:
    """How long the training of the run's teachers took, in seconds."""
    return sum(teacher["seconds"] for teacher in run.meta.get("teachers", ()))


def _find_teacher(name: str, run: Run, workspace: Workspace) -> Run:
    try:
        return find_run(workspace.runs, name)
    except RunError as error:
        raise RunError(
            f"{run.name} learns from {name}, and that is gone: {error.message}",
            hint="start a new run: pcam train",
        ) from error
