"""An ensemble as a run (`model: ensemble`): what its members are, and their mean as predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pcam_kit.clock import now
from pcam_kit.competitions import find_competition
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Ensemble, Experiment
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError
from pcam_kit.parsing import printable
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import ORDER, Run, create_run, list_runs, next_order, update_meta
from pcam_kit.workflows.distillation import Recipe
from pcam_kit.workflows.predictions import (
    MEAN,
    NoEpochs,
    complete_run,
    members_of,
    predictions_of,
)
from pcam_kit.workflows.provenance import leaks_of, provenance
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

SAME = ("stain", "fold")  # settings of `data`, on which it depends what is predicted
# keys of meta.json in which the first member stands for all
SHARED = (
    *("backend", "device", "competition", "synthetic"),
    *("store_fingerprint", "split_hash", "folds_hash"),
)


@dataclass(frozen=True)
class Members:
    """What an ensemble is made of, before it is trained.

    experiment: the ensemble's. recipes: one for each network. store: the patches of all.
    """

    experiment: Experiment
    recipes: Sequence[Recipe]
    store: Store = field(repr=False)


def member_recipes(experiment: Experiment) -> list[Recipe]:
    """How each network of an ensemble is trained: by its config, and what the ensemble's sets.

    None for other experiments. Raises ConfigError where a member cannot be used.
    """
    if not isinstance(experiment.model, Ensemble):
        return []
    values = experiment.model_dump(
        mode="json", exclude_unset=True, exclude={"name", "competition", "seed", "model"}
    )
    settings = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in _leaves(values)]
    if experiment.competition is not None:
        settings.append(f"competition={experiment.competition}")
    recipes: list[Recipe] = []
    for member in experiment.model.members:
        alone = _load_member(member.config)
        _check_competition(alone, experiment.competition)
        first = experiment.seed if "seed" in experiment.model_fields_set else alone.seed
        recipes += [
            Recipe(member.config, (*settings, f"seed={first + seed}")) for seed in member.seeds
        ]
    return recipes


def find_members(experiment: Experiment, workspace: Workspace) -> Members:
    """The networks of an ensemble, and their store.

    Raises ConfigError where a member cannot be used, is there twice, or is for other patches than
    the first; DataError, UsageError without a store.
    """
    # another competition may be fetched while the members are trained
    slug = experiment.competition or workspace.last_fetched()
    experiment = experiment.model_copy(update={"competition": slug})
    recipes = member_recipes(experiment)
    experiments = [load_experiment(recipe.config, recipe.overrides) for recipe in recipes]
    _check_alike(experiments)
    data = {key: getattr(experiments[0].data, key) for key in SAME}
    if any(value != getattr(experiment.data, key) for key, value in data.items()):
        together = experiment.data.model_copy(update=data)
        experiment = experiment.model_copy(update={"data": together})
    store = workspace.store(slug, experiment.data.stain)
    return Members(experiment, recipes, store)


def combine_runs(
    experiment: Experiment,
    runs: Sequence[Run],
    overrides: Sequence[str],
    workspace: Workspace,
    *,
    display: Display = SILENT,
) -> Run:
    """The complete run of an ensemble: a new one, unless these very runs were combined before.

    experiment: the ensemble's. runs: those of its members, complete. overrides: as they were given.
    """
    names = [run.name for run in runs]
    for run in reversed(list_runs(workspace.runs)):
        same = (run.experiment.name, run.experiment.model) == (experiment.name, experiment.model)
        if same and run.members == names:
            log.info(f"{experiment.name}: {run.name} is there already")
            return complete_ensemble(run, workspace, display=display)
    meta: dict[str, Any] = provenance([*overrides]) | {
        "seed": experiment.seed,
        **{key: runs[0].meta[key] for key in SHARED if key in runs[0].meta},
        **leaks_of(runs),
        "members": [{"run": run.name, "seconds": run.outcome.seconds} for run in runs],
    }
    meta[ORDER] = next_order(workspace.runs, meta["started"])
    run = create_run(workspace.runs, experiment, meta)
    return complete_ensemble(run, workspace, display=display)


def complete_ensemble(run: Run, workspace: Workspace, *, display: Display = SILENT) -> Run:
    """Measure the mean of the members on the validation patches, and choose its threshold.

    Raises RunError where a member is gone.
    """
    if run.result is not None:
        return run
    predictions = predictions_of(run, "valid", MEAN, workspace, display=display)
    run = update_meta(run, ended=now())
    seconds = sum(member.outcome.seconds for member in members_of(run))
    return complete_run(run, predictions, NoEpochs(seconds))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings, with its key as in `--set`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _load_member(config: str) -> Experiment:
    """The experiment of a member's config, by itself."""
    try:
        experiment = load_experiment(config)
    except ConfigError as error:
        raise ConfigError(f"model.members: {error.message}", hint=error.hint) from error
    if isinstance(experiment.model, Ensemble):
        names = ", ".join(member.config for member in experiment.model.members)
        raise ConfigError(
            f"model.members: {printable(config)} is an ensemble itself",
            hint=f"name its members: {printable(names)}",
        )
    return experiment


def _check_competition(member: Experiment, slug: str | None) -> None:
    """Raises ConfigError where the config of a member names another competition than `slug`."""
    if slug is None or member.competition is None:
        return
    found, wanted = _slug(member.competition), _slug(slug)
    if found != wanted:
        raise ConfigError(
            f"model.members: {member.name} is for {found}, the ensemble for {wanted}",
            hint=f"train it on the other one: --set competition={found}",
        )


def _slug(name: str) -> str:
    try:
        return find_competition(name).slug
    except ConfigError:  # its profile was given by a path when it was fetched
        return name


def _check_alike(experiments: Sequence[Experiment]) -> None:
    """Raises ConfigError unless the members are different, and of the same patches."""
    first = experiments[0]
    for i, experiment in enumerate(experiments):
        if experiment in experiments[:i]:
            raise ConfigError(
                f"model.members: {experiment.name} with seed {experiment.seed} is there twice",
                hint=f"two seeds of one config: {{config: {experiment.name}, seeds: [0, 1]}}",
            )
        for key in SAME:
            wanted, found = _text(first, key), _text(experiment, key)
            if wanted != found:
                raise ConfigError(
                    f"model.members: {first.name} has data.{key} {wanted}, {experiment.name} has "
                    f"{found}, so they do not predict the same patches",
                    hint=f"set it for all: --set data.{key}={wanted}",
                )


def _text(experiment: Experiment, key: str) -> str:
    """A value of `data` as it is written in YAML."""
    return json.dumps(experiment.data.model_dump(mode="json")[key]).replace('"', "")
