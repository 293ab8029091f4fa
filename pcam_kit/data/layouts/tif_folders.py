"""Layout `tif_folders` (Kaggle's PCam): train/*.tif, test/*.tif, train_labels.csv.

There may be a sample_submission.csv, which gives the order of the test patches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np

from pcam_kit.competitions import Competition
from pcam_kit.data.raw import Images, Part, RawCompetition, block_rows, describe_counts
from pcam_kit.data.sources.files import RawFiles, missing_error, read_file, require_file
from pcam_kit.data.sources.tables import read_ids, read_labels
from pcam_kit.errors import DataError
from pcam_kit.formatting import few

LABELS = "train_labels.csv"
SAMPLE = "sample_submission.csv"
SUFFIXES = (".tif", ".tiff")
WORKERS = 4  # each waits for the disk part of the time; decoding and reading free the interpreter


def in_layout(name: str) -> bool:
    """Whether a file of this base name belongs to the layout."""
    return name == LABELS or name.endswith(SUFFIXES)


def open_layout(profile: Competition, files: RawFiles) -> RawCompetition:
    """The parts of the layout; pixels are read later.

    Raises DataError when the tifs do not fit the labels or the sample submission.
    """
    looked_for = f"{LABELS} beside train/ and test/"
    labels_name = require_file(files, [LABELS], "labels", looked_for, profile.slug)
    root = labels_name.removesuffix(LABELS)
    train, test = (_tifs(files, profile, f"{root}{folder}/") for folder in ("train", "test"))
    ids, labels = read_labels(files, labels_name, profile.id_column, profile.target_column)
    _check_equal(
        files,
        set(ids),
        set(train),
        if_missing=f"labelled in {labels_name} but missing in {root}train",
        if_extra=f"in {root}train but without a label",
    )
    sample = f"{root}{SAMPLE}"
    test_ids = sorted(test)
    if sample in files.sizes:
        test_ids = read_ids(files, sample, profile.id_column)
        _check_equal(
            files,
            set(test_ids),
            set(test),
            if_missing=f"asked for by {sample} but missing in {root}test",
            if_extra=f"in {root}test but not in {sample}",
        )
    size = profile.image_size
    train_names = [train[key] for key in ids]
    test_names = [test[key] for key in test_ids]
    unknown = np.full(len(test_ids), -1, np.int8)
    parts = (
        Part("train", ids, labels, partial(_blocks, files, train_names, size)),
        Part("test", test_ids, unknown, partial(_blocks, files, test_names, size)),
    )
    inventory = [
        {
            "name": f"{root}{folder}/*.tif",
            "files": len(names),
            "bytes": sum(files.sizes[name] for name in names),
        }
        for folder, names in (("train", train_names), ("test", test_names))
    ]
    for name in (labels_name, sample):
        if name in files.sizes:
            inventory.append({"name": name, "files": 1, "bytes": files.sizes[name]})
    return RawCompetition(profile, parts, inventory, describe_counts(profile, parts))


def _tifs(files: RawFiles, profile: Competition, folder: str) -> dict[str, str]:
    """The names of the tifs below `folder`, by id. Raises DataError for none, or repeated ids."""
    names = [
        name for name in files.sizes if name.startswith(folder) and name.lower().endswith(SUFFIXES)
    ]
    if not names:
        raise missing_error(files, f"{folder}*.tif", f"tifs in {folder}", profile.slug)
    result = {name.rpartition("/")[2].rpartition(".")[0]: name for name in names}
    if len(result) < len(names):
        unique = set(result.values())
        repeated = [name for name in names if name not in unique]
        raise DataError(
            f"{files.location}: {len(repeated):,} ids have more than one tif in {folder}: "
            f"{few(repeated, len(repeated))}"
        )
    return result


def _check_equal(
    files: RawFiles, expected: set[str], existing: set[str], *, if_missing: str, if_extra: str
) -> None:
    """Raises DataError when the two sets differ, with counts and the first names of each kind."""
    faults: list[str] = []
    for ids, fault in ((expected - existing, if_missing), (existing - expected, if_extra)):
        if ids:
            subject = "id is" if len(ids) == 1 else "ids are"
            faults.append(f"{len(ids):,} {subject} {fault}: {few(sorted(ids), len(ids))}")
    if faults:
        raise DataError(
            f"{files.location}: {'; '.join(faults)}",
            hint="download or unpack the files again; both must list the same ids",
        )


def _blocks(files: RawFiles, names: Sequence[str], size: int) -> Generator[Images, None, None]:
    """Decoded blocks in order, a few ahead of the reader."""
    rows = max(1, block_rows(size) // 2)
    # OpenCV's own messages do not name the file; `decode` raises errors that do
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    with ThreadPoolExecutor(WORKERS) as pool:
        ahead: deque[Future[Images]] = deque()
        try:
            for start in range(0, len(names), rows):
                ahead.append(pool.submit(_decode_all, files, names[start : start + rows], size))
                if len(ahead) > WORKERS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            cv2.utils.logging.setLogLevel(level)


def _decode_all(files: RawFiles, names: Sequence[str], size: int) -> Images:
    block = np.empty((len(names), size, size, 3), np.uint8)
    for row, name in zip(block, names, strict=True):
        decode(files, name, size, row)
    return block


def decode(files: RawFiles, name: str, size: int, out: Images) -> None:
    """Decode one tif to RGB in `out`: uint8 [size, size, 3].

    Raises DataError naming what was expected and found.
    """
    data = read_file(files, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        image = None
    expected = f"expected a whole {size}x{size} 8-bit RGB image"
    if image is None:
        raise DataError(
            f"{files.location}: {name}: {expected}, found {len(data):,} bytes that do not decode",
            hint="download the file again",
        )
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        height, width = image.shape[:2]
        channels = image.shape[2] if image.ndim == 3 else 1
        raise DataError(
            f"{files.location}: {name}: {expected}, found {width}x{height}, {channels} channels of "
            f"{image.dtype}"
        )
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=out)
