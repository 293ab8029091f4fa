"""Layout `lab_h5`: train.h5 (x, y), valid.h5 (x, y), test_x.h5 (x), in patchcam/ or at the top.

Ids are row numbers.
"""

from __future__ import annotations

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import RawCompetition
from pcam_kit.data.sources.files import RawFiles, find_file, require_file
from pcam_kit.data.sources.hdf5 import PartFiles, open_h5_parts
from pcam_kit.data.sources.tables import read_ids

TRAIN = ("train.h5", "train.h5.gz")
VALID = ("valid.h5", "valid.h5.gz", "val.h5", "val.h5.gz")
TEST = ("test_x.h5", "test_x.h5.gz", "test.h5", "test.h5.gz")
TEST_LABELS = ("test_y.h5", "test_y.h5.gz")
SAMPLE = ("sample_submission.csv", "sampleSubmission.csv")


def in_layout(name: str) -> bool:
    """Whether a file of this base name belongs to the layout."""
    return name in (*TRAIN, *VALID, *TEST)


def open_layout(profile: Competition, files: RawFiles) -> RawCompetition:
    """The parts of the layout; train and test are required.

    A sample submission whose ids are not row numbers names the test rows, in its order. Raises
    DataError.
    """
    train = require_file(files, TRAIN, "train part", TRAIN[0], profile.slug)
    valid = find_file(files, VALID)
    test = require_file(files, TEST, "test part", TEST[0], profile.slug)
    sample = find_file(files, SAMPLE)
    ids: list[str] | None = None
    notes: list[str] = []
    if sample is not None:
        ids = read_ids(files, sample, profile.id_column)
        row_numbers = [str(i) for i in range(len(ids))]
        if set(ids) == set(row_numbers):
            ids = row_numbers
        else:
            notes.append(
                f"the ids of {sample} are not row numbers: they are taken to name the test rows "
                "in order"
            )
    sources = [PartFiles("train", train, train)]
    if valid is not None:
        sources.append(PartFiles("valid", valid, valid))
    sources.append(PartFiles("test", test, find_file(files, TEST_LABELS), ids))
    return open_h5_parts(profile, files, sources, [sample] if sample else [], notes)
