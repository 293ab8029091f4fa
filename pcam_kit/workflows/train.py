"""`pcam train`: an experiment and a store in, a finished run out.

Keras is imported late: a fault in the config or the data is reported at once, not after the seconds
that TensorFlow takes to start.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pcam_kit import mirrors
from pcam_kit.clock import now
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Ensemble, Experiment
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, Interrupted, UsageError
from pcam_kit.files import clear_partial, locked
from pcam_kit.formatting import counted, duration
from pcam_kit.pipeline.augment import CustomAugmentation
from pcam_kit.progress import HEADING, SILENT, Display
from pcam_kit.run_folders import (
    ORDER,
    Run,
    create_run,
    find_run,
    list_runs,
    next_order,
    open_run,
    update_meta,
)
from pcam_kit.tracking import check_installed
from pcam_kit.training.backend import quiet_import
from pcam_kit.training.validation import Validation, score_logits
from pcam_kit.workflows.compute import (
    DEFAULT_RESOURCES,
    Compute,
    Resources,
    check_backend,
    choose_compute,
    restore_compute,
)
from pcam_kit.workflows.custom import (
    check_custom_augmentation,
    check_model,
    with_custom_parts,
)
from pcam_kit.workflows.distillation import (
    Recipe,
    blended_targets,
    teacher_recipes,
    teacher_seconds,
)
from pcam_kit.workflows.divergence import check_finite, warn_of_divergence
from pcam_kit.workflows.expected_time import REFERENCE, TimeReport, seconds_each
from pcam_kit.workflows.initial_weights import check_config, check_unchanged, check_weights
from pcam_kit.workflows.lockstep import share_scores, share_start
from pcam_kit.workflows.members import combine_runs, complete_ensemble, find_members
from pcam_kit.workflows.plan import (
    TrainingPlan,
    check_folds,
    plan_training,
    resolve_config,
    resolve_experiment,
)
from pcam_kit.workflows.predictions import complete_run, log_scores, predict_split
from pcam_kit.workflows.provenance import provenance
from pcam_kit.workflows.tracking import tracking
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from pcam_kit.workflows.sweep.pools import Where

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainRequest:
    """A new run of `config` with `overrides`, or a run to resume.

    config None: the default of the competition fetched last. resume: a run's name; "" the newest
    unfinished one; None a new run. model, augmentation: the caller's own instead of the config's
    (`workflows.custom`). later: seconds of the trainings that follow (`workflows.expected_time`).
    where: where members of an ensemble, or teachers, are trained side by side; None: one after
    another.
    """

    config: str | None = None
    overrides: tuple[str, ...] = ()
    resume: str | None = None
    resources: Resources = DEFAULT_RESOURCES
    later: float = 0.0
    model: Any = None
    augmentation: CustomAugmentation | None = None
    where: Where | None = None


def train(request: TrainRequest, workspace: Workspace, *, display: Display = SILENT) -> Run:
    """Train, or resume a training, until the run is complete.

    Raises Interrupted with a run that can be resumed; ConfigError, DataError, RunError,
    TrainingError, UsageError.
    """
    if request.resume is None:
        experiment = resolve_config(request.config, request.overrides, workspace)
        is_ensemble = isinstance(experiment.model, Ensemble)
        _check_several(request, several=is_ensemble or experiment.training.teachers is not None)
        if is_ensemble:
            return _train_ensemble(experiment, request, workspace, display)
        training = _start(experiment, request, workspace, display)
        with _training(training.run):
            return _finish(training, workspace, display)
    _check_several(request, several=False)
    run = _find_stopped(request, workspace)
    mirrors.bring(run.path)
    if run.result is not None:
        log.info(f"{run.name} is complete already")
        return run
    if run.members:  # they are complete
        return complete_ensemble(run, workspace, display=display)
    with _training(run):  # before anything that takes time: another process may train it
        run = open_run(run.path)
        if run.result is not None:  # by another process, a moment ago
            return run
        return _finish(_resume(run, request, workspace), workspace, display)


def _check_several(request: TrainRequest, *, several: bool) -> None:
    """Raises UsageError for one training that is to be done side by side."""
    if request.where is not None and not several:
        raise UsageError(
            "--jobs and --ray are for several trainings", hint="add --seeds N or --folds K"
        )


@contextmanager
def _training(run: Run) -> Generator[None]:
    """Hold the lock of a run, and say how to resume when it is stopped. Raises LockedError."""
    with locked(run.lock_file, f"training {run.name}"):
        clear_partial(run.path)
        try:
            yield
        # outside the loop, e.g. during the last evaluation: the checkpoint on disk is good
        except KeyboardInterrupt:
            message = f"{run.name} was stopped; nothing is lost"
            raise Interrupted(message, hint=_resume_hint(run)) from None
        except Interrupted as error:
            raise Interrupted(error.message, hint=_resume_hint(run)) from None


def train_once(
    config: str,
    overrides: tuple[str, ...],
    store: Store,
    workspace: Workspace,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    later: float = 0.0,
    display: Display = SILENT,
) -> Run:
    """The complete run of `config` with `overrides` on `store`.

    A complete one is used again, a stopped one is resumed, else a new one is trained. later: as in
    `TrainRequest`.
    """
    experiment = load_experiment(config, overrides)
    if isinstance(experiment.model, Ensemble):  # so it is with each of its members
        request = TrainRequest(config, overrides, resources=resources, later=later)
        return train(request, workspace, display=display)
    existing = find_runs(experiment, store, workspace)
    complete = [run for run in existing if run.result is not None]
    if complete:
        log.info(f"{experiment.name}, {label(experiment)}: {complete[-1].name} is there already")
        return complete[-1]
    request = TrainRequest(config, overrides, resources=resources, later=later)
    if existing:
        request = TrainRequest(resume=existing[-1].name, resources=resources, later=later)
    return train(request, workspace, display=display)


def find_runs(experiment: Experiment, store: Store, workspace: Workspace) -> list[Run]:
    """The runs of `experiment` on `store`, complete or not, oldest first."""
    recipe = resolve_experiment(experiment, store).recipe()
    return [
        run
        for run in list_runs(workspace.runs)
        if run.meta["store_fingerprint"] == store.fingerprint
        and run.experiment.name == experiment.name
        and run.experiment.seed == experiment.seed
        and run.experiment.recipe() == recipe
    ]


def label(experiment: Experiment) -> str:
    """`seed 3`, or `seed 3, fold 1 of 5`."""
    fold = experiment.data.fold
    if fold is None:
        return f"seed {experiment.seed}"
    return f"seed {experiment.seed}, fold {fold.index} of {fold.of}"


def _resume_hint(run: Run) -> str:
    return f"resume with: pcam train --resume {run.name}"


@dataclass(frozen=True)
class _Training:
    """A run that is not complete, what is trained on what, and with what."""

    run: Run
    plan: TrainingPlan
    compute: Compute
    resources: Resources
    later: float


def _start(
    experiment: Experiment, request: TrainRequest, workspace: Workspace, display: Display
) -> _Training:
    """A new run folder, after its teachers are trained."""
    experiment = with_custom_parts(experiment, request.model, request.augmentation)
    check_installed(experiment.training.track)
    slug = experiment.competition or workspace.last_fetched()
    store = workspace.store(slug, experiment.data.stain)
    plan = plan_training(
        resolve_experiment(experiment, store), store, augmentation=request.augmentation
    )
    plan = replace(plan, initial_weights=_check_weights(plan))
    save_network = check_model(plan.experiment, plan.crop, request.model)
    compute = choose_compute(plan, request.resources)
    teachers = _train_teachers(plan, request, workspace, display)
    plan.leakage.report()
    meta = provenance(list(request.overrides))
    meta[ORDER] = next_order(workspace.runs, meta["started"])
    meta |= {"config": request.config, **compute.to_meta(), **plan.to_meta()}
    if teachers:
        meta["teachers"] = [
            {"run": teacher.name, "seconds": teacher.outcome.seconds} for teacher in teachers
        ]
    run = create_run(workspace.runs, plan.experiment, meta, add_files=save_network)
    log.info(
        f"training {plan.experiment.name} on {store.profile.title} ({plan.describe_data()}) -> "
        f"{run.path}"
    )
    compute.report()
    # read back from the folder: there a network of the caller's own has its place
    plan = replace(plan, experiment=run.experiment)
    return _Training(run, plan, compute, request.resources, request.later)


def _find_stopped(request: TrainRequest, workspace: Workspace) -> Run:
    """The run to resume; it may be complete where it was given by its name."""
    if request.config is not None or request.overrides or request.model is not None:
        raise UsageError(
            "--resume continues a run with its own config",
            hint="leave out CONFIG, --set and --seed, or start a new run without --resume",
        )
    name = request.resume or None
    return find_run(workspace.runs, name, complete=None if name else False)


def _resume(run: Run, request: TrainRequest, workspace: Workspace) -> _Training:
    """A stopped run as it was begun."""
    store = workspace.store_of(run)
    check_backend(run)
    check_installed(run.experiment.training.track)
    check_unchanged(run)
    check_folds(run, store)
    check_custom_augmentation(run.experiment, request.augmentation)
    plan = plan_training(run.experiment, store, augmentation=request.augmentation)
    compute = restore_compute(run, plan, request.resources)
    log.info(f"resuming {run.name}")
    compute.report()
    run = update_meta(run, resumed=[*run.meta.get("resumed", []), now()])
    return _Training(run, plan, compute, request.resources, request.later)


def _check_weights(plan: TrainingPlan) -> dict[str, Any]:
    """Check the pretrained weights of a new run; their entry in meta.json."""
    check_config(plan.experiment, plan.crop)
    return check_weights(plan.experiment)


@dataclass(frozen=True)
class _Parts:
    """Trainings that belong to another one, in their order.

    experiments: what each of `recipes` says. missing: those without a complete run. seconds: the
    reference time of each, and of what follows them.
    """

    recipes: Sequence[Recipe]
    store: Store
    experiments: Sequence[Experiment]
    missing: Sequence[Experiment]
    seconds: Sequence[float | None]


def _train_teachers(
    plan: TrainingPlan, request: TrainRequest, workspace: Workspace, display: Display
) -> list[Run]:
    """The complete runs that the network is to learn from; those that are missing are trained."""
    recipes = teacher_recipes(plan.experiment, plan.store)
    if not recipes:
        return []
    patches = len(plan.train_rows)
    parts = _find_parts(recipes, plan.store, workspace, patches, last=plan.experiment)
    log.info(
        f"{plan.experiment.name} learns from {counted(len(recipes), 'other')}, trained first; "
        "without that: --set training.teachers=null"
    )
    return _train_parts("teacher", parts, request, workspace, display)


def _train_ensemble(
    experiment: Experiment, request: TrainRequest, workspace: Workspace, display: Display
) -> Run:
    """The complete run of an ensemble, after those of its members that are missing."""
    if request.model is not None or request.augmentation is not None:
        raise UsageError(
            f"{experiment.name} is an ensemble: model and augmentation are those of its members",
            hint="name networks and functions of your own in the members' configs",
        )
    members = find_members(experiment, workspace)
    patches = members.store.splits["train"].n
    patches = min(patches, experiment.data.limit or patches)
    parts = _find_parts(members.recipes, members.store, workspace, patches)
    text = f"{experiment.name} is the mean of {len(parts.recipes)} networks"
    if complete := len(parts.recipes) - len(parts.missing):
        text += f", {complete} of them trained already"
    if parts.missing and None not in parts.seconds:
        total = duration(sum(filter(None, parts.seconds)))
        text += f"; {len(parts.missing)} to train take about {total} on {REFERENCE}"
    log.info(text)
    runs = _train_parts("network", parts, request, workspace, display)
    return combine_runs(members.experiment, runs, request.overrides, workspace, display=display)


def _find_parts(
    recipes: Sequence[Recipe],
    store: Store,
    workspace: Workspace,
    patches: int,
    *,
    last: Experiment | None = None,
) -> _Parts:
    """What is there of the trainings of `recipes`, for so many patches.

    last: what is trained after them. A fault in one of them is reported here.
    """
    experiments = [load_experiment(recipe.config, recipe.overrides) for recipe in recipes]
    missing: list[Experiment] = []
    for experiment in experiments:
        existing = find_runs(experiment, store, workspace)
        if not existing:
            check_installed(experiment.training.track)
            try:
                _check_weights(plan_training(resolve_experiment(experiment, store), store))
            except ConfigError as error:
                raise ConfigError(f"{experiment.name}: {error.message}", hint=error.hint) from error
        if all(run.result is None for run in existing):
            missing.append(experiment)
    complete = [experiment for experiment in experiments if experiment not in missing]
    every = [*experiments, last] if last is not None else experiments
    seconds = seconds_each(every, complete, patches)
    return _Parts(recipes, store, experiments, missing, seconds)


def _train_parts(
    kind: str, parts: _Parts, request: TrainRequest, workspace: Workspace, display: Display
) -> list[Run]:
    """The complete runs of all parts; those that are missing are trained."""
    if request.where is not None and len(parts.missing) > 1:
        from pcam_kit.workflows.sweep.pools import open_pool
        from pcam_kit.workflows.sweep.side_by_side import train_side_by_side

        missing = [
            recipe
            for recipe, experiment in zip(parts.recipes, parts.experiments, strict=True)
            if experiment in parts.missing
        ]
        pool, workers = open_pool(request.where), request.resources.workers
        train_side_by_side(missing, pool, workspace, workers=workers, display=display)
    runs: list[Run] = []
    for recipe, experiment in zip(parts.recipes, parts.experiments, strict=True):
        number = f"{len(runs) + 1} of {len(parts.recipes)}"
        log.info(f"{kind} {number}: {experiment.name}, {label(experiment)}", extra=HEADING)
        later = request.later + sum(filter(None, parts.seconds[len(runs) + 1 :]))
        try:
            run = train_once(
                recipe.config,
                recipe.overrides,
                parts.store,
                workspace,
                resources=request.resources,
                later=later,
                display=display,
            )
        except Interrupted as error:
            hint = f"{len(runs)} of {len(parts.recipes)} {kind}s done; the same command resumes"
            raise Interrupted(error.message, hint=hint) from None
        runs.append(run)
    return runs


def _finish(training: _Training, workspace: Workspace, display: Display) -> Run:
    """Train to the end, measure the best weights on the validation split, choose the threshold."""
    run, plan, compute = training.run, training.plan, training.compute
    with quiet_import():
        from pcam_kit.inference import predict
        from pcam_kit.training.fit import TrainingFiles, fit
    labels = plan.valid_labels
    plan = plan.with_targets(blended_targets(run, plan, workspace, display=display))

    group = training.resources.group
    share_start(run, compute, group)

    def validate(model: Any) -> Validation:
        outputs = predict(model, plan.store.images, plan.valid_rows, crop=plan.crop)
        check_finite(outputs)
        return share_scores(score_logits(labels, outputs[:, 0]), group)

    files = TrainingFiles(run.state_file, run.model_file, run.metrics_file, run.id)
    with tracking(run) as trackers:
        with display.training() as monitor:
            report = TimeReport(trackers.heard_by(monitor), plan, training.later)
            state = fit(
                plan.experiment,
                plan.batches(compute.workers, group.part),
                validate,
                files,
                report,
                precision=compute.precision.used,
                devices=compute.devices,
                group=group,
            )
        group.leave()
        tta = plan.experiment.evaluation.tta
        predictions = predict_split(run, "valid", tta, plan.store, display=display)
        update_meta(run, ended=now())
        complete = complete_run(run, predictions, state)
        trackers.completed(complete)
    mirrors.flush()
    result = complete.outcome
    teachers = teacher_seconds(run)
    total = f"; with its teachers {duration(teachers + state.seconds)}" if teachers else ""
    log_scores(complete, f"best epoch {result.best_epoch}, {duration(state.seconds)}{total}")
    warn_of_divergence(complete, "valid", predictions.probability(tta), result.valid_auc)
    return complete
