"""`pcam lab pcam`: the report's recipe and ours side by side on 32x32 crops of PCam."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.commands import fetch, predict, train
from pcam_kit.commands.console import duration, print_table, say, spread
from pcam_kit.commands.folders import Folders
from pcam_kit.config.schema import Experiment
from pcam_kit.data.store import Store
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.batches import take
from pcam_kit.runs import Result, Run

RECIPES = ("lab-report", "lab")
CROP = 32
EXAMPLES = 4  # patches in the picture of the augmentation
# Scores told by others for the lab's competition; nothing here was measured as they were.
TOLD = (("the lab report", 0.74473), ("the best peer", 0.8119))
AS_TOLD = (
    "on Kaggle: 100,000 training crops, Kaggle's own test labels, the best of several submissions"
)


@dataclass(frozen=True)
class Request:
    """What to train on: a fetched competition (None: the one fetched last), or `source` to fetch it
    from first.
    """

    competition: str | None = None
    source: Path | None = None
    seeds: int = 1
    overrides: tuple[str, ...] = ()
    pictures: Path | None = None


@dataclass(frozen=True)
class Finished:
    """A complete run and its CSV for the test part."""

    run: Run
    result: Result
    csv: Path


@dataclass(frozen=True)
class Compared:
    """The runs of each recipe on one store."""

    store: Store
    recipes: dict[str, Sequence[Finished]]


def compare(request: Request, folders: Folders) -> Compared:
    """Train, score and predict with each recipe and seed.

    Finished runs of the same config and store are used again.
    """
    slug = request.competition
    if request.source is not None:
        slug = fetch.fetch(
            fetch.Request(slug if slug is not None else "tnm-112-lab-2-2024", request.source),
            folders,
        ).profile.slug
    store = folders.store(slug if slug is not None else folders.fetched_last())
    recipes: dict[str, Sequence[Finished]] = {}
    for recipe in RECIPES:
        recipes[recipe] = [
            _finished(recipe, seed, request, store, folders) for seed in range(request.seeds)
        ]
    if request.pictures is not None:
        say(f"drawn: {_draw(store, recipes[RECIPES[-1]][0].run.experiment, request.pictures)}")
    return Compared(store, recipes)


def describe(compared: Compared) -> dict[str, Any]:
    """The JSON object of `pcam lab pcam`."""
    return {
        "competition": compared.store.profile.slug,
        "train": compared.store.splits["train"].n,
        "valid": compared.store.splits["valid"].n,
        "recipes": [
            {
                "config": recipe,
                "runs": [
                    {
                        "run": str(one.run.path),
                        "seed": one.run.experiment.seed,
                        "valid_auc": one.result.valid_auc,
                        "valid_accuracy": one.result.valid_accuracy,
                        "threshold": one.result.threshold,
                        "seconds": one.result.seconds,
                        "csv": str(one.csv),
                    }
                    for one in runs
                ],
            }
            for recipe, runs in compared.recipes.items()
        ],
    }


def show(compared: Compared) -> None:
    """A row a recipe, and below, apart from them, the scores that were told."""
    splits = compared.store.splits
    rows = [
        [
            recipe,
            spread([one.result.valid_auc for one in runs]),
            spread([one.result.valid_accuracy for one in runs]),
            str(len(runs)),
            duration(statistics.fmean(one.result.seconds for one in runs)),
        ]
        for recipe, runs in compared.recipes.items()
    ]
    title = (
        f"{compared.store.profile.title}: {splits['train'].n:,} training and "
        f"{splits['valid'].n:,} validation patches"
    )
    print_table(
        title, ["recipe", "validation AUC", "validation accuracy", "runs", "time a run"], rows
    )
    told = [[name, str(score), AS_TOLD] for name, score in TOLD]
    print_table(
        "\nNot comparable with these: scores told by others", ["", "accuracy", "what it is"], told
    )
    for runs in compared.recipes.values():
        for one in runs:
            print(one.csv)
    if compared.store.synthetic:
        say("Synthetic tissue: these scores say nothing about real patients.")


def _finished(recipe: str, seed: int, request: Request, store: Store, folders: Folders) -> Finished:
    """The recipe's run: a finished one, a stopped one that is resumed, or a new one."""
    changes = (
        *request.overrides,
        f"seed={seed}",
        f"competition={store.profile.slug}",
        f"data.crop={CROP}",
    )
    run = train.train_once(recipe, changes, store, folders)
    return Finished(run, run.outcome, predict.predict([run], predict.Request(), folders).csv.path)


def _draw(store: Store, experiment: Experiment, folder: Path) -> Path:
    from pcam_kit.lab import pictures

    rows = store.rows("train")[:EXAMPLES].astype(np.int64)
    originals = take(store.images, rows, CROP)
    augmenter = Augmenter(experiment.augment, seed=experiment.seed)
    augmented = [augmenter(originals, rows, epoch, len(store.images)) for epoch in range(1, 9)]
    title = f"{store.profile.title}, augmented as in {experiment.name}"
    return pictures.draw_augmented(originals, augmented, title, folder / "tissue-augmented.png")
