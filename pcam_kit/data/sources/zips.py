"""Is a zip safe to read? Looked at before a byte of it is used."""

from __future__ import annotations

import re
import stat
import zipfile
from collections import Counter
from pathlib import Path

from pcam_kit.data.raw import few
from pcam_kit.errors import DataError

MOST_RATIO = 100  # unpacked : packed; patches and HDF5 files pack to between 1 and 3
FREE_BYTES = 64 << 20  # a small archive may pack as well as it likes


def open_zip(path: Path) -> tuple[zipfile.ZipFile, dict[str, int]]:
    """The archive and its members' sizes, folders left out.

    Raises DataError for what is no zip or cut short, and for members that no honest archive of patches has: absolute
    names, `..`, backslashes, drive letters, links and devices, repeated names, encryption, an absurd unpacked size.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be read as a zip: {error}", hint="it may be cut short: download it again") from error
    members = archive.infolist()
    try:
        faults = [f"{info.orig_filename!r} ({why})" for info in members if (why := _fault(info))]
        if faults:
            raise DataError(f"{path} is not safe to read: {few(faults, len(faults))}", hint="get the archive from its own page again")
        files = [info for info in members if not info.is_dir()]
        sizes = {info.filename: info.file_size for info in files}
        if len(sizes) < len(files):
            twice = [name for name, times in Counter(info.filename for info in files).items() if times > 1]
            raise DataError(f"{path}: {len(files) - len(sizes)} names are there more than once: {few(twice, len(twice))}")
        total, packed = sum(sizes.values()), path.stat().st_size
        if total > max(FREE_BYTES, MOST_RATIO * packed):
            raise DataError(f"{path} would unpack from {packed:,} to {total:,} bytes: expected at most {MOST_RATIO} times its size")
    except DataError:
        archive.close()
        raise
    return archive, sizes


def _fault(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or re.match(r"^[A-Za-z]:", name):
        return "an absolute path"
    if ".." in name.split("/"):
        return "a path that leaves its folder"
    if "\\" in name or "\0" in name:
        return "a backslash or zero byte in its name"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    if info.flag_bits & 0x1:
        return "encrypted"
    return ""
