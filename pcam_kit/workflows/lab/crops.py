"""`pcam lab pcam`: the report's recipe and ours side by side on 32x32 crops of PCam."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.config.schema import Experiment
from pcam_kit.data.store import Store
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.images import take
from pcam_kit.progress import SILENT, Display
from pcam_kit.run_folders import Result, Run
from pcam_kit.workflows import fetch, predict, train
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

RECIPES = ("lab-report", "lab")
CROP = 32
LAB_COMPETITION = "tnm-112-lab-2-2024"
EXAMPLES = 4  # patches in the picture of the augmentation
# Scores that others reported for the lab's competition; nothing here was measured as they were.
REPORTED = (("the lab report", 0.74473), ("the best peer", 0.8119))
REPORTED_ON = (
    "on Kaggle: 100,000 training crops, Kaggle's own test labels, the best of several submissions"
)


@dataclass(frozen=True)
class CropsRequest:
    """What to train on: a fetched competition, or `source` to fetch it from first.

    competition None: the one fetched last. seeds: trainings of each recipe. pictures: a folder to
    draw into.
    """

    competition: str | None = None
    source: Path | None = None
    seeds: int = 1
    overrides: tuple[str, ...] = ()
    pictures: Path | None = None


@dataclass(frozen=True)
class RecipeRun:
    """A complete run and its CSV for the test part."""

    run: Run
    result: Result
    csv: Path


@dataclass(frozen=True)
class CropsResult:
    """The runs of each recipe on one store."""

    store: Store
    recipes: dict[str, Sequence[RecipeRun]]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam lab pcam`."""
        return {
            "competition": self.store.profile.slug,
            "train": self.store.splits["train"].n,
            "valid": self.store.splits["valid"].n,
            "recipes": [
                {"config": recipe, "runs": [_run_dict(run) for run in runs]}
                for recipe, runs in self.recipes.items()
            ],
        }


def compare_recipes(
    request: CropsRequest, workspace: Workspace, *, display: Display = SILENT
) -> CropsResult:
    """Train, score and predict with each recipe and seed.

    Complete runs of the same config and store are used again. Raises as `fetch`, `train` and
    `predict`.
    """
    slug = request.competition
    if request.source is not None:
        competition = slug if slug is not None else LAB_COMPETITION
        fetch_request = fetch.FetchRequest(competition, request.source)
        slug = fetch.fetch(fetch_request, workspace, display=display).profile.slug
    store = workspace.store(slug if slug is not None else workspace.last_fetched())
    recipes: dict[str, Sequence[RecipeRun]] = {}
    for recipe in RECIPES:
        recipes[recipe] = [
            _recipe_run(recipe, seed, request, store, workspace, display)
            for seed in range(request.seeds)
        ]
    if request.pictures is not None:
        experiment = recipes[RECIPES[-1]][0].run.experiment
        log.info(f"drawn: {_draw(store, experiment, request.pictures)}")
    return CropsResult(store, recipes)


def _run_dict(recipe_run: RecipeRun) -> dict[str, Any]:
    result = recipe_run.result
    return {
        "run": str(recipe_run.run.path),
        "seed": recipe_run.run.experiment.seed,
        "valid_auc": result.valid_auc,
        "valid_accuracy": result.valid_accuracy,
        "threshold": result.threshold,
        "seconds": result.seconds,
        "csv": str(recipe_run.csv),
    }


def _recipe_run(
    recipe: str,
    seed: int,
    request: CropsRequest,
    store: Store,
    workspace: Workspace,
    display: Display,
) -> RecipeRun:
    """The recipe's run: a complete one, a stopped one that is resumed, or a new one."""
    slug = store.profile.slug
    overrides = (*request.overrides, f"seed={seed}", f"competition={slug}", f"data.crop={CROP}")
    run = train.train_once(recipe, overrides, store, workspace, display=display)
    prediction = predict.predict([run], predict.PredictRequest(), workspace, display=display)
    return RecipeRun(run, run.outcome, prediction.csv.path)


def _draw(store: Store, experiment: Experiment, folder: Path) -> Path:
    """Draw a few training patches and what the augmentation makes of them."""
    from pcam_kit.lab import pictures

    rows = store.rows("train")[:EXAMPLES].astype(np.int64)
    originals = take(store.images, rows, CROP)
    augmenter = Augmenter(experiment.augment, seed=experiment.seed)
    augmented = [augmenter(originals, rows, epoch, len(store.images)) for epoch in range(1, 9)]
    title = f"{store.profile.title}, augmented as in {experiment.name}"
    return pictures.draw_augmented(originals, augmented, title, folder / "tissue-augmented.png")
