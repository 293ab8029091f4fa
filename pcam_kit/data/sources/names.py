"""Names of raw files as browsers, scripts and people change them, back to what was published."""

from __future__ import annotations

import os
import re
import unicodedata
from contextlib import suppress

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
LOSSY = (".jpg", ".jpeg")
# of a split's folder, as people call it
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
# of a class
CLASS_FOLDERS = {
    "0": 0,
    "1": 1,
    "class0": 0,
    "class1": 1,
    "class_0": 0,
    "class_1": 1,
    "negative": 0,
    "positive": 1,
    "normal": 0,
    "tumor": 1,
    "tumour": 1,
}
# each is what one kind of program adds to a name
ADDED = re.compile(
    r"[?&@][\w-]+=.*$"  # wget: the query of the address
    r"|\s*\(\d+\)"  # browsers: a second download
    r"|^copy of |\s*-\s*copy(?=[.(\s]|$)"  # Explorer and Finder: a copy
    r"|(?<=\.csv)\.txt$",  # Notepad
    re.IGNORECASE,
)
PART = re.compile(r"(-\d{8}T\d{6}Z(-\d+)?)?(-\d{1,3})?$", re.IGNORECASE)  # Drive, of several zips


def base_name(name: str) -> str:
    """The name without its folders."""
    return name.rpartition("/")[2]


def plain_name(name: str) -> str:
    """The base name in lower case, without what programs add: `Train (1).H5` -> `train.h5`."""
    return without_additions(base_name(name)).lower()


def without_additions(text: str) -> str:
    """A base name without what programs add: `a (1)` -> `a`."""
    return ADDED.sub("", text).strip()


def stem_of(archive: str) -> str:
    """What an archive is called after: `train-20240101T000000Z-001.zip` -> `train`."""
    name = plain_name(archive)
    suffix = max((end for end in ARCHIVES if name.endswith(end)), key=len, default="")
    return PART.sub("", name.removesuffix(suffix))


def is_archive(name: str) -> bool:
    """Whether the name is that of an archive. `.h5.gz` and `.csv.gz` are single files."""
    return plain_name(name).endswith(ARCHIVES)


def is_image(name: str) -> bool:
    """Whether the name is that of a picture."""
    return name.lower().endswith(IMAGES)


def image_key(name: str) -> str:
    """What an id and an image's name have in common: the base name without the image's ending.

    As Unicode has it in one form, also where the locale has no UTF-8.
    """
    base = base_name(name)
    if is_image(base):
        base = base[: base.rindex(".")]
    if base.isascii():
        return base
    with suppress(UnicodeError):  # a name from an archive, which this locale has not
        base = os.fsencode(base).decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", base)
