"""The patches of a report: which ones, their pixels, and what the network looks at in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.config.schema import WithoutNetwork
from pcam_kit.data.folds import patch_names
from pcam_kit.data.store import Store
from pcam_kit.data.synthetic import CENTRE
from pcam_kit.errors import PcamError
from pcam_kit.html_report.choice import Choice, choose_disagreements, choose_patches
from pcam_kit.html_report.contents import Galleries, Gallery, Outline, RunPart, Tile
from pcam_kit.metrics import Floats
from pcam_kit.pipeline.images import take
from pcam_kit.progress import SILENT, Display
from pcam_kit.saliency import occlusion_map
from pcam_kit.training.backend import quiet_import
from pcam_kit.workflows.plan import rows_of


@dataclass(frozen=True, eq=False)
class Shown:
    """The runs whose patches are shown, with their store; groups: [n], None where unknown."""

    parts: Sequence[RunPart]
    store: Store
    split: str
    groups: NDArray[np.int32] | None = field(repr=False)


def collect_galleries(shown: Shown, *, saliency: bool, display: Display = SILENT) -> Galleries:
    """The galleries: errors and typical patches of one run, or disagreements of several.

    saliency: whether to compute occlusion maps.
    """
    parts, store, groups = shown.parts, shown.store, shown.groups
    rows = rows_of(parts[0].run, store, shown.split)
    labels = store.labels[rows]
    members = [part.scored.probabilities for part in parts]
    thresholds = [part.scored.scores.threshold for part in parts]
    if len(parts) == 1:
        choices = choose_patches(labels, members[0], thresholds[0])
    else:
        choices = choose_disagreements(labels, members, thresholds)
    crops = {store.crop_size(part.run.experiment.data.crop) for part in parts}
    crop = crops.pop() if len(crops) == 1 else store.patch_size
    places = np.unique(np.concatenate([choice.rows for choice in choices]))
    maps, notes = ({}, [])
    if saliency and places.size:
        maps, notes = _saliency(shown, rows, places, display)
    names: list[Any] = store.manifest.get("slides", [])
    ids = patch_names(store, rows)

    def tile(i: int) -> Tile:
        slide = None if groups is None else int(groups[i])
        return Tile(
            id=str(ids[i]),
            label=int(labels[i]),
            probabilities=[float(member[i]) for member in members],
            pixels=np.asarray(store.images[rows[i]]),
            saliency=maps.get(i),
            slide=str(names[slide]) if slide is not None and 0 <= slide < len(names) else None,
        )

    return Galleries(
        galleries=[_gallery(choice, [tile(i) for i in choice.rows.tolist()]) for choice in choices],
        outlines=outlines_of(store.patch_size, crop),
        patch_size=store.patch_size,
        crop=crop,
        notes=notes,
    )


def _gallery(choice: Choice, tiles: list[Tile]) -> Gallery:
    return Gallery(choice.key, choice.title, choice.text, choice.total, tiles)


def outlines_of(patch_size: int, crop: int) -> list[Outline]:
    """The centre that decides the label, and what the network saw, where they are less than all."""
    outlines: list[Outline] = []
    if patch_size > CENTRE:
        seen = " It is also all that the network saw." if crop == CENTRE else ""
        text = f"The square is the centre {CENTRE} x {CENTRE}, which decides the label.{seen}"
        outlines.append(Outline(CENTRE, text, "label"))
    if crop < patch_size and crop != CENTRE:
        text = f"The network saw the dashed square, {crop} x {crop}."
        outlines.append(Outline(crop, text, "seen"))
    return outlines


def _saliency(
    shown: Shown, rows: NDArray[np.int64], places: NDArray[np.int64], display: Display
) -> tuple[dict[int, Floats], list[str]]:
    """An occlusion map for each of the `places` in the split; or why there is none."""
    run = shown.parts[0].run
    if len(shown.parts) > 1:
        command = f"pcam report {run.name}"
        return {}, [f"Maps of what a network looks at are in the report of each run: {command}"]
    if isinstance(network := run.experiment.model, WithoutNetwork):
        return {}, [f"This run holds {network.holds}: there is no network to make maps of."]
    if run.members:
        return {}, [f"Maps are of one network, such as {run.members[0]}, not of the mean."]
    with quiet_import():
        from pcam_kit.inference import load_trained
    try:
        model = load_trained(run)
    except PcamError as error:
        return {}, [f"No maps of what the network looks at: {error.message} ({error.hint})."]
    patches = take(
        shown.store.images, rows[places], shown.store.crop_size(run.experiment.data.crop)
    )
    maps: dict[int, Floats] = {}
    with display.work() as progress:
        for done, (i, patch) in enumerate(zip(places.tolist(), patches, strict=True), start=1):
            maps[i] = occlusion_map(lambda x: np.asarray(model.predict_on_batch(x))[:, 0], patch)
            progress("what the network looks at", done, len(places))
    return maps, []
