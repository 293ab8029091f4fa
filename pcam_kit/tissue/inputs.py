"""The images that were named: in folders, archives, by patterns, one by one; and their pixels."""

from __future__ import annotations

import glob
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pcam_kit.data.sources.archives import is_archive_file
from pcam_kit.data.sources.files import FolderFiles, RawFiles, read_file, read_head
from pcam_kit.data.sources.names import IMAGES
from pcam_kit.data.sources.opening import open_files
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.data.sources.tiffs import is_tiff
from pcam_kit.errors import DataError, UsageError
from pcam_kit.formatting import few
from pcam_kit.parsing import (
    HEAD_BYTES,
    describe_bytes,
    open_regular,
    parsing,
    printable,
)
from pcam_kit.tissue.pictures import JPEG, PNG, Picture, UnfitError, damaged, decode_picture
from pcam_kit.tissue.slides import PLAIN_TIFS, SLIDES, has_openslide, missing_error
from pcam_kit.tissue.tifs import INSTALL, decode_small_tif, has_imagecodecs, open_tif

ENDINGS = (*IMAGES, *SLIDES)
MEMBER_BYTES = 256 << 20  # the most that an image in an archive, a PNG or a JPEG may have
GIVE = "give a folder, an archive or image files (" + ", ".join(IMAGES) + "), or a slide"
UNPACK = "look at it, unpack it by hand, then give the folder"
FORMULA = ("=", "+", "-", "@")  # how formulas of spreadsheets begin


@dataclass(frozen=True)
class ImageFile:
    """One image that was named. name: as tables have it. stamp: changes when the file does."""

    name: str
    files: RawFiles
    inner: str
    stamp: tuple[int, int]

    @property
    def label(self) -> str:
        """The file as messages name it."""
        local = self.files.local_path(self.inner)
        return self.files.label(self.inner) if local is None else printable(str(local))

    def open(self) -> Picture:
        """The image. Raises DataError: see `open_image`."""
        return open_image(self)


class ImageFiles:
    """The images that were named, in order, and the archives in which some are."""

    def __init__(self) -> None:
        self.images: list[ImageFile] = []
        self._sources: list[SourceFiles] = []

    def close(self) -> None:
        """Close the archives."""
        for source in self._sources:
            source.close()

    def add(self, path: Path) -> None:
        """Add the image, or all images of a folder or archive. Raises DataError."""
        if path.is_dir() or (path.is_file() and is_archive_file(path)):
            self._add_source(path)
            return
        if not path.exists():
            raise UsageError(f"there is no {printable(str(path))}", hint=GIVE)
        with parsing(lambda reason: DataError(f"{printable(str(path))}: {reason}", hint=GIVE)):
            open_regular(path).close()
        stat = path.stat()
        files = FolderFiles(path.parent, {path.name: stat.st_size})
        stamp = (stat.st_size, stat.st_mtime_ns)
        self.images.append(ImageFile(path.name, files, path.name, stamp))

    def _add_source(self, path: Path) -> None:
        try:
            source = open_files(path, "")
        except DataError as error:  # its hints are about `pcam fetch`
            raise DataError(error.message, hint=UNPACK) from error
        self._sources.append(source)
        faults = source.faults + [
            DataError(f"{place.label} is an archive in an archive, or a compressed tar")
            for place in source.packed
        ]
        if faults:
            raise DataError(
                f"{len(faults)} archives cannot be read: {few(map(str, faults), len(faults))}",
                hint=UNPACK,
            )
        names = sorted(name for name in source.sizes if name.lower().endswith(ENDINGS))
        if not names:
            found = few(map(printable, source.sizes), len(source.sizes)) or "nothing"
            raise DataError(
                f"{printable(str(path))}: expected images ({', '.join(ENDINGS)}), found {found}",
                hint=GIVE,
            )
        for name in names:
            local = source.local_path(name)
            stat = (local or path).stat()
            stamp = (source.sizes[name], stat.st_mtime_ns)
            self.images.append(ImageFile(name, source, name, stamp))


def find_images(paths: Sequence[str]) -> ImageFiles:
    """All images at these paths: folders, archives, files, and patterns such as `slides/*.tif`.

    An image that was named twice is taken once. Raises UsageError for a path without anything,
    DataError for what cannot be read. The caller closes the result.
    """
    found, places = ImageFiles(), list[tuple[int, str]]()
    try:
        for text in paths:
            for path in _expanded(text):
                start = len(found.images)
                found.add(path)
                places += [(i, str(path)) for i in range(start, len(found.images))]
    except BaseException:
        found.close()
        raise
    unique: dict[str, tuple[ImageFile, str]] = {}
    for image, (_, place) in zip(found.images, places, strict=True):
        local = image.files.local_path(image.inner)
        key = image.label if local is None else str(local.resolve())
        unique.setdefault(key, (image, place))
    counts = Counter(image.name for image, _ in unique.values())
    found.images = [
        replace(image, name=_row_name(image.name, place if counts[image.name] > 1 else ""))
        for image, place in unique.values()
    ]
    return found


def _row_name(name: str, place: str) -> str:
    """The name as tables have it; place: where images of the same name are, to tell them apart."""
    if place:
        name = place if Path(place).name == name else f"{place}/{name}"
    name = printable(name.replace("\\", "/"))
    return f"./{name}" if name.startswith(FORMULA) else name


def _expanded(text: str) -> list[Path]:
    """The paths that a pattern stands for; a path as it is."""
    if Path(text).exists() or not glob.has_magic(text):
        return [Path(text)]
    matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute ones, too
    if not matches:
        raise UsageError(f"no file fits the pattern {printable(text)}", hint=GIVE)
    return [Path(match) for match in matches]


def open_image(image: ImageFile) -> Picture:
    """One image as a picture, by its first bytes. The caller closes it.

    Raises DataError, which names the file, for any that is damaged, unknown or of another kind.
    """
    ending = Path(image.inner).suffix.lower()
    head = read_head(image.files, image.inner, HEAD_BYTES)
    path = image.files.local_path(image.inner)
    if ending in SLIDES and path is not None:
        if has_openslide():
            return _open_slide(image, path)
        if ending not in PLAIN_TIFS or not is_tiff(head):
            raise missing_error(path)
    with parsing(partial(damaged, image.label)):
        try:
            return _open(image, head, path)
        except UnfitError as error:
            raise DataError(f"{image.label}: found {error}", hint=error.hint) from error


def _open(image: ImageFile, head: bytes, path: Path | None) -> Picture:
    if is_tiff(head):
        return _open_tif(image, path)
    if head.startswith((PNG, JPEG)):
        return decode_picture(_bytes(image))
    kind = describe_bytes(head) or "bytes of no known kind of image"
    raise UnfitError(kind, GIVE)


def _open_tif(image: ImageFile, path: Path | None) -> Picture:
    """A TIFF, piece by piece; without imagecodecs one in LZW or JPEG as a whole, if it is small."""
    handle = open_regular(path) if path is not None else io.BytesIO(_bytes(image))
    picture = open_tif(handle, path)
    if has_imagecodecs() or not picture.packed:
        return picture
    picture.close()
    if image.files.sizes[image.inner] > MEMBER_BYTES:
        raise UnfitError("a large TIFF in LZW, JPEG or JPEG 2000", INSTALL)
    whole = decode_small_tif(_bytes(image))
    whole.pixel_size = picture.pixel_size
    return whole


def _bytes(image: ImageFile) -> bytes:
    return read_file(image.files, image.inner, MEMBER_BYTES)


def _open_slide(image: ImageFile, path: Path) -> Picture:
    from pcam_kit.tissue.slides import SlidePicture

    def unknown(reason: str) -> DataError:
        return DataError(f"{image.label}: OpenSlide cannot read it: {reason}", hint=GIVE)

    with parsing(unknown):
        return SlidePicture(path)
