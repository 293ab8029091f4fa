"""Layout `tif_folders` (Kaggle's PCam): train/*.tif, test/*.tif, train_labels.csv.

There may be a sample_submission.csv, which gives the order of the test patches. Without
train_labels.csv the labels are the names of folders: train/0, train/1, or 0 and 1 alone. The images
may be png or jpg.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from pcam_kit.competitions import Competition, Split
from pcam_kit.data.raw import (
    SPLITS,
    Images,
    Labels,
    Part,
    RawCompetition,
    block_rows,
    describe_counts,
    find_repeated,
)
from pcam_kit.data.sources.files import RawFiles
from pcam_kit.data.sources.image_folders import (
    Found,
    class_of,
    folder_of,
    has_classes,
    images_in_classes,
    images_of,
)
from pcam_kit.data.sources.images import decode
from pcam_kit.data.sources.names import LOSSY, base_name, image_key
from pcam_kit.data.sources.samples import Sample, find_sample
from pcam_kit.data.sources.search import find_file, matching, missing_error
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.data.sources.tables import read_labels
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import printable

LABELS = ("train_labels.csv", "train_labels.csv.gz")
LOOKED_FOR = f"{LABELS[0]} beside train/ and test/"
WORKERS = 4  # each waits for the disk part of the time; decoding and reading free the interpreter


@dataclass(frozen=True)
class ImagePart:
    """One split: row i of `ids`, `labels` and `images` is one patch.

    labels: int8, -1 where unknown. images: names of files. folder: where they are.
    """

    split: Split
    ids: list[str]
    labels: Labels
    images: list[str]
    folder: str

    def opened(self, files: SourceFiles, size: int) -> Part:
        """The part as the store reads it. Raises DataError for an id that is no text."""
        wrong = [name for name in self.ids if not name.isprintable()]
        if wrong:
            raise DataError(
                f"{files.location}: {len(wrong):,} ids or names of images in {self.folder} are not "
                f"printable UTF-8 text: {few(map(printable, wrong), len(wrong))}",
                hint="rename them: an id must be text",
            )
        blocks = partial(_blocks, files, self.images, size)
        return Part(self.split, self.ids, self.labels, blocks)

    def inventory(self, files: SourceFiles) -> dict[str, Any]:
        """How many files these are, and their bytes."""
        endings = {name[name.rindex(".") :].lower() for name in self.images}
        ending = endings.pop() if len(endings) == 1 else ""
        size = sum(files.sizes[name] for name in self.images)
        name = f"{self.folder}/*{ending}"
        return {"name": name, "files": len(self.images), "bytes": size}


def fits(files: SourceFiles) -> bool:
    """Whether there are files of this layout: a table of labels, or images in class folders."""
    return bool(matching(files, LABELS)) or has_classes(files)


def is_copy(files: SourceFiles) -> bool:
    """Whether these are class folders, as the patches of any competition are passed on."""
    return not matching(files, LABELS) and has_classes(files)


def open_layout(profile: Competition, files: SourceFiles) -> RawCompetition:
    """The parts of the layout; pixels are read later.

    Raises DataError when the images do not fit the labels or the sample submission.
    """
    labels = find_file(files, LABELS)
    sample = find_sample(files, profile)
    if labels is not None:
        parts, tables = _labelled_parts(profile, files, labels, sample), [labels]
    elif has_classes(files):
        parts, tables = _class_parts(profile, files, sample), []
    else:
        raise missing_error(files, "labels", LOOKED_FOR, profile.slug, LABELS)
    if sample is not None:
        tables.append(sample.name)
    inventory = [part.inventory(files) for part in parts]
    for name in tables:
        inventory.append({"name": printable(name), "files": 1, "bytes": files.sizes[name]})
    lossy = sum(name.lower().endswith(LOSSY) for part in parts for name in part.images)
    if lossy:
        files.notes.append(
            f"{lossy:,} images are jpg, which is lossy: the pixels are not those that were "
            "published, so scores and copies cannot be compared exactly"
        )
    result = tuple(part.opened(files, profile.image_size) for part in parts)
    return RawCompetition(profile, result, inventory, describe_counts(profile, result))


def _labelled_parts(
    profile: Competition, files: SourceFiles, labels_name: str, sample: Sample | None
) -> list[ImagePart]:
    """Train and test where a table has the labels."""
    root = labels_name.removesuffix(base_name(labels_name))
    train, test = (images_of(files, profile, root, split) for split in ("train", "test"))
    texts, labels = read_labels(files, labels_name, profile.id_column, profile.target_column)
    ids = _keys(files, labels_name, texts)
    rows = _rows_in_both(
        files,
        profile,
        ids,
        train,
        if_missing=f"labelled in {printable(labels_name)} but missing in {train.folder}",
        if_extra=f"in {train.folder} but without a label",
    )
    ids, labels = [ids[row] for row in rows], labels[rows]
    images = [train.images[key] for key in ids]
    _check_classes(files, labels_name, images, labels)
    part = ImagePart("train", ids, labels, images, train.folder)
    return [part, _test_part(profile, files, test, sample)]


def _test_part(
    profile: Competition, files: SourceFiles, found: Found, sample: Sample | None
) -> ImagePart:
    """Test, in the sample's order and with its ids, else by name; labels of class folders."""
    if sample is None:
        ids = sorted(found.images)
        images = [found.images[key] for key in ids]
    else:
        keys = _keys(files, sample.name, sample.ids)
        rows = _rows_in_both(
            files,
            profile,
            keys,
            found,
            if_missing=f"asked for by {printable(sample.name)} but missing in {found.folder}",
            if_extra=f"in {found.folder} but not in {printable(sample.name)}",
        )
        lacking = len(keys) - len(rows)
        if lacking:
            files.id_warnings.append(
                f"{lacking:,} test ids that {printable(sample.name)} asks for have no image and "
                "were left out: the competition will not take a CSV without them"
            )
        ids = [sample.ids[row] for row in rows]
        images = [found.images[keys[row]] for row in rows]
    labels = np.array([class_of(folder_of(name)) for name in images], np.int8)
    if (labels < 0).any() or len(np.unique(labels)) < 2:
        labels[:] = -1
    return ImagePart("test", ids, labels, images, found.folder)


def _class_parts(
    profile: Competition, files: SourceFiles, sample: Sample | None
) -> list[ImagePart]:
    """The parts of class folders: of train and valid each image must be in one."""
    parts: list[ImagePart] = []
    for split in SPLITS:
        found = images_in_classes(files, split)
        if found is None:
            continue
        if split == "test":
            parts.append(_test_part(profile, files, found, sample))
            continue
        ids = sorted(found.images)
        images = [found.images[key] for key in ids]
        labels = np.array([class_of(folder_of(name)) for name in images], np.int8)
        outside = [name for name, label in zip(images, labels, strict=True) if label < 0]
        if outside:
            raise DataError(
                f"{files.location}: {len(outside):,} images of {split} are in no class folder: "
                f"{few(map(printable, outside), len(outside))}",
                hint="move them into 0 or 1, or add train_labels.csv",
            )
        parts.append(ImagePart(split, ids, labels, images, found.folder))
    if parts[-1].split != "test":
        error = missing_error(files, "test images", "a folder test/ with images", profile.slug)
        if files.faults or sample is not None:
            raise error
        files.notes.append("there are no test images: runs can be evaluated, not submitted")
    files.notes.append("the labels are the names of the images' folders")
    return parts


def _check_classes(files: SourceFiles, table: str, images: Sequence[str], labels: Labels) -> None:
    """Raises DataError when all images are in class folders, and the table says otherwise."""
    classes = np.array([class_of(folder_of(name)) for name in images], np.int8)
    wrong = int((classes != labels).sum())
    if set(np.unique(classes).tolist()) == {0, 1} and wrong:
        raise DataError(
            f"{files.location}: {wrong:,} images are in the folder of the other class than "
            f"{printable(table)} says",
            hint="keep one of the two: move the table away, or the images into one folder",
        )


def _keys(files: SourceFiles, table: str, ids: list[str]) -> list[str]:
    """What ids and names of images have in common. Raises DataError when ids become equal."""
    keys = [image_key(name) for name in ids]
    if keys == ids:
        return ids
    repeated = find_repeated(keys)
    if repeated:
        raise DataError(
            f"{files.label(table)}: {len(repeated):,} ids differ only in folder or ending: "
            f"{few(map(printable, repeated), len(repeated))}"
        )
    files.notes.append(
        f"ids of {printable(table)} have a folder or an ending such as .tif: they are compared "
        "with the names of the images without it"
    )
    return keys


def _rows_in_both(
    files: SourceFiles,
    profile: Competition,
    ids: Sequence[str],
    found: Found,
    *,
    if_missing: str,
    if_extra: str,
) -> list[int]:
    """The rows of `ids` that have an image; all, unless the caller allows missing ones.

    Raises DataError when the two sets differ, with counts and the first names of each kind.
    """
    expected, existing = set(ids), found.images.keys()
    faults: list[str] = []
    for names, fault in ((expected - existing, if_missing), (existing - expected, if_extra)):
        if names:
            subject = "id is" if len(names) == 1 else "ids are"
            shown = few(map(printable, sorted(names)), len(names))
            faults.append(f"{len(names):,} {subject} {fault}: {shown}")
    rows = [row for row, name in enumerate(ids) if name in existing]
    if not faults:
        return rows
    if not files.allow_missing or not rows:
        raise DataError(
            f"{files.location}: {'; '.join(faults)}",
            hint="download or unpack the files again: both must list the same ids. If rows or "
            f"images were left out on purpose: pcam fetch {profile.slug} --from PATH "
            "--allow-missing goes on with those that match",
        )
    files.notes.extend(f"left out: {fault}" for fault in faults)
    return rows


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
