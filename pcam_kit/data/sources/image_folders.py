"""Images in folders that are called after splits and classes, and what their ids are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.sources.names import (
    CLASS_FOLDERS,
    SPLIT_FOLDERS,
    image_key,
    without_additions,
)
from pcam_kit.data.sources.search import missing_error
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import printable


@dataclass(frozen=True)
class Found:
    """The images of one split, by what their names and ids have in common, and their folder."""

    images: dict[str, str]
    folder: str


def images_in_classes(files: SourceFiles, split: Split) -> Found | None:
    """The images of a split in class folders; train where no folder is called after a split."""
    folders = [
        folder for folder in files.images_by_folder if (_split_of(folder)[0] or "train") == split
    ]
    names = [name for folder in folders for name in files.images_by_folder[folder]]
    if not names:
        return None
    images = {image_key(name): name for name in names}
    if len(images) < len(names):  # 0/0.png and 1/0.png
        images = {name[: name.rindex(".")]: name for name in names}
    return Found(_unique(files, images, names, split), printable(folders[0]))


def images_of(files: SourceFiles, profile: Competition, root: str, split: Split) -> Found:
    """The images of a split: those in the least deep folder of that name, below `root` if possible.

    Raises DataError for none, or repeated ids.
    """
    places: dict[str, list[str]] = {}  # the folders with images, by the folder of the split
    for folder in files.images_by_folder:
        below = f"{folder}/".startswith(root)
        kind, place = _split_of(folder, len(root) if below else 0)
        if not kind:
            kind, place = _split_of(folder)  # the table is in train/ itself
        if kind == split:
            places.setdefault(place, []).append(folder)
    below = [place for place in places if place.startswith(root)]
    depth = min((place.count("/") for place in below or places), default=0)
    chosen = [place for place in below or places if place.count("/") == depth]
    names = [
        name for place in chosen for key in places[place] for name in files.images_by_folder[key]
    ]
    if not names:
        looked_for = f"images (.tif, .png, .jpg) in {printable(root)}{split}/"
        raise missing_error(files, f"{printable(root)}{split}/*.tif", looked_for, profile.slug)
    images = {image_key(name): name for name in names}
    folder = printable(chosen[0].rstrip("/"))
    return Found(_unique(files, images, names, folder), folder)


def _unique(
    files: SourceFiles, images: dict[str, str], names: Sequence[str], folder: str
) -> dict[str, str]:
    """`images` without copies of others, such as `a (1).tif` beside `a.tif`.

    Raises DataError when some of `names` are not in it, having the same id.
    """
    if len(images) == len(names):
        copies = [
            key
            for key in images
            if (" " in key or "(" in key)
            and (original := without_additions(key)) != key
            and original in images
            and files.sizes[images[original]] == files.sizes[images[key]]
        ]
        if copies:
            shown = few(map(printable, copies), len(copies))
            files.notes.append(f"left out: {len(copies):,} images are copies: {shown}")
        dropped = set(copies)
        return {key: name for key, name in images.items() if key not in dropped}
    unique = set(images.values())
    repeated = [printable(name) for name in names if name not in unique]
    raise DataError(
        f"{files.location}: {len(repeated):,} ids have more than one image in {folder}: "
        f"{few(repeated, len(repeated))}"
    )


def folder_of(name: str) -> str:
    """The folders of a name."""
    return name.rpartition("/")[0]


def _split_of(folder: str, start: int = 0) -> tuple[str, str]:
    """The split that a folder belongs to, by the first part of its path from `start` on.

    Also the path so far, as `a/train/`. ("", "") for no split.
    """
    end = start
    for part in folder[start:].split("/"):
        end += len(part) + 1
        if part.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[part.lower()], folder[: end - 1] + "/"
    return "", ""


@cache
def class_of(folder: str) -> int:
    """The class that a folder is called after, 0 or 1; -1: none."""
    parts = [part for part in folder.lower().split("/") if part in CLASS_FOLDERS]
    return CLASS_FOLDERS[parts[-1]] if parts else -1


def has_classes(files: SourceFiles) -> bool:
    """Whether the images for training are in folders called after both classes, and no others."""
    classes = {
        class_of(folder)
        for folder in files.images_by_folder
        if _split_of(folder)[0] in ("", "train") and folder
    }
    return classes == {0, 1}
