"""Finds the files of a layout by their names, also where a browser or a person changed them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import partial

from pcam_kit.data.sources.files import RawFiles, read_head, unreadable_error
from pcam_kit.data.sources.names import base_name, is_image, plain_name
from pcam_kit.data.sources.source import SourceFiles
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import HDF5, parsing, printable

# by the version of HDF5's first block: where it has the size of the whole file, and the width of
# such numbers
HDF5_SIZE = {0: 40, 1: 44, 2: 28, 3: 28}
HDF5_WIDTH = {0: 13, 1: 13, 2: 9, 3: 9}
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".aria2", ".opdownload")
OTHER_ARCHIVES = (".7z", ".rar", ".zst", ".001", ".z01")
LARGEST_COMPARED = 100 << 20  # bytes of a table


def find_file(files: SourceFiles, names: Sequence[str]) -> str | None:
    """The least deep file with one of these base names; of equally deep ones, the first of `names`.

    Names in another case, or with what browsers add, count too: `Train (1).H5` for `train.h5`. A
    file that is cut short gives way to a whole one. Raises DataError when there are two of that
    name equally deep, or two different ones at one place, and when there is none, but an archive
    that cannot be read may hold it.
    """
    matches = matching(files, names)
    if not matches:
        files.missed = True
        if files.faults:
            raise _maybe_inside(files.faults[0], names[0])
        return None
    return _choose(files, matches, [plain_name(name) for name in names], set(names))


def matching(files: SourceFiles, names: Sequence[str]) -> list[str]:
    """All files with one of these base names, as `find_file` takes them."""
    plain = dict.fromkeys(plain_name(name) for name in names)
    return [match for name in plain for match in files.by_plain_name.get(name, [])]


def _choose(files: SourceFiles, matches: list[str], plain: list[str], exact: set[str]) -> str:
    """The one of `matches` to take; what is worth telling is added to the notes."""
    cut: list[str] = []
    if len(matches) > 1:
        cut = [name for name in matches if _is_cut(files, name)]
        if len(cut) == len(matches):
            cut = []
    whole = [name for name in matches if name not in cut]
    depth = min(name.count("/") for name in whole)
    level = [name for name in whole if name.count("/") == depth]
    level = [name for name in level if base_name(name) in exact] or level
    level.sort(key=lambda name: plain.index(plain_name(name)))
    chosen = level[0]
    equal = [name for name in level if plain_name(name) == plain_name(chosen)]
    if len(equal) > 1:
        raise DataError(
            f"{files.location} holds {plain_name(chosen)} more than once: "
            f"{few(map(printable, equal), len(equal))}",
            hint="name the folder of one",
        )
    for rival in files.rivals.get(chosen, []):
        if rival in whole and not _equal(files, chosen, rival):
            raise DataError(
                f"there are two different {printable(base_name(chosen))}: {files.label(chosen)} "
                f"and {files.label(rival)}",
                hint="move the one away that does not count",
            )
    others = [name for name in whole if name != chosen and _is_other_table(files, chosen, name)]
    if others:
        shown = few(map(files.label, others), len(others))
        files.notes.append(f"{printable(chosen)} is taken; not used, and different: {shown}")
    for name in cut:
        files.cut[name] = chosen
    if base_name(chosen) not in exact:
        files.renamed[chosen] = plain_name(chosen)
    return chosen


def _equal(files: SourceFiles, one: str, other: str) -> bool:
    """Whether two files hold the same; of large ones, whether they are equally long."""
    if files.sizes[one] != files.sizes[other]:
        return False
    if files.sizes[one] > LARGEST_COMPARED:
        return True
    return _bytes(files, one) == _bytes(files, other)


def _bytes(files: SourceFiles, name: str) -> bytes:
    with parsing(partial(unreadable_error, files, name)), files.open(name) as stream:
        return stream.read()


def _is_other_table(files: SourceFiles, chosen: str, name: str) -> bool:
    """Whether a table deeper down has the name of the one that was chosen, but holds other text."""
    same_name = plain_name(name) == plain_name(chosen)
    return same_name and ".csv" in plain_name(name) and not _equal(files, chosen, name)


def _is_cut(files: RawFiles, name: str) -> bool:
    """Whether a file is empty, or HDF5 that is shorter than it says of itself."""
    if files.sizes[name] == 0:
        return True
    if not plain_name(name).endswith(".h5"):
        return False
    try:
        head = read_head(files, name, 64)
    except DataError:
        return True
    if not head.startswith(HDF5) or len(head) < 64:
        return not head.startswith(b"\x1f\x8b")  # gzip under that name is read as what it is
    version = head[8]
    if version not in HDF5_SIZE or head[HDF5_WIDTH[version]] != 8:
        return False
    place = HDF5_SIZE[version]
    return files.sizes[name] < int.from_bytes(head[place : place + 8], "little")


def require_file(
    files: SourceFiles, names: Sequence[str], what: str, looked_for: str, slug: str
) -> str:
    """As `find_file`; raises DataError, about `what` and `looked_for`, where there is none."""
    name = find_file(files, names)
    if name is None:
        raise missing_error(files, what, looked_for, slug, names)
    return name


def missing_error(
    files: SourceFiles, what: str, looked_for: str, slug: str, names: Sequence[str] = ()
) -> DataError:
    """The error for a missing part: what was looked for, and which files there are instead.

    An archive that cannot be read is named instead: the part may be in it.
    """
    files.missed = True
    if files.faults:
        return _maybe_inside(files.faults[0], looked_for)
    existing = few(map(printable, sorted(files.sizes)), len(files.sizes), 6) or "no files"
    return DataError(
        f"{files.location} has no {what}: looked for {looked_for}, found {existing}",
        hint=_near(files, names) or f"pcam fetch {slug} --from FOLDER_OR_ARCHIVE",
    )


def _maybe_inside(fault: DataError, wanted: str) -> DataError:
    hint = f"{wanted} may be in it; {fault.hint}; if it is not needed, move it away"
    return DataError(fault.message, hint=hint)


def _near(files: SourceFiles, names: Sequence[str]) -> str:
    """What may help where `names` are missing: a similar name, a download that did not end."""
    for fault in files.unread_folders:
        return f"{fault}; it may be in there: {fault.hint}"
    for plain, places in files.by_plain_name.items():
        shown = printable(base_name(places[0]))
        if plain.endswith(UNFINISHED):
            return f"{shown} is a download that did not end: download it again"
        if ".tfrecord" in plain:
            return f"{shown} is not read: take PCam's .h5.gz files, from which it was made"
        if plain.endswith(OTHER_ARCHIVES):
            return f"unpack {shown} first (7-Zip can), then name the folder"
    others = [name for name in files.sizes if not is_image(name)]
    for name in names:
        near = difflib.get_close_matches(
            plain_name(name), [plain_name(other) for other in others], n=1, cutoff=0.8
        )
        if near:
            actual = base_name(files.by_plain_name[near[0]][0])
            return f"is it {printable(actual)}? then rename it to {name}"
    return ""
