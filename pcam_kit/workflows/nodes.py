"""`pcam train --nodes`: one training shared by several processes, usually one on each machine."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pcam_kit import __version__
from pcam_kit.config.schema import Custom, Ensemble, Experiment
from pcam_kit.data.store import Store
from pcam_kit.errors import Interrupted, UsageError
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Run
from pcam_kit.training.backend import backend_name, quiet_import
from pcam_kit.training.hardware import read_hardware
from pcam_kit.training.nodes import AGAIN, Nodes, joined
from pcam_kit.training.validation import Validation
from pcam_kit.workflows.compute import DEFAULT_RESOURCES, Resources, choose_workers
from pcam_kit.workflows.lockstep import receive_scores, receive_start
from pcam_kit.workflows.plan import (
    TrainingPlan,
    plan_training,
    resolve_config,
    resolve_experiment,
)
from pcam_kit.workflows.train import find_runs, train_once
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeRequest:
    """This process's share of the training of `config` with `overrides`."""

    nodes: Nodes
    config: str | None = None
    overrides: tuple[str, ...] = ()
    resources: Resources = DEFAULT_RESOURCES


def train_node(
    request: NodeRequest, workspace: Workspace, *, display: Display = SILENT
) -> Run | None:
    """Train together with the other nodes; the run at node 0, None at the others.

    A complete run of the same experiment is used again, a stopped one resumed. When another process
    is gone, this one ends at once, with a line in the log and exit code 5. Raises as `train.train`.
    """
    experiment = resolve_config(request.config, request.overrides, workspace)
    _check(experiment, request.resources)
    slug = experiment.competition or workspace.last_fetched()
    store = workspace.store(slug, experiment.data.stain)
    plan = plan_training(resolve_experiment(experiment, store), store)
    with quiet_import():
        backend = backend_name()
    if backend != "jax":
        raise UsageError(
            f"--nodes: Keras on {backend} trains in one process",
            hint="use JAX: KERAS_BACKEND=jax pcam train --nodes ...",
        )
    facts = _facts(plan)
    try:
        with joined(request.nodes, facts) as group:
            with quiet_import():
                from pcam_kit.training.devices import check_devices, device_names

                devices = len(device_names())
            check_devices(devices, plan.batches().size)
            resources = replace(request.resources, devices=devices, group=group)
            if not group.is_first:
                _follow(plan, resources)
                return None
            return _lead(experiment, request, resources, store, workspace, display)
    except Interrupted as error:
        raise Interrupted(error.message, hint=AGAIN) from None


def _check(experiment: Experiment, resources: Resources) -> None:
    """Raises UsageError for what nodes cannot share."""
    if resources.devices is not None:
        raise UsageError(
            "--devices and --nodes: all devices of all nodes are used",
            hint="leave out --devices; CUDA_VISIBLE_DEVICES says which GPUs a process sees",
        )
    if isinstance(experiment.model, Ensemble | Custom) or experiment.training.teachers is not None:
        raise UsageError(
            f"--nodes: {experiment.name} is made of several trainings, or has a network of its own",
            hint="train it without --nodes, or without teachers: --set training.teachers=null",
        )


def _facts(plan: TrainingPlan) -> dict[str, str]:
    """All that must be the same at every node."""
    recipe = plan.experiment.recipe().model_dump_json()
    return {
        "pcam-kit": __version__,
        "Keras": metadata.version("keras"),
        "JAX": metadata.version("jax"),
        "NumPy": metadata.version("numpy"),
        "store": plan.store.fingerprint,
        "seed": str(plan.experiment.seed),
        "config": hashlib.sha256(recipe.encode()).hexdigest()[:16],
        "patches": hashlib.sha256(plan.train_rows.tobytes()).hexdigest()[:16],
    }


def _lead(
    experiment: Experiment,
    request: NodeRequest,
    resources: Resources,
    store: Store,
    workspace: Workspace,
    display: Display,
) -> Run:
    existing = find_runs(experiment, store, workspace)
    complete = any(run.result is not None for run in existing)
    resources.group.share(bytes([complete]))
    if complete:
        resources.group.leave()
    config = request.config or experiment.name
    return train_once(
        config, request.overrides, store, workspace, resources=resources, display=display
    )


def _follow(plan: TrainingPlan, resources: Resources) -> None:
    """Train with the others, and keep nothing."""
    group = resources.group
    if group.share() == b"\1":
        log.info("node 0 has a complete run already")
        group.leave()
        return
    precision, devices, owner, checkpoint = receive_start(group)
    with quiet_import():
        from pcam_kit.training.fit import TrainingFiles, fit

    def validate(_model: Any) -> Validation:
        return receive_scores(group)

    workers = choose_workers(plan, resources.workers, read_hardware().first(devices))
    with tempfile.TemporaryDirectory() as folder:
        files = TrainingFiles(
            Path(folder, "state.npz"), Path(folder, "none"), Path(folder, "none"), owner
        )
        if checkpoint:
            files.state.write_bytes(checkpoint)
        log.info(f"node {group.index} of {group.count}: training; node 0 shows how it goes")
        with SILENT.training() as monitor:
            fit(
                plan.experiment,
                plan.batches(workers, group.part),
                validate,
                files,
                monitor,
                precision=precision,
                devices=devices,
                group=group,
            )
    group.leave()
    log.info(f"node {group.index} of {group.count}: done; the run is at node 0")
