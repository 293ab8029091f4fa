"""The training plan: everything that follows from an experiment and a store, resolved once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit import imagenet
from pcam_kit.competitions import Competition
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Experiment, Fold, Transfer, WithoutNetwork
from pcam_kit.data.folds import hash_folds, split_rows
from pcam_kit.data.leakage import Leakage, find_leakage, resolve_drop_copies, training_rows
from pcam_kit.data.split import draw_rows
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.pipeline.augment import Augmenter, CustomAugmentation, try_augmentation
from pcam_kit.pipeline.batches import Batches, Workers
from pcam_kit.pipeline.images import take
from pcam_kit.run_folders import Run
from pcam_kit.training.backend import quiet_import
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

TRIED = 4  # real patches that the augmentation is tried on

Targets = NDArray[np.int8] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What is trained on what, for one run.

    train_rows, valid_rows: int64 [n], rows of the store. targets: [total], one for each row of the
    store: labels int8, or float32 probabilities blended with teachers' answers. crop: pixels a side
    of what the network sees. counts: patches of each split, before `data.limit`. folds_hash: None
    without folds. initial_weights: where pretrained weights come from, as in meta.json.
    """

    experiment: Experiment
    store: Store = field(repr=False)
    train_rows: NDArray[np.int64] = field(repr=False)
    valid_rows: NDArray[np.int64] = field(repr=False)
    targets: Targets = field(repr=False)
    crop: int
    augmenter: Augmenter = field(repr=False)
    leakage: Leakage = field(repr=False)
    counts: dict[str, int]
    folds_hash: str | None = None
    initial_weights: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_meta(self) -> dict[str, Any]:
        """What meta.json says of the data, the folds, the leakage and the initial weights."""
        store = self.store
        folds = {} if self.folds_hash is None else {"folds_hash": self.folds_hash}
        return {
            "seed": self.experiment.seed,
            "competition": store.profile.model_dump(mode="json"),
            "synthetic": store.synthetic,
            "store_fingerprint": store.fingerprint,
            "split_hash": store.split_hash,
            **folds,
            **self.leakage.to_meta(),
            **self.initial_weights,
        }

    def describe_data(self) -> str:
        """`train 2,000 of 19,171, valid 2,407, test 500; fold 1 of 5`."""
        counts = {name: f"{n:,}" for name, n in self.counts.items()}
        if len(self.train_rows) < self.counts["train"]:
            counts["train"] = f"{len(self.train_rows):,} of {counts['train']}"
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        fold = self.experiment.data.fold
        return text if fold is None else f"{text}; fold {fold.index} of {fold.of}"

    @property
    def valid_labels(self) -> NDArray[np.int8]:
        """Labels of the validation rows, int8 [n]."""
        return self.store.labels[self.valid_rows]

    def with_targets(self, targets: Targets) -> TrainingPlan:
        """The same plan with other targets, [total]."""
        return replace(self, targets=targets)

    def batches(self, workers: Workers | None = None, part: tuple[int, int] = (0, 1)) -> Batches:
        """The training batches, or part i of n of each."""
        return Batches(
            self.store.images,
            self.targets,
            self.train_rows,
            self.experiment.training.batch_size,
            self.crop,
            self.augmenter,
            self.experiment.seed,
            workers,
            self.experiment.training.passes,
            part,
        )


def resolve_config(
    config: str | None, overrides: Sequence[str], workspace: Workspace
) -> Experiment:
    """The experiment of `config` with its overrides.

    config: a .yaml file or a shipped config's name; None: the default of the competition fetched
    last. Raises ConfigError, UsageError.
    """
    if config is None:
        config = default_config(workspace.competition(None))
    return load_experiment(config, overrides)


def default_config(competition: Competition) -> str:
    """The name of the config that is trained for `competition` where none is named."""
    better = competition.imagenet_config
    if better is not None and has_weights(load_experiment(better)):
        log.info(f"config {better}: the default for {competition.slug} with ImageNet's weights")
        return better
    log.info(f"config {competition.default_config}: the default for {competition.slug}")
    if better is not None:
        log.info(f"{better} is better; it needs ImageNet's weights: {imagenet.INSTALL}")
    return competition.default_config


def has_weights(experiment: Experiment) -> bool:
    """Whether the weights that it starts from are installed, if a package has them."""
    model = experiment.model
    if not isinstance(model, Transfer):
        return True
    package = imagenet.package_of(model.backbone, model.weights)
    return package is None or package.is_installed


def resolve_experiment(experiment: Experiment, store: Store) -> Experiment:
    """The experiment of a new run, with all that depends on the patches resolved.

    That is `data.drop_copies`, and epochs and passes within `training.most_patches` and
    `least_patches`.
    """
    experiment = resolve_drop_copies(experiment, store)
    patches, limit = len(training_rows(experiment, store)), experiment.data.limit
    if limit is not None:
        patches = min(patches, limit)
    training = experiment.training.fitted_to(patches)
    return experiment.model_copy(update={"training": training})


def plan_training(
    experiment: Experiment, store: Store, *, augmentation: CustomAugmentation | None = None
) -> TrainingPlan:
    """The plan of a training of `experiment`, already resolved, on `store`.

    augmentation: the function that `augment.custom` names, where it cannot be imported. Raises
    ConfigError for faults of the network, the augmentation, the crop and the split.
    """
    network = experiment.model
    if isinstance(network, WithoutNetwork):
        raise ConfigError(
            f"model.name: {network.name} stands for {network.holds}: not to be trained"
        )
    return plan_data(experiment, store, augmentation=augmentation)


def plan_data(
    experiment: Experiment, store: Store, *, augmentation: CustomAugmentation | None = None
) -> TrainingPlan:
    """The same of anything that learns from a store's patches, such as a probe."""
    # a module with a custom function may import Keras
    with nullcontext() if experiment.augment.custom is None else quiet_import():
        augmenter = Augmenter(experiment.augment, seed=experiment.seed, custom=augmentation)
    crop = store.crop_size(experiment.data.crop)
    fold, limit = experiment.data.fold, experiment.data.limit
    rows = training_rows(experiment, store)
    valid_rows = split_rows(store, "valid", fold)
    _check_both_classes(store, fold, train=rows, valid=valid_rows)
    # a fault in it is reported before a folder is made
    patches = take(store.images, rows[:TRIED], crop)
    try_augmentation(experiment.augment, patches, seed=experiment.seed, custom=augmentation)
    return TrainingPlan(
        experiment=experiment,
        store=store,
        train_rows=rows if limit is None else draw_rows(rows, limit, experiment.seed),
        valid_rows=valid_rows,
        targets=store.labels,
        crop=crop,
        augmenter=augmenter,
        leakage=find_leakage(store, rows, fold),
        counts={name: len(split_rows(store, name, fold)) for name in store.splits},
        folds_hash=None if fold is None else hash_folds(store, fold),
    )


def check_folds(run: Run, store: Store) -> None:
    """Raises RunError where the folds are drawn otherwise than they were for `run`."""
    fold = run.experiment.data.fold
    if fold is not None and hash_folds(store, fold) != run.meta.get("folds_hash"):
        raise RunError(
            f"{run.name} was trained on other folds than this pcam draws from {store.path}",
            hint="use the pcam that made this run (its version is in meta.json), or train again",
        )


def rows_of(run: Run, store: Store, split: str) -> NDArray[np.int64]:
    """Rows of a split as it was for `run`, int64 [n]. Raises RunError as `check_folds`."""
    check_folds(run, store)
    return split_rows(store, split, run.experiment.data.fold)


def _check_both_classes(
    store: Store, fold: Fold | None, **rows_of_split: NDArray[np.int64]
) -> None:
    """Raises ConfigError when a split holds one class only."""
    for split, rows in rows_of_split.items():
        positive = int((store.labels[rows] == 1).sum())
        if positive == 0 or positive == len(rows):
            part = f"the {split} {'split' if fold is None else 'part of the folds'}"
            raise ConfigError(
                f"{store.path}: {part} needs patches of both classes, it has {positive} positive "
                f"of {len(rows)}"
            )
