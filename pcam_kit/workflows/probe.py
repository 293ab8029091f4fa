"""`pcam probe`: a head trained on features, as a run like any other."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import Data, Evaluation, Experiment, Probe
from pcam_kit.data.folds import patch_names
from pcam_kit.data.split import assign_folds, draw_rows
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, DataError, UsageError
from pcam_kit.evaluation.intervals import count_slides
from pcam_kit.features import Features, find_features, open_features
from pcam_kit.formatting import duration
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import ORDER, Predictions, Run, create_run, next_order
from pcam_kit.views import AS_IS
from pcam_kit.workflows.plan import TrainingPlan, plan_data, resolve_experiment
from pcam_kit.workflows.predictions import NoEpochs, complete_with, log_scores
from pcam_kit.workflows.provenance import provenance
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

FOLDS = 5
CHOOSING = 20_000  # patches that the penalty is chosen on, at most: it hardly depends on more
HeadKind = Literal["logistic", "mlp"]
# of the features' manifest: what a run keeps
KEPT = ("model", "library", "weights_sha256", "licence", "size", "preprocessing", "views", "dtype")


@dataclass(frozen=True)
class ProbeRequest:
    """Which head is trained on which features.

    features: a folder, or a unique part of its name; None: the newest. limit: the most training
    patches, drawn by seed; None: all.
    """

    features: str | None = None
    head: HeadKind = "logistic"
    name: str = "probe"
    seed: int = 0
    limit: int | None = None


def probe(request: ProbeRequest, workspace: Workspace, *, display: Display = SILENT) -> Run:
    """Train a head on features, and keep its predictions of every split as a run.

    Training patches are those of `pcam train`: without exact copies of validation and test patches.
    Raises UsageError, ConfigError, DataError, StorageError.
    """
    folder = find_features(workspace.data, request.features)
    features = open_features(folder)
    store = workspace.store(features.manifest["competition"])
    check_store(features, store)
    plan = plan_data(_experiment(request, features, store), store)
    plan.leakage.report()
    folds, by = _assign_folds(plan, request.seed)
    log.info(
        f"{request.head} head on {features.name} ({features.manifest['model']}, licence "
        f"{features.manifest['licence']}): {plan.describe_data()}"
    )
    began = time.monotonic()
    # late: scikit-learn takes a second
    from pcam_kit.features.head import train_logistic, train_mlp

    values, labels = features.values[plan.train_rows], store.labels[plan.train_rows]
    with display.work() as progress:
        if request.head == "logistic":
            head = train_logistic(values, labels, folds, progress)
        else:
            head = train_mlp(values, labels, folds, progress, seed=request.seed)
    predictions = {
        split: _predictions(head.probabilities(features.values[rows]), store, rows)
        for split in store.splits
        if len(rows := store.rows(split))
    }
    seconds = time.monotonic() - began
    meta: dict[str, Any] = provenance([]) | plan.to_meta()
    meta |= {
        "backend": "scikit-learn",
        "device": "CPU",
        "features": {key: features.manifest.get(key) for key in KEPT}
        | {key: features.manifest[key] for key in ("command", "sha256")},
        "head": {**head.facts, "folds": int(folds.max()) + 1, "folds_by": by},
    }
    meta[ORDER] = next_order(workspace.runs, meta["started"])
    run = create_run(
        workspace.runs,
        plan.experiment,
        meta,
        add_files=lambda path: head.save(path / "head.npz"),
    )
    run = complete_with(run, predictions, NoEpochs(seconds=seconds))
    log_scores(run, duration(seconds))
    return run


def check_store(features: Features, store: Store) -> None:
    """Raises DataError unless the features are those of this store's patches."""
    expected, found = store.fingerprint, features.manifest["store_fingerprint"]
    if found != expected:
        raise DataError(
            f"{features.path} has features of a store with fingerprint {found[:8]}, {store.path} "
            f"has {expected[:8]}",
            hint=f"compute them for this store: {features.manifest['command']}",
        )
    if len(features.values) != len(store.labels):
        raise DataError(
            f"{features.path} has {len(features.values):,} rows, {store.path} "
            f"{len(store.labels):,} patches",
            hint=f"move {features.path} away, then {features.manifest['command']}",
        )


def _experiment(request: ProbeRequest, features: Features, store: Store) -> Experiment:
    if request.head not in ("logistic", "mlp"):
        raise UsageError(f"head: expected logistic or mlp, found {request.head!r}")
    try:
        experiment = Experiment(
            name=request.name,
            competition=store.profile.slug,
            seed=request.seed,
            data=Data(limit=request.limit),
            model=Probe(name="probe", features=features.name, head=request.head),
            evaluation=Evaluation(tta="none"),
        )
    except ValueError as error:
        raise ConfigError(
            f"name {request.name!r}, seed {request.seed} and limit {request.limit} do not fit: "
            "expected letters, digits, dots and dashes; a seed from 0; a limit above 1",
            hint="e.g. --name probe-uni --seed 1 --limit 1000",
        ) from error
    return resolve_experiment(experiment, store)


def _assign_folds(plan: TrainingPlan, seed: int) -> tuple[NDArray[np.int64], str]:
    """The fold of each training row, -1 for those that choose nothing; and what stays together."""
    rows, store = plan.train_rows, plan.store
    chosen = np.searchsorted(rows, draw_rows(rows, CHOOSING, seed))
    groups = store.groups[rows[chosen]].astype(np.int64)
    slides = count_slides(store.groups[rows[chosen]])
    if slides is None or slides < FOLDS:
        slides, groups = None, np.arange(len(chosen))
    parts = store.index.parts[rows[chosen]]
    ids = [f"{part}/{name}" for part, name in zip(parts, store.ids[rows[chosen]], strict=True)]
    labels = store.labels[rows[chosen]]
    k = min(FOLDS, int(np.bincount(labels, minlength=2).min()))
    if k < 2:
        raise DataError(
            f"{store.path}: a probe needs at least 2 training patches of each class, found "
            f"{int((labels == 0).sum())} and {int((labels == 1).sum())}",
            hint="a larger --limit, or other data",
        )
    folds = np.full(len(rows), -1)
    folds[chosen] = assign_folds(ids, labels, groups, k, seed)
    return folds, "patches" if slides is None else "slides"


def _predictions(
    probabilities: NDArray[np.float32], store: Store, rows: NDArray[np.int64]
) -> Predictions:
    return Predictions(
        patch_names(store, rows),
        store.labels[rows],
        probabilities[:, None],
        (AS_IS,),
        store.groups[rows],
    )
