"""Layout `lab_h5`: train.h5 (x, y), valid.h5 (x, y), test_x.h5 (x), in patchcam/ or at the top.

Ids are row numbers.
"""

from __future__ import annotations

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.sources.hdf5 import PartFiles, open_h5_parts
from pcam_kit.data.sources.samples import find_sample, row_ids
from pcam_kit.data.sources.search import find_file, matching, require_file
from pcam_kit.data.sources.source import SourceFiles

TRAIN = ("train.h5", "train.h5.gz")
VALID = ("valid.h5", "valid.h5.gz", "val.h5", "val.h5.gz")
TEST = ("test_x.h5", "test_x.h5.gz", "test.h5", "test.h5.gz")
TEST_LABELS = ("test_y.h5", "test_y.h5.gz")


def fits(files: SourceFiles) -> bool:
    """Whether there are files of this layout."""
    return bool(matching(files, (*TRAIN, *VALID, *TEST)))


def open_layout(profile: Competition, files: SourceFiles) -> RawCompetition:
    """The parts of the layout; train and test are required.

    A sample submission whose ids are not row numbers names the test rows, in its order. Raises
    DataError.
    """
    train = require_file(files, TRAIN, "train part", TRAIN[0], profile.slug)
    valid = find_file(files, VALID)
    test = require_file(files, TEST, "test part", TEST[0], profile.slug)
    sample = find_sample(files, profile)
    sources = [PartFiles("train", train, train)]
    if valid is not None:
        sources.append(PartFiles("valid", valid, valid))
    ids = row_ids(files, sample)
    sources.append(PartFiles("test", test, find_file(files, TEST_LABELS), ids))
    tables = [] if sample is None else [sample.name]
    return open_h5_parts(profile, files, sources, tables, [])
