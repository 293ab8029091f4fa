"""HDF5 files from elsewhere: what of them may be read, and why one cannot be.

HDF5 can name other files (external links, external storage, virtual datasets), leave out what was
never written (zeros are read instead), declare more than it holds, and run any decompressor. So
links, layout, filters and sizes are looked at before a value is read.
"""

from __future__ import annotations

import errno
import logging
import math
import re
import zlib
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pcam_kit.data.sources.zips import FREE_BYTES, MAX_RATIO
from pcam_kit.errors import DataError
from pcam_kit.formatting import few
from pcam_kit.parsing import (
    HDF5,
    HEAD_BYTES,
    advice_for,
    describe_bytes,
    open_regular,
    printable,
    reason_of,
)

log = logging.getLogger(__name__)
LOW: Any = h5py  # its modules h5d, h5l and h5o have no types

DAMAGED = "the file is damaged or cut short: download it again"
COPY = "copy it into one plain file: h5repack -f NONE OLD.h5 NEW.h5"
MAX_HOPS = 16  # soft links on the way to a dataset
GZIP, SHUFFLE, CHECKSUM, LZF = 1, 2, 3, 32000  # HDF5's numbers of filters that are safe to run
FILTERS = {
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    305: "LZO",
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32026: "Blosc2",
}
# bytes: a chunk of at most so many is unpacked by HDF5 itself, which sets no limit to the result
# (gzip can make 1,032 of one, LZF 88); what larger ones unpack to is measured first
UNMEASURED = 512 << 10
MAX_LZF = 8 << 20
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without locks


@contextmanager
def opened(path: Path, label: str) -> Generator[Any]:
    """The open HDF5 file at `path`.

    Raises DataError, about `label`, with the cause, for what cannot be opened, and for whatever
    h5py raises inside the block.
    """
    try:
        with open_regular(path) as handle:
            check_signature(handle.read(HEAD_BYTES), label)
        with _open(path) as file:
            yield file
    except (DataError, MemoryError):
        raise
    except Exception as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
        raise _cause(printable(text) or reason_of(error), str(error), label) from error


def check_signature(head: bytes, label: str) -> None:
    """Raises DataError, about `label`, when a file does not begin as HDF5; it says what it is."""
    if head.startswith(HDF5):
        return
    kind = describe_bytes(head)
    found = f"it is {kind}" if kind else f"expected {HDF5[:4]!r}, found {head[:4]!r}"
    raise DataError(f"{label} is not HDF5: {found}", hint=advice_for(head) or DAMAGED)


def _open(path: Path) -> Any:
    """h5py's file; without a lock where the file system has none, with a warning."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        match = re.search(r"unable to lock file, errno = (\d+)", str(error))
        if match is None or int(match.group(1)) not in NO_LOCKS:
            raise
    log.warning(f"the file system of {path} has no locks: nothing may write to it meanwhile")
    return h5py.File(path, "r", locking=False)


def _cause(reason: str, text: str, label: str) -> DataError:
    """The error for what HDF5 says in `text`; `reason` is what of it people may read."""
    lock = re.search(r"unable to lock file, errno = (\d+)", text)
    short = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text)
    if lock is not None and int(lock.group(1)) in (errno.EAGAIN, errno.EACCES):
        return DataError(
            f"{label} is locked: another program has it open for writing",
            hint="close it there (in a notebook: file.close(), or restart its kernel); when "
            "nothing writes to it any more, set the environment variable "
            "HDF5_USE_FILE_LOCKING=FALSE",
        )
    if "h5clear" in text:
        return DataError(
            f"{label} was not closed: the program that wrote it still runs, or was killed",
            hint="take a copy that was closed; or, when nothing writes to it any more: "
            "h5clear -s FILE.h5",
        )
    if short is not None:
        expected, found = int(short.group(2)), int(short.group(1))
        return DataError(
            f"{label} is cut short: expected {expected:,} bytes, found {found:,}",
            hint="download it again, or let the program that copies it finish",
        )
    if "ermission denied" in text:
        return DataError(
            f"{label} cannot be read: you have no permission to read it",
            hint="ask its owner, or allow it: chmod u+r FILE.h5",
        )
    return DataError(f"{label} cannot be read: {reason}", hint=DAMAGED)


def find_dataset(file: Any, key: str, label: str) -> Any:
    """The dataset called `key`, found inside this very file; `check_dataset` comes next.

    Soft links inside the file are followed. Raises DataError when there is none, or it is
    elsewhere.
    """
    here: Any = file["/"]
    hops, steps = 0, deque([key.encode()])
    while steps:
        step = steps.popleft()
        if step in (b"", b"."):
            continue
        if not isinstance(here, h5py.Group) or not here.id.links.exists(step):
            names = sorted(printable(name) for name in file)
            raise DataError(
                f"{label}: expected a dataset {key!r}, found "
                f"{few(names, len(names), 6) or 'nothing'}"
            )
        kind = here.id.links.get_info(step).type
        if kind == LOW.h5l.TYPE_HARD:
            here = here[step]
            continue
        if kind != LOW.h5l.TYPE_SOFT:
            raise _not_inside(label, key, "a link to another file")
        hops += 1
        if hops > MAX_HOPS:
            raise _not_inside(label, key, "a link that leads back to itself")
        target = here.id.links.get_val(step)
        here = file["/"] if target.startswith(b"/") else here
        steps.extendleft(reversed(target.split(b"/")))
    if not isinstance(here, h5py.Dataset):
        raise DataError(
            f"{label}: expected {key!r} to be a dataset, found a {type(here).__name__.lower()}"
        )
    return here


def _not_inside(label: str, key: str, what: str) -> DataError:
    return DataError(
        f"{label}: {key} is not in this file: it is {what}, which is not followed", hint=COPY
    )


def check_dataset(data: Any, key: str, label: str) -> None:
    """Check that a dataset is inside its file, whole, and not larger than it can be.

    Raises DataError for external storage, virtual datasets, filters that may not run, what was
    never written, and more than FREE_BYTES that would be MAX_RATIO times what is stored.
    """
    plan = data.id.get_create_plist()
    if plan.get_external_count() > 0:
        raise _not_inside(label, key, "stored in another file")
    layout = plan.get_layout()
    if layout == LOW.h5d.VIRTUAL:
        raise _not_inside(label, key, "a virtual dataset of other files")
    value_bytes = data.id.get_type().get_size()
    declared = math.prod(data.shape or (0,)) * value_bytes
    listed = [plan.get_filter(i) for i in range(plan.get_nfilters())]
    filters, options = [code for code, *_ in listed], {entry[0]: entry[2] for entry in listed}
    safe = (GZIP, SHUFFLE, CHECKSUM, LZF)
    refused = [FILTERS.get(code, f"number {code}") for code in filters if code not in safe]
    if refused or len(set(filters)) < len(filters):
        raise DataError(
            f"{label}: {key} is packed with {', '.join(refused) or 'one filter several times'}: "
            "expected gzip, LZF, shuffle and checksums only",
            hint=f"{COPY} (h5repack needs the same filter: pip install hdf5plugin, then set "
            "HDF5_PLUGIN_PATH to the folder hdf5plugin.PLUGIN_PATH)",
        )
    if tuple(options.get(SHUFFLE, (value_bytes,))) != (value_bytes,):
        raise DataError(  # bytes would come in another order, without an error
            f"{label}: {key} was shuffled as values of {[*options[SHUFFLE]]} bytes: expected "
            f"{value_bytes}",
            hint=DAMAGED,
        )
    stored = data.id.get_storage_size()
    if declared and not stored:
        raise _incomplete(label, key, "nothing of it was ever written")
    if declared > max(FREE_BYTES, MAX_RATIO * stored):
        raise DataError(
            f"{label}: {key} declares {declared:,} bytes and holds {stored:,}: expected at most "
            f"{MAX_RATIO} times as many",
            hint=DAMAGED,
        )
    file_bytes = data.file.id.get_filesize()
    if layout == LOW.h5d.CHUNKED:
        _check_chunks(data, key, label, set(filters), file_bytes)
        return
    offset = data.id.get_offset() or 0  # of a compact one: None, it is in its header
    if stored < declared or offset + stored > file_bytes:
        raise _incomplete(label, key, f"{declared:,} bytes are declared, {stored:,} are there")


def _incomplete(label: str, key: str, why: str) -> DataError:
    return DataError(
        f"{label}: {key} is not complete: {why}; zeros would be read in their place",
        hint="let the program that writes it finish, or download it again",
    )


def _check_chunks(data: Any, key: str, label: str, filters: set[int], file_bytes: int) -> None:
    """Check that every chunk is there once, inside the file, and unpacks to its size."""
    chunk = data.chunks
    grid = [-(-side // step) for side, step in zip(data.shape, chunk, strict=True)]
    expected = math.prod(grid)
    if data.id.get_num_chunks() != expected:
        raise _incomplete(
            label, key, f"{data.id.get_num_chunks():,} of {expected:,} chunks were written"
        )
    size = math.prod(chunk) * data.id.get_type().get_size()
    if LZF in filters and size > MAX_LZF:
        raise DataError(
            f"{label}: {key} has LZF chunks of {size:,} bytes: expected at most {MAX_LZF:,}",
            hint=COPY,
        )
    packed = bool(filters & {GZIP, LZF})
    # packing adds a little to what it cannot make smaller
    largest = size + size // 64 + 1024 if packed else size + 4
    found = np.zeros(grid, np.bool_)
    large: list[tuple[int, ...]] = []
    total, fault = 0, ""

    def look(info: Any) -> bool | None:
        nonlocal total, fault
        place = tuple(at // step for at, step in zip(info.chunk_offset, chunk, strict=True))
        total += info.size
        whole = 0 < info.size <= largest and info.byte_offset + info.size <= file_bytes
        aligned = not any(at % step for at, step in zip(info.chunk_offset, chunk, strict=True))
        if not (whole and aligned) or any(a >= b for a, b in zip(place, grid, strict=True)):
            fault = f"a chunk of {info.size:,} bytes at {info.byte_offset:,}"
        elif info.size < size and (info.filter_mask or not packed):
            fault = f"a chunk that is not packed, and has {info.size:,} of {size:,} bytes"
        else:
            found[place] = True
            if GZIP in filters and info.size > UNMEASURED and not info.filter_mask:
                large.append(info.chunk_offset)
        return True if fault else None  # anything but None ends the visit

    data.id.chunk_iter(look)
    if not fault and total > file_bytes:
        fault = f"chunks of {total:,} bytes in a file of {file_bytes:,}"
    if fault:
        raise DataError(f"{label}: {key} is damaged: it has {fault}", hint=DAMAGED)
    if not found.all():
        raise _incomplete(label, key, f"chunks at {np.argwhere(~found)[0].tolist()} are missing")
    for offset in large:
        _measure(data, offset, size, f"{label}: {key}", filters)


def _measure(data: Any, offset: tuple[int, ...], size: int, label: str, filters: set[int]) -> None:
    """Raises DataError when a gzip chunk does not unpack to `size` bytes, and a checksum."""
    _, packed = data.id.read_direct_chunk(offset)
    unpacker, unpacked = zlib.decompressobj(), 0
    limit = size + 4 if CHECKSUM in filters else size
    rest: bytes = packed
    while rest and not unpacker.eof and unpacked <= limit:
        unpacked += len(unpacker.decompress(rest, 1 << 20))
        rest = unpacker.unconsumed_tail
    if unpacked not in (size, limit):
        raise DataError(
            f"{label}: a chunk does not unpack to its {size:,} bytes: {unpacked:,} or more",
            hint=DAMAGED,
        )


def check_filled(data: Any, start: int, values: NDArray[Any], key: str, label: str) -> None:
    """Check that no chunk of `values`, read from row `start` on, is missing in the file.

    Where the index of chunks is damaged, HDF5 finds some when it lists them and not when it reads
    them; then it gives the fill value. So chunks of nothing else are asked for by themselves.
    Raises DataError.
    """
    if data.chunks is None or not values.size:
        return
    corners = values[tuple(slice(None, None, step) for step in data.chunks)]
    for place in np.argwhere(corners == data.fillvalue).tolist():
        offset = [at * step for at, step in zip(place, data.chunks, strict=True)]
        ends = [at + step for at, step in zip(offset, data.chunks, strict=True)]
        if (values[tuple(map(slice, offset, ends))] != data.fillvalue).any():
            continue
        offset[0] += start
        try:
            data.id.read_direct_chunk(tuple(offset))
        except Exception as error:
            raise _incomplete(label, key, f"the chunk at {offset} is missing") from error
