"""What a run has seen that it should not: told when training starts, kept in the run and the
ledger, weighed before sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.commands.console import say, warn
from pcam_kit.competitions import Competition, find_overlaps
from pcam_kit.config.schema import Experiment, Fold
from pcam_kit.data import folding
from pcam_kit.data.raw import SPLITS
from pcam_kit.data.store import Store
from pcam_kit.errors import ConfigError, SubmissionError
from pcam_kit.runs import Run
from pcam_kit.submissions import Entry

# of the test patches: knowing so many answers moves an accuracy by less than a hundredth
SMALL = 0.01


def settled(experiment: Experiment, store: Store) -> Experiment:
    """The experiment of a new run: with `data.drop_copies` where the store has such copies and the
    user did not say otherwise.

    A run's config then says what is done: without the key, as in runs of earlier versions, it goes
    on with all patches. Raises ConfigError when copies are to be dropped that the store does not
    know.
    """
    asked = experiment.data.drop_copies
    if asked and store.copies is None:
        raise ConfigError(
            f"data.drop_copies: the store {store.path} was built by an earlier version, which "
            "did not note the copies",
            hint=f"build it again: move {store.path} away, then pcam fetch {store.profile.slug}; "
            "or data.drop_copies=false",
        )
    if asked is not None or _copied(store, experiment.data.fold).size == 0:
        return experiment
    return experiment.model_copy(
        update={"data": experiment.data.model_copy(update={"drop_copies": True})}
    )


def training_rows(experiment: Experiment, store: Store) -> NDArray[np.int64]:
    """The rows to train on, of all folds but one if there are folds; with `data.drop_copies`
    without exact copies of others' patches.
    """
    fold = experiment.data.fold
    rows = folding.rows(store, "train", fold)
    return rows[~np.isin(rows, _copied(store, fold))] if experiment.data.drop_copies else rows


def describe_leaks(
    store: Store, rows: NDArray[np.int64], fold: Fold | None = None
) -> dict[str, Any]:
    """What `meta.json` says of a training on `rows`, which is also told: `leaks` (labels) and
    `test_seen`.

    `leaks` is None where nothing is known; `test_seen` is the share of the test patches that have
    an exact copy among `rows`, at most.
    """
    labels: list[str] = []
    seen = 0
    splits = {SPLITS[code] for code in np.unique(store.index.splits[rows])}
    for found in store.copies or ():
        here, there = found["here"], found["there"]
        if fold is not None and there == "valid":
            continue  # copies are in one fold
        used = int(np.isin(found["rows"], rows).sum())
        exact, near = found["exact"] if used else 0, found["near"] if here in splits else 0
        if used:
            _warn_of(used, here, there, store)
        if exact or near:
            labels.append(f"{here}~{there} {exact:,} exact {near:,} near")
        seen += exact if there == "test" else 0
    left = np.setdiff1d(
        np.intersect1d(_copied(store, fold), folding.rows(store, "train", fold)), rows
    ).size
    if left:
        say(
            f"left out of training: {left:,} exact copies of validation or test patches "
            "(data.drop_copies=false keeps them)"
        )
    parts = {SPLITS[code] for code in np.unique(store.index.parts[rows])}
    for other, overlap in find_overlaps(store.profile.slug, parts):
        labels.append(f"{store.profile.slug}-{overlap.split}↔{other.slug}-{overlap.ours}")
        warn(
            f"trained on {store.profile.slug} {overlap.split}, which is in {other.slug} "
            f"{overlap.ours}: {overlap.why}"
        )
    unknown = store.copies is None and not labels
    test = store.splits.get("test")
    return {
        "leaks": None if unknown else labels,
        "test_seen": min(1.0, seen / test.n) if test is not None else 0.0,
    }


def leaks_of(chosen: Sequence[Run]) -> dict[str, Any]:
    """The labels of several runs together, and the largest share of test patches that one has seen:
    fields of `Origin`.
    """
    labels = dict.fromkeys(label for run in chosen for label in run.meta.get("leaks") or ())
    return {
        "leaks": [*labels],
        "test_seen": max(float(run.meta.get("test_seen") or 0.0) for run in chosen),
    }


def check_leaks(entry: Entry, competition: Competition, *, allowed: bool) -> None:
    """Tell the leaks of a CSV. Raises SubmissionError when its runs know too many of the test
    patches, unless `allowed`.
    """
    for label in entry.leaks:
        say(f"leak: {label}")
    if entry.test_seen > SMALL and not allowed:
        raise SubmissionError(
            f"{entry.csv} comes from a training on exact copies, with their labels, of "
            f"{100 * entry.test_seen:.1f}% of the test patches of "
            f"{competition.slug} (allowed: {100 * SMALL:.0f}%): its score would say little about "
            "new tissue",
            hint="train without them: pcam train --set data.drop_copies=true; to send it all the "
            "same: pcam submit --allow-leak",
        )


def _copied(store: Store, fold: Fold | None) -> NDArray[np.int64]:
    """The rows of train that are exact copies of validation or test patches; with folds those of
    train and valid that are of test's.
    """
    wanted = [
        found
        for found in store.copies or ()
        if (found["here"] == "train" if fold is None else found["there"] == "test")
    ]
    rows = [row for found in wanted for row in found["rows"]]
    return np.unique(np.array(rows, np.int64))


def _warn_of(used: int, here: str, there: str, store: Store) -> None:
    flattered = (
        "the validation score"
        if there == "valid"
        else f"the score on {store.profile.slug}'s test patches"
    )
    way = " (data.drop_copies=true leaves them out)" if here == "train" else ""
    warn(
        f"training on exact copies of {there} patches: {used:,} in {here}; they flatter "
        f"{flattered}{way}"
    )
