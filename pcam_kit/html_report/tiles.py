"""Patches as the page shows them: size, pictures, outlines, captions and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pcam_kit.html_report import pictures, sentences
from pcam_kit.html_report.contents import Galleries, Gallery, Tile

SHOWN_SIDE = 288  # pixels of a patch on the page: three for each of PatchCamelyon's
MOST_NAMED = 4  # probabilities of a caption; of more runs it has the range
SMALL_SIDE = 192  # of patches with fewer pixels: larger than three times


def view(galleries: Galleries | None) -> dict[str, Any]:
    """What the template of the patches needs."""
    if galleries is None:
        return {"galleries": [], "has_maps": False}
    side = galleries.patch_size
    tile_side = min(SHOWN_SIDE, side * max(3, SMALL_SIDE // side))
    return {
        "galleries": [_gallery(gallery) for gallery in galleries.galleries],
        "tile_side": tile_side,
        "small": tile_side <= SMALL_SIDE,
        "outlines": [
            {"kind": outline.kind, "box": _box(outline.side, side)}
            for outline in galleries.outlines
        ],
        "map_box": _box(galleries.crop, side),
        "has_maps": any(
            tile.saliency is not None for one in galleries.galleries for tile in one.tiles
        ),
        "patches_text": _patches_text(galleries, tile_side),
        "saliency_text": (
            "The maps show occlusion sensitivity: each spot of a patch is covered in turn, by "
            "blurred tissue and by white, and the colour says whether the log-odds of tumour fall "
            "or rise more than for its other spots. The caption has the range, in log-odds; each "
            "map’s colours are as strong as its own range. A map shows what the answer rests on, "
            "not where tumour is. Point at a patch to see it without its map."
        ),
        "colours": {"for_tumour": pictures.FOR, "against": pictures.AGAINST},
    }


def _patches_text(galleries: Galleries, tile_side: int) -> str:
    factor = tile_side / galleries.patch_size
    size = f"Patches of {galleries.patch_size} x {galleries.patch_size} pixels"
    text = f"{size}, {factor:.3g} times as large." if factor > 1 else f"{size}."
    return " ".join([text, *(outline.text for outline in galleries.outlines)])


def _box(inner: int, outer: int) -> str:
    """The place of a centred square, as CSS variables."""
    return f"--at: {50 - 50 * inner / outer:.3f}%; --side: {100 * inner / outer:.3f}%"


def _gallery(gallery: Gallery) -> dict[str, Any]:
    return {
        "title": gallery.title,
        "text": gallery.text,
        "total": gallery.total,
        "tiles": [_tile(tile) for tile in gallery.tiles],
    }


def _tile(tile: Tile) -> dict[str, Any]:
    what = "tumour" if tile.label == 1 else "normal"
    said = _said(tile.probabilities)
    where = f" of {tile.slide}" if tile.slide is not None else ""
    saliency = tile.saliency
    return {
        "id": f"{tile.id}{f' · {tile.slide}' if tile.slide is not None else ''}",
        "what": what,
        "said": said,
        "uri": Markup(pictures.patch_uri(tile.pixels)),
        "alt": f"patch {tile.id}{where}, labelled {what}, {said}",
        "map": None if saliency is None else Markup(pictures.map_uri(saliency)),
        "effect": "" if saliency is None else sentences.effect(saliency),
        "map_alt": "" if saliency is None else sentences.describe_map(saliency),
    }


def _said(probabilities: Sequence[float]) -> str:
    """The probability of a run, those of several, or the range of many."""
    if len(probabilities) > MOST_NAMED:
        low, high = (_probability(end(probabilities)) for end in (min, max))
        return f"probabilities from {low} to {high}"
    word = "probability" if len(probabilities) == 1 else "probabilities"
    return f"{word} {', '.join(map(_probability, probabilities))}"


def _probability(p: float) -> str:
    """Enough digits that 0.99996 is not shown as 1."""
    if 0 < p < 0.001:
        return "< 0.001"
    if 0.999 < p < 1:
        return "> 0.999"
    return f"{p:.3f}"
