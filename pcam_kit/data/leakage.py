"""Leakage: patches that the training rows of a store share with those a run is measured on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import find_overlaps
from pcam_kit.config.schema import Experiment, Fold
from pcam_kit.data.folds import split_rows
from pcam_kit.data.raw import SPLITS
from pcam_kit.data.store_reader import Store
from pcam_kit.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leakage:
    """What training rows share with other splits and competitions.

    labels: e.g. "train~valid 12 exact 3 near"; None where nothing is known. test_seen: share of the
    test patches that have an exact copy among the rows, at most. messages: (level, text) for log.
    """

    labels: list[str] | None
    test_seen: float
    messages: tuple[tuple[int, str], ...] = ()

    def to_meta(self) -> dict[str, Any]:
        """The keys of `meta.json`."""
        return {"leaks": self.labels, "test_seen": self.test_seen}

    def report(self) -> None:
        """Log the messages."""
        for level, text in self.messages:
            log.log(level, text)


def resolve_drop_copies(experiment: Experiment, store: Store) -> Experiment:
    """The experiment of a new run, with `data.drop_copies` resolved.

    It becomes true where the store has such copies and the user did not say otherwise. A run's
    config then says what is done: without the key, as in runs of earlier versions, all patches are
    used. Raises ConfigError when copies are to be dropped that the store does not know.
    """
    asked = experiment.data.drop_copies
    if asked and store.copies is None:
        raise ConfigError(
            f"data.drop_copies: the store {store.path} was built by an earlier version, which did "
            "not note the copies",
            hint=f"build it again: move {store.path} away, then pcam fetch {store.profile.slug}; "
            "or data.drop_copies=false",
        )
    if asked is not None or _copied_rows(store, experiment.data.fold).size == 0:
        return experiment
    data = experiment.data.model_copy(update={"drop_copies": True})
    return experiment.model_copy(update={"data": data})


def training_rows(experiment: Experiment, store: Store) -> NDArray[np.int64]:
    """The rows to train on, int64 [n]: of all folds but one if there are folds.

    With `data.drop_copies` without exact copies of validation and test patches. Raises ConfigError
    where that leaves none.
    """
    fold = experiment.data.fold
    rows = split_rows(store, "train", fold)
    if not experiment.data.drop_copies:
        return rows
    others = rows[~np.isin(rows, _copied_rows(store, fold))]
    if others.size == 0:
        raise ConfigError(
            f"{store.path}: all {rows.size:,} training patches are exact copies of validation or "
            "test patches",
            hint="train on other patches; to see the road with these: "
            "--set data.drop_copies=false (the scores then mean nothing)",
        )
    return others


def find_leakage(store: Store, rows: NDArray[np.int64], fold: Fold | None = None) -> Leakage:
    """What a training on `rows` shares with the patches it is measured on."""
    labels: list[str] = []
    messages: list[tuple[int, str]] = []
    seen = 0
    splits = {SPLITS[code] for code in np.unique(store.index.splits[rows])}
    for copies in store.copies or ():
        here, there = copies["here"], copies["there"]
        if fold is not None and there == "valid":
            continue  # copies are in one fold
        used = int(np.isin(copies["rows"], rows).sum())
        exact = copies["exact"] if used else 0
        near = copies["near"] if here in splits else 0
        if used:
            messages.append((logging.WARNING, _used_copies(used, here, there, store)))
        if exact or near:
            labels.append(f"{here}~{there} {exact:,} exact {near:,} near")
        if there == "test":
            seen += exact
    train = split_rows(store, "train", fold)
    dropped = np.setdiff1d(np.intersect1d(_copied_rows(store, fold), train), rows).size
    if dropped:
        text = (
            f"left out of training: {dropped:,} exact copies of validation or test patches "
            "(data.drop_copies=false keeps them)"
        )
        messages.append((logging.INFO, text))
    slug = store.profile.slug
    parts = {SPLITS[code] for code in np.unique(store.index.parts[rows])}
    for other, overlap in find_overlaps(slug, parts):
        labels.append(f"{slug}-{overlap.split}↔{other.slug}-{overlap.ours}")
        text = (
            f"trained on {slug} {overlap.split}, which is in {other.slug} {overlap.ours}: "
            f"{overlap.why}"
        )
        messages.append((logging.WARNING, text))
    unknown = store.copies is None and not labels
    test = store.splits.get("test")
    test_seen = min(1.0, seen / test.n) if test is not None else 0.0
    return Leakage(None if unknown else labels, test_seen, tuple(messages))


def _copied_rows(store: Store, fold: Fold | None) -> NDArray[np.int64]:
    """The rows of train that are exact copies of validation or test patches.

    With folds: the rows of train and valid that are exact copies of test patches.
    """
    rows: list[int] = []
    for copies in store.copies or ():
        counts = copies["here"] == "train" if fold is None else copies["there"] == "test"
        if counts:
            rows.extend(copies["rows"])
    return np.unique(np.array(rows, np.int64))


def _used_copies(used: int, here: str, there: str, store: Store) -> str:
    flattered = f"the score on {store.profile.slug}'s test patches"
    if there == "valid":
        flattered = "the validation score"
    remedy = " (data.drop_copies=true leaves them out)" if here == "train" else ""
    return (
        f"training on exact copies of {there} patches: {used:,} in {here}; they flatter "
        f"{flattered}{remedy}"
    )
