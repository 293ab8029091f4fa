"""Layout `lab_h5`: train.h5 (x, y), valid.h5 (x, y), test_x.h5 (x), in patchcam/ or at the top.

Ids are row numbers.
"""

from __future__ import annotations

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.sources.files import RawFiles, find
from pcam_kit.data.sources.hdf5 import PartFiles, open_h5_parts, require
from pcam_kit.data.sources.tables import read_ids

TRAIN = ("train.h5", "train.h5.gz")
VALID = ("valid.h5", "valid.h5.gz", "val.h5", "val.h5.gz")
TEST = ("test_x.h5", "test_x.h5.gz", "test.h5", "test.h5.gz")
TEST_LABELS = ("test_y.h5", "test_y.h5.gz")
SAMPLE = ("sample_submission.csv", "sampleSubmission.csv")


def knows(name: str) -> bool:
    """Does a file of this base name belong to the layout?"""
    return name in (*TRAIN, *VALID, *TEST)


def open_lab_h5(profile: Competition, files: RawFiles) -> RawCompetition:
    """Train and test must be there.

    A sample submission whose ids are not row numbers names the test rows, in its order.
    """
    train = require(files, find(files, TRAIN), "train part", TRAIN[:1], profile.slug)
    valid = find(files, VALID)
    test = require(files, find(files, TEST), "test part", TEST[:1], profile.slug)
    sample = find(files, SAMPLE)
    ids: list[str] | None = None
    notes: list[str] = []
    if sample is not None:
        ids = read_ids(files, sample, profile.id_column)
        if set(ids) == {str(i) for i in range(len(ids))}:
            ids = [str(i) for i in range(len(ids))]
        else:
            notes.append(
                f"the ids of {sample} are not row numbers: they are taken to name the test rows "
                "in order"
            )
    sources = [PartFiles("train", train, train)]
    if valid is not None:
        sources.append(PartFiles("valid", valid, valid))
    sources.append(PartFiles("test", test, find(files, TEST_LABELS), ids))
    return open_h5_parts(profile, files, sources, [sample] if sample else [], notes)
