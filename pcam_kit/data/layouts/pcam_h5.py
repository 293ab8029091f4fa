"""Layout `pcam_h5`: camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5[.gz] and *_meta.csv.

The slides are in *_meta.csv[.gz]. Kaggle's copy (the dataset
andrewmvd/metastatic-tissue-classification-patchcamelyon) has {training,validation,test}_split.h5
for x.
"""

from __future__ import annotations

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import SPLITS, RawCompetition
from pcam_kit.data.sources.files import RawFiles, find_file, require_file
from pcam_kit.data.sources.hdf5 import PartFiles, open_h5_parts
from pcam_kit.data.sources.tables import read_columns

STEM = "camelyonpatch_level_2_split_"
# of x, in Kaggle's copy
KAGGLE_STEMS: dict[Split, str] = {
    "train": "training_split",
    "valid": "validation_split",
    "test": "test_split",
}
SLIDE = "wsi"  # the column of the meta file


def in_layout(name: str) -> bool:
    """Whether a file of this base name belongs to the layout."""
    return name.startswith((STEM, *KAGGLE_STEMS.values())) and name.endswith((".h5", ".h5.gz"))


def open_layout(profile: Competition, files: RawFiles) -> RawCompetition:
    """The parts of the layout; train (x and y) and test (x) are required.

    Valid, the test labels and the slides may be missing. Raises DataError.
    """
    sources: list[PartFiles] = []
    metas: list[str] = []
    for split in SPLITS:
        names = _names(split, "x")
        if split == "valid" and find_file(files, names) is None:
            continue
        x = require_file(files, names, f"{split} part", " or ".join(names), profile.slug)
        names = _names(split, "y")
        y = find_file(files, names)
        if split != "test":
            y = require_file(files, names, f"{split} labels", " or ".join(names), profile.slug)
        meta = find_file(files, [f"{STEM}{split}_meta.csv", f"{STEM}{split}_meta.csv.gz"])
        slides = None
        if meta is not None:
            metas.append(meta)
            slides = read_columns(files, meta, [SLIDE])[0]
        sources.append(PartFiles(split, x, y, slides=slides))
    return open_h5_parts(profile, files, sources, metas, [])


def _names(split: Split, key: str) -> list[str]:
    stems = [f"{STEM}{split}_{key}"]
    if key == "x":
        stems.append(KAGGLE_STEMS[split])
    return [f"{stem}{suffix}" for stem in stems for suffix in (".h5", ".h5.gz")]
