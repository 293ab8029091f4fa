"""Training: configs, one run or several, predictions from elsewhere as a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pcam_kit.api.arguments import (
    Overrides,
    RunLike,
    WorkspaceLike,
    config_of,
    display_of,
    name_of,
    overrides_of,
    where_of,
    workspace_of,
)
from pcam_kit.formatting import Listing
from pcam_kit.run_folders import Run

if TYPE_CHECKING:
    from pcam_kit.config.schema import Experiment
    from pcam_kit.pipeline.augment import CustomAugmentation
    from pcam_kit.progress import Display
    from pcam_kit.workflows.expected_time import ConfigTime
    from pcam_kit.workflows.external import Source
    from pcam_kit.workflows.series import Series


def load_config(
    config: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    *,
    seed: int | None = None,
    workspace: WorkspaceLike | None = None,
) -> Experiment:
    """The experiment of a config with overrides, as `train` would take it. Raises ConfigError."""
    from pcam_kit.workflows.plan import resolve_config

    return resolve_config(config_of(config), overrides_of(overrides, seed), workspace_of(workspace))


def configs(*, workspace: WorkspaceLike | None = None) -> list[ConfigTime]:
    """The shipped configs: purpose, measured score, measured time and time to expect here.

    For the training patches of the competition fetched last, or else 19,171.
    """
    from pcam_kit.workflows.expected_time import list_config_times

    return Listing(list_config_times(workspace_of(workspace)))


def train(
    config: str | os.PathLike[str] | None = None,
    *,
    overrides: Overrides = (),
    seed: int | None = None,
    resume: RunLike | None = None,
    model: Any = None,
    augmentation: CustomAugmentation | None = None,
    workers: int | None = None,
    devices: int | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    cpus: int = 1,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Run:
    """Train a network, or resume a stopped run, until the run is complete.

    Of an ensemble each member that is missing is trained; the run is that of their mean.

    config: a .yaml file or a shipped config's name; None: the default of the competition fetched
    last. overrides: {"training.epochs": 3}, or ["training.epochs=3"]. resume: a run; "" the newest
    unfinished one. model: a `keras.Model`, or a function of the pixels a side that returns one,
    instead of the config's network: pixels 0-255 [n, size, size, 3] in, logits [n, 1] out.
    augmentation: a function (patches uint8 [n, h, w, 3], numpy Generator) -> patches, applied after
    the config's. workers: threads that prepare batches, for a GPU processes; None: as many as serve
    it. devices: GPUs that share each batch (Keras on JAX only); None: one. jobs, ray, cpus: as in
    `train_series`, for members of an ensemble or teachers. Raises Interrupted with a run that can
    be resumed; ConfigError, DataError, RunError, TrainingError, UsageError.
    """
    from pcam_kit.workflows import train as workflow
    from pcam_kit.workflows.compute import Resources

    request = workflow.TrainRequest(
        config=config_of(config),
        overrides=overrides_of(overrides, seed),
        resume=name_of(resume),
        resources=Resources(workers, devices),
        model=model,
        augmentation=augmentation,
        where=where_of(jobs, ray, cpus),
    )
    return workflow.train(request, workspace_of(workspace), display=display_of(display))


def train_node(
    config: str | os.PathLike[str] | None = None,
    *,
    nodes: int,
    node: int | None,
    coordinator: str | None,
    overrides: Overrides = (),
    seed: int | None = None,
    workers: int | None = None,
    devices: int | None = None,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Run | None:
    """Train one network together with the other nodes (Keras on JAX only).

    Each calls this, with the same arguments but for its own `node`, 0 to nodes - 1; all devices of
    all of them share each batch. coordinator: HOST:PORT of node 0. devices: must be None. Node 0
    writes the run and gets it, or one that is complete already; the others get None. The same call
    resumes a stopped run. When another node is gone, this process ends with exit code 5.
    Raises as `train`.
    """
    from pcam_kit.training.nodes import parse_nodes
    from pcam_kit.workflows import nodes as workflow
    from pcam_kit.workflows.compute import Resources

    request = workflow.NodeRequest(
        parse_nodes(nodes, node, coordinator),
        config_of(config),
        overrides_of(overrides, seed),
        Resources(workers, devices),
    )
    return workflow.train_node(request, workspace_of(workspace), display=display_of(display))


def train_series(
    config: str | os.PathLike[str] | None = None,
    *,
    seeds: int | None = None,
    folds: int | None = None,
    overrides: Overrides = (),
    seed: int | None = None,
    resume: RunLike | None = None,
    workers: int | None = None,
    devices: int | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    cpus: int = 1,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Series:
    """Train one config with several seeds, or once for each of several folds.

    Complete runs are used again, a stopped one is resumed. jobs: so many side by side, in processes
    of their own. ray: on a cluster, by its address ("local" begins one here), with `cpus`
    processors each. Raises as `train`; side by side RunError for one that fails.
    """
    from pcam_kit.workflows import series as workflow
    from pcam_kit.workflows.compute import Resources
    from pcam_kit.workflows.train import TrainRequest

    training = TrainRequest(
        config_of(config),
        overrides_of(overrides, seed),
        name_of(resume),
        Resources(workers, devices),
    )
    request = workflow.SeriesRequest(training, seeds, folds, where_of(jobs, ray, cpus))
    return workflow.train_series(request, workspace_of(workspace), display=display_of(display))


def import_predictions(
    valid: Source,
    test: Source | None = None,
    *,
    name: str = "external",
    competition: str | None = None,
    workspace: WorkspaceLike | None = None,
) -> Run:
    """Make a run of predictions from elsewhere, e.g. from PyTorch.

    valid, test: probabilities of the positive class for every patch of the split: a .csv (header,
    then id and probability), an .npz (arrays ids and probabilities) or {id: probability}. Raises
    DataError, UsageError, ConfigError.
    """
    from pcam_kit.workflows import external as workflow

    place = workspace_of(workspace)
    return workflow.import_predictions(valid, test, name, place, competition=competition)
