"""A store's patches with their stain normalised, as raw data from which a second store is built."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pcam_kit.competitions import Split
from pcam_kit.config.schema import StainMethod
from pcam_kit.data.raw import SPLITS, Images, Part, RawCompetition, block_rows
from pcam_kit.data.split import draw_rows
from pcam_kit.data.stain import Floats, apply_normalisation, fit_normalisation
from pcam_kit.data.store_reader import Store
from pcam_kit.data.store_writer import COPIES, KEPT
from pcam_kit.progress import Progress

VERSION = 1  # of the normalisation: to be increased when it gives other pixels
SAMPLE = 1000  # patches from which the stain of a slide or split is estimated
IDENTITY = np.eye(3, 4, dtype=np.float32)


def normalise_store(store: Store, method: StainMethod, *, progress: Progress) -> RawCompetition:
    """The patches of `store` in its own splits, normalised by `method`.

    The stain of a slide is estimated from its own patches. Where slides are not known, or one has
    too little tissue, it is estimated from all patches of the split; where those have too little,
    they stay as they are. Patches of the test split are treated like the others, without labels.
    """
    maps = np.tile(IDENTITY, (len(store.images), 1, 1))
    by_split: list[str] = []
    unchanged = done = 0
    for split in store.splits:
        rows = store.rows(split)
        split_map = _fit(store, rows, method)
        for slide in np.unique(store.groups[rows]).tolist():
            slide_rows = rows[store.groups[rows] == slide]
            slide_map = _fit(store, slide_rows, method) if slide >= 0 else None
            if slide_map is None:
                slide_map = split_map
                if split not in by_split:
                    by_split.append(split)
            if slide_map is None:
                unchanged += len(slide_rows)
            else:
                maps[slide_rows] = slide_map
            done += len(slide_rows)
            progress("estimating the stain", done, len(store.images))
    parts = tuple(_part(store, split, maps) for split in SPLITS if split in store.splits)
    # notes on copies and on a store kept aside do not apply to the new store
    notes = [note for note in store.notes if not note.startswith((COPIES, KEPT))]
    notes.extend(_describe(method, by_split, unchanged))
    stain = {"method": method, "version": VERSION, "of": store.fingerprint}
    return RawCompetition(
        store.profile,
        parts,
        store.manifest["inventory"],
        tuple(notes),
        stain=stain,
        id_warnings=tuple(store.id_warnings),
    )


def is_normalised_from(normalised: Store, store: Store) -> bool:
    """Whether `normalised` was built from `store` by this version of the normalisation."""
    stain = normalised.manifest.get("stain") or {}
    return stain.get("of") == store.fingerprint and stain.get("version") == VERSION


def _describe(method: StainMethod, by_split: list[str], unchanged: int) -> list[str]:
    """The notes of a normalised store.

    by_split: the splits where some slides have the stain of the whole split. unchanged: patches.
    """
    notes = [
        f"the stain of every patch is normalised ({method}); unlabelled test patches with the "
        "statistics of test patches"
    ]
    if by_split:
        notes.append(
            "where slides are not known or hold too little tissue, the stain was judged for the "
            f"split as a whole: {', '.join(by_split)}"
        )
        if method == "macenko":
            notes.append(
                "macenko looks for the two stains of one slide: for a split as a whole reinhard "
                "suits better"
            )
    if unchanged:
        notes.append(f"{unchanged:,} patches hold too little tissue and keep their stain")
    return notes


def _fit(store: Store, rows: NDArray[np.int64], method: StainMethod) -> Floats | None:
    return fit_normalisation(method, store.subsampled[draw_rows(rows, SAMPLE, 0)])


def _part(store: Store, split: Split, maps: Floats) -> Part:
    rows = store.rows(split)
    names: list[str] = store.manifest["slides"]
    slides = None
    if (store.groups[rows] >= 0).all():
        slides = [names[number] for number in store.groups[rows].tolist()]
    blocks = partial(_blocks, store.images, rows, maps)
    return Part(split, store.ids[rows].tolist(), store.labels[rows], blocks, slides)


def _blocks(images: Images, rows: NDArray[np.int64], maps: Floats) -> Generator[Images, None, None]:
    size = block_rows(images.shape[1])
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        yield apply_normalisation(images[block], maps[block])
