"""`pcam shift`: the colours of a store's splits side by side, and in words what has drifted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pcam_kit.commands.console import print_table, say
from pcam_kit.commands.folders import Folders
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.shift import LIMIT, WORDS, Colours, Drift, colours, drift, drifts
from pcam_kit.data.store import Store


@dataclass(frozen=True)
class Shifted:
    """What a store's splits look like, the first of them the one the others are compared with."""

    store: Store
    looks: list[Colours]
    drifts: list[Drift]


def shift(competition: str | None, stain: StainMethod | None, folders: Folders) -> Shifted:
    """Look at each split of a store (None: the one fetched last).

    Raises DataError or UsageError when there is none.
    """
    store = folders.store(competition if competition is not None else folders.fetched_last(), stain)
    looks = [colours(store, split) for split in store.splits]
    return Shifted(store, looks, drifts(looks))


def drift_line(store: Store) -> list[str]:
    """The strongest drift of test against train in a sentence; empty when there is none, or one of
    the two splits is not there.
    """
    if not {"train", "test"} <= store.splits.keys():
        return []
    found = drift(colours(store, "train"), colours(store, "test"))
    more = f"pcam shift {store.profile.slug}" + (
        f" --stain {store.stain}" if store.stain is not None else ""
    )
    return (
        [f"{found.sentences[0]}: the score may be lower than in validation ({more})"]
        if found.drifted
        else []
    )


def describe(shifted: Shifted) -> dict[str, Any]:
    """The JSON object of `pcam shift`."""
    return {
        "store": str(shifted.store.path),
        "fingerprint": shifted.store.fingerprint,
        "splits": {
            look.split: {"n": look.n, "mean": look.mean, "sd": look.sd} for look in shifted.looks
        },
        "limit": LIMIT,
        "drifts": [
            {**asdict(one), "largest": one.largest, "sentences": one.sentences}
            for one in shifted.drifts
        ],
    }


def show(shifted: Shifted) -> None:
    """A row a statistic; what has drifted is said."""
    columns = [
        "",
        *(f"{look.split} ({look.n:,})" for look in shifted.looks),
        *(f"{d.split} - {d.reference}" for d in shifted.drifts),
    ]
    rows = [
        [
            name.replace("_sd", ", sd within"),
            *(f"{look.mean[name]:.3f} ± {look.sd[name]:.3f}" for look in shifted.looks),
            *(f"{round(one.differences[name], 2) + 0:+.2f} sd" for one in shifted.drifts),
        ]
        for name in WORDS
    ]
    print_table(f"{shifted.store.profile.title}: mean ± sd over patches", columns, rows)
    sentences = [sentence for one in shifted.drifts for sentence in one.sentences]
    for sentence in sentences:
        say(sentence)
    if sentences:
        say(_remedy(shifted.store))
    elif shifted.drifts:
        say(f"no difference is above {LIMIT} sd by more than sampling explains")


def _remedy(store: Store) -> str:
    augment = "train on more varied stain: pcam train --set augment.stain.strength=0.2"
    # macenko needs to know slide from slide
    method = "macenko" if (store.groups >= 0).all() else "reinhard"
    return (
        augment
        if store.stain is not None
        else f"{augment}; or normalise it: pcam fetch {store.profile.slug} --stain {method}"
    )
