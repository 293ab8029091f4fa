"""Layout `pcam_h5`: camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5[.gz], with slides in
*_meta.csv[.gz].

Kaggle's copy (the dataset andrewmvd/metastatic-tissue-classification-patchcamelyon) has
{training,validation,test}_split.h5 for x.
"""

from __future__ import annotations

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import SPLITS, RawCompetition
from pcam_kit.data.sources.files import RawFiles, find
from pcam_kit.data.sources.hdf5 import PartFiles, open_h5_parts, require
from pcam_kit.data.sources.tables import read_columns

STEM = "camelyonpatch_level_2_split_"
# on Kaggle
IMAGES: dict[Split, str] = {
    "train": "training_split",
    "valid": "validation_split",
    "test": "test_split",
}
SLIDE = "wsi"  # the column of the meta file


def knows(name: str) -> bool:
    """Does a file of this base name belong to the layout?"""
    return name.startswith((STEM, *IMAGES.values())) and name.endswith((".h5", ".h5.gz"))


def open_pcam_h5(profile: Competition, files: RawFiles) -> RawCompetition:
    """Train (x and y) and test (x) must be there; valid, the test labels and the slides may be
    missing.
    """
    sources: list[PartFiles] = []
    metas: list[str] = []
    for split in SPLITS:
        x = find(files, _names(split, "x"))
        if x is None and split == "valid":
            continue
        x = require(files, x, f"{split} part", _names(split, "x"), profile.slug)
        y = find(files, _names(split, "y"))
        if split != "test":
            y = require(files, y, f"{split} labels", _names(split, "y"), profile.slug)
        meta = find(files, [f"{STEM}{split}_meta.csv", f"{STEM}{split}_meta.csv.gz"])
        slides = None
        if meta is not None:
            metas.append(meta)
            slides = read_columns(files, meta, [SLIDE])[0]
        sources.append(PartFiles(split, x, y, slides=slides))
    return open_h5_parts(profile, files, sources, metas, [])


def _names(split: Split, key: str) -> list[str]:
    stems = [f"{STEM}{split}_{key}", *([IMAGES[split]] if key == "x" else [])]
    return [f"{stem}{end}" for stem in stems for end in (".h5", ".h5.gz")]
