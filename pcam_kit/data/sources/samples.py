"""Sample submissions: which test ids a competition wants, in its order."""

from __future__ import annotations

from dataclasses import dataclass

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import find_repeated
from pcam_kit.data.sources.search import find_file
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.data.sources.tables import read_columns
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import printable

NAMES = ("sample_submission.csv", "sampleSubmission.csv", "sample_submission.csv.gz")
MADE_UP = "no sample submission: the ids of the test patches are row numbers"


@dataclass(frozen=True)
class Sample:
    """A sample submission: the file's name and its ids, in its order."""

    name: str
    ids: list[str]


def find_sample(files: SourceFiles, profile: Competition) -> Sample | None:
    """The sample submission among the files; None where there is none.

    Raises DataError when its columns are not those of the profile, or an id is repeated.
    """
    name = find_file(files, NAMES)
    if name is None:
        return None
    try:
        ids, _ = read_columns(files, name, profile.header)
    except DataError as error:
        hint = (
            f"{profile.slug} wants the columns {','.join(profile.header)}; if the competition has "
            "others, change id_column and target_column in a copy of its profile"
        )
        raise DataError(error.message, hint=error.hint or hint) from error
    repeated = find_repeated(ids)
    if repeated:
        raise DataError(
            f"{files.label(name)} repeats {len(repeated):,} ids: "
            f"{few(map(printable, repeated), len(repeated))}"
        )
    return Sample(name, ids)


def row_ids(files: SourceFiles, sample: Sample | None) -> list[str] | None:
    """The ids of test patches that have no names of their own, only an order.

    None: row numbers, as also where the sample says so, in any order. Other ids name the rows in
    the sample's order. Raises DataError for numbers that are not in order: the rows and the order
    would contradict each other.
    """
    if sample is None:
        files.id_warnings.append(MADE_UP)
        return None
    n = len(sample.ids)
    if set(sample.ids) == {str(i) for i in range(n)}:
        return [str(i) for i in range(n)]
    if all(text.isascii() and text.isdecimal() for text in sample.ids):
        numbers = [int(text) for text in sample.ids]
        if numbers != sorted(numbers):
            raise DataError(
                f"{files.label(sample.name)}: the ids are numbers, but neither 0 to {n - 1:,} nor "
                f"in order ({few(sample.ids, n)}): which patch each one means is not known",
                hint="sort its rows as the patches are, or ask the competition's host",
            )
    files.notes.append(
        f"the ids of {printable(sample.name)} are not row numbers: they are taken to name the test "
        "rows in order"
    )
    return sample.ids
