"""A store's patches with their stain normalised, as raw data from which a second store is built."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Split
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.raw import SPLITS, Images, Part, Progress, RawCompetition, block_rows
from pcam_kit.data.split import draw
from pcam_kit.data.stain import Floats, normalisation, normalise
from pcam_kit.data.store_reader import Store
from pcam_kit.data.store_writer import COPIES, KEPT

VERSION = 1  # of the way to normalise: counted up when it gives other pixels
SAMPLE = 1000  # patches of a slide or split that its stain is judged by
UNCHANGED = np.eye(3, 4, dtype=np.float32)


def normalised(store: Store, method: StainMethod, *, progress: Progress) -> RawCompetition:
    """The patches of `store` in its own splits, normalised by `method`.

    A slide's stain is judged from its own patches.

    Where slides are not known, or one has too little tissue, all patches of the split stand for it,
    and where that has too little it stays as it is. Patches of the test split are judged like the
    others, without labels.
    """
    maps = np.tile(UNCHANGED, (len(store.images), 1, 1))
    by_split: list[str] = []
    unchanged = done = 0
    for split in store.splits:
        rows = store.rows(split)
        of_split = _judge(store, rows, method)
        for slide in np.unique(store.groups[rows]).tolist():
            own = rows[store.groups[rows] == slide]
            found = _judge(store, own, method) if slide >= 0 else None
            if found is None and split not in by_split:
                by_split.append(split)
            found = of_split if found is None else found
            if found is not None:
                maps[own] = found
            else:
                unchanged += len(own)
            done += len(own)
            progress("judging the stain", done, len(store.images))
    parts = tuple(_part(store, split, maps) for split in SPLITS if split in store.splits)
    notes = [
        f"the stain of every patch is normalised ({method}); unlabelled test patches with the "
        "statistics of test patches"
    ]
    if by_split:
        where = "where slides are not known or hold too little tissue"
        notes.append(
            f"{where}, the stain was judged for the split as a whole: {', '.join(by_split)}"
        )
        if method == "macenko":
            notes.append(
                "macenko looks for the two stains of one slide: for a split as a whole reinhard "
                "suits better"
            )
    if unchanged:
        notes.append(f"{unchanged:,} patches hold too little tissue and keep their stain")
    # copies are counted anew
    kept = [note for note in store.notes if not note.startswith((COPIES, KEPT))]
    stain = {"method": method, "version": VERSION, "of": store.fingerprint}
    return RawCompetition(
        store.profile, parts, store.manifest["inventory"], (*kept, *notes), stain=stain
    )


def is_of(made: Store, store: Store) -> bool:
    """Was `made` normalised from `store`, in the way this version does it?"""
    stain = made.manifest.get("stain") or {}
    return stain.get("of") == store.fingerprint and stain.get("version") == VERSION


def _judge(store: Store, rows: NDArray[np.int64], method: StainMethod) -> Floats | None:
    return normalisation(method, store.sparse[draw(rows, SAMPLE, 0)])


def _part(store: Store, split: Split, maps: Floats) -> Part:
    rows = store.rows(split)
    names: list[str] = store.manifest["slides"]
    slides = (
        [names[i] for i in store.groups[rows].tolist()] if (store.groups[rows] >= 0).all() else None
    )
    return Part(
        split,
        store.ids[rows].tolist(),
        store.labels[rows],
        partial(_blocks, store.images, rows, maps),
        slides,
    )


def _blocks(images: Images, rows: NDArray[np.int64], maps: Floats) -> Generator[Images, None, None]:
    size = block_rows(images.shape[1])
    for start in range(0, len(rows), size):
        few = rows[start : start + size]
        yield normalise(images[few], maps[few])
