"""HDF5 files of weights, of a model or by themselves: looked through before Keras reads them."""

# pyright: basic

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py

from pcam_kit.parsing import printable

# Keras stores without compression: what unpacks to much more than the file has is a bomb
MAX_EXPANSION, SPARE = 4, 1 << 20
USUAL_FILTERS = {1, 2, 3}  # HDF5's numbers of deflate, shuffle and fletcher32


def arrays_of(file: h5py.File) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each array in a file of weights.

    Raises ValueError for what Keras does not write: links, filters, data in other files, and
    arrays with fewer bytes than they declare.
    """
    seen: set[Any] = set()  # h5py compares ids by the address of what they stand for
    waiting: list[Any] = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            where = printable(f"{group.name.rstrip('/')}/{name}")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{where} in its weights is a link")
            item = group[name]
            if item.id in seen:
                continue
            seen.add(item.id)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                _check_array(item, where)
                yield where, tuple(item.shape)


def _check_array(item: h5py.Dataset, where: str) -> None:
    if item.shape is None or item.dtype.kind not in "biufV" or item.dtype.hasobject:
        raise ValueError(f"{where} in its weights holds no numbers")
    plan = item.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if item.is_virtual or plan.get_external_count() or filters - USUAL_FILTERS:
        raise ValueError(f"{where} in its weights is stored otherwise than Keras stores weights")
    declared, stored = math.prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size()
    enough = declared == stored if not filters else declared <= MAX_EXPANSION * stored + SPARE
    if not enough or (declared > 0 and stored == 0):
        raise ValueError(f"{where} in its weights has fewer values than it declares")
