"""Layout `pcam_h5`: camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5[.gz] and *_meta.csv.

The slides are in *_meta.csv[.gz]. Kaggle's copy (the dataset
andrewmvd/metastatic-tissue-classification-patchcamelyon) has {training,validation,test}_split.h5
for x. The long stem may be missing: train_x.h5.
"""

from __future__ import annotations

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import SPLITS, RawCompetition
from pcam_kit.data.sources.hdf5 import PartFiles, open_h5_parts
from pcam_kit.data.sources.samples import find_sample, row_ids
from pcam_kit.data.sources.search import find_file, matching, require_file
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.data.sources.tables import read_columns

STEM = "camelyonpatch_level_2_split_"
# of x, in Kaggle's copy
KAGGLE_STEMS: dict[Split, str] = {
    "train": "training_split",
    "valid": "validation_split",
    "test": "test_split",
}
SLIDE = "wsi"  # the column of the meta file


def fits(files: SourceFiles) -> bool:
    """Whether there are files of this layout."""
    return any(matching(files, _names(split, "x")) for split in SPLITS)


def open_layout(profile: Competition, files: SourceFiles) -> RawCompetition:
    """The parts of the layout; train (x and y) and test (x) are required.

    Valid, the test labels, the slides and a sample submission may be missing. Raises DataError.
    """
    sources: list[PartFiles] = []
    tables: list[str] = []
    for split in SPLITS:
        names = _names(split, "x")
        x = find_file(files, names)
        if split == "valid" and x is None:
            continue
        x = require_file(files, names, f"{split} part", " or ".join(names[:2]), profile.slug)
        names = _names(split, "y")
        y = find_file(files, names)
        if split != "test":
            y = require_file(files, names, f"{split} labels", " or ".join(names[:2]), profile.slug)
        meta = find_file(files, _names(split, "meta", "csv"))
        slides = None
        if meta is not None:
            tables.append(meta)
            slides = read_columns(files, meta, [SLIDE])[0]
        ids = None
        if split == "test":
            sample = find_sample(files, profile)
            ids = row_ids(files, sample)
            tables.extend([] if sample is None else [sample.name])
        sources.append(PartFiles(split, x, y, ids, slides))
    return open_h5_parts(profile, files, sources, tables, [])


def _names(split: Split, key: str, suffix: str = "h5") -> list[str]:
    """The names of a file: PCam's own first, then Kaggle's, then those without the stem."""
    stems = [f"{STEM}{split}_{key}"]
    if key == "x":
        stems.append(KAGGLE_STEMS[split])
    stems.append(f"{split}_{key}")
    return [f"{stem}.{suffix}{packed}" for stem in stems for packed in ("", ".gz")]
