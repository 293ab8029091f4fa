"""Reads the tensors of a file that PyTorch before 1.6 saved, without PyTorch.

Such a file is a row of pickles, then the numbers. A pickle is a program; this one is looked through
before it runs, and may call nothing but what makes a dictionary of tensors.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.parsing import open_regular

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
FILE_BYTES = 256 << 20  # the largest file that is read; EfficientNet-Lite2 has 25 MB
MEMO = 1 << 20  # the highest number under which a pickle may remember a value
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
# instructions of a pickle that make values of the kinds that a file of tensors has
_OPCODES = frozenset(
    """
    PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINUNICODE
    TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BUILD BINPERSID
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class _Storage:
    """Numbers that tensors look into. count: how many."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers, not bytes


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file, by name: float32, or int64 for counters.

    Raises OSError when it cannot be opened, ValueError when it is no such file, is too large, holds
    anything but tensors, or is cut short.
    """
    with open_regular(path) as opened:
        data = opened.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise ValueError(f"it has more than {FILE_BYTES:,} bytes")
    if data.startswith(b"PK\x03\x04"):
        raise ValueError("it is a newer PyTorch file (a zip), which is not read")
    file = io.BytesIO(data)  # gives what is left of it, whatever length a damaged file declares
    if _load(file) != MAGIC or _load(file) != PROTOCOL:
        raise ValueError("it is no file of PyTorch")
    _load(file)  # sizes of C types where it was written
    tensors, keys = _load(file), _load(file)
    if not isinstance(tensors, dict) or not isinstance(keys, list):
        raise ValueError("it holds no dictionary of tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise ValueError(f"{name!r} is no tensor")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    arrays = {key: _read_numbers(file, storages[key]) for key in keys}
    return {name: _view(name, tensor, arrays) for name, tensor in tensors.items()}


def _load(file: io.BytesIO) -> Any:
    """The value of the next pickle, after a look at all its instructions."""
    start = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and argument not in _CALLABLE:
            raise ValueError(f"it holds code, which is never run: {argument}")
        if opcode.name not in _OPCODES:
            raise ValueError(f"it holds more than tensors: the instruction {opcode.name}")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > MEMO:
            raise ValueError(f"it asks for {argument:,} places of memory")
    file.seek(start)
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., Any] | str:
        return _CALLABLE[f"{module_name} {global_name}"]

    def persistent_load(self, pid: Any) -> _Storage:
        """`pid`: ("storage", type, key, device, count, view)."""
        _, dtype, key, _, count, view = pid
        if view is not None or not isinstance(count, int) or not isinstance(key, str):
            raise ValueError(f"storage {key!r} is of a kind that is not read")
        if dtype not in DTYPES.values():
            raise ValueError(f"storage {key!r} is of a type that is not read")
        return _Storage(key, str(dtype), count)


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or len(shape) > 8:
        raise ValueError("a tensor is of a kind that is not read")
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a tensor has a shape that is no shape")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_CALLABLE: Mapping[str, Callable[..., Any] | str] = {
    "collections OrderedDict": OrderedDict,
    "torch._utils _rebuild_tensor_v2": _make_tensor,
} | {f"torch {name}": dtype for name, dtype in DTYPES.items()}


def _read_numbers(file: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    declared = int.from_bytes(file.read(8), "little", signed=True)
    if declared != storage.count:
        raise ValueError(f"expected {storage.count:,} numbers, found {declared:,}")
    size = storage.count * np.dtype(storage.dtype).itemsize
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return np.frombuffer(data, storage.dtype)


def _view(name: str, tensor: _Tensor, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The numbers of one tensor, which may lie in any order."""
    numbers = arrays[tensor.storage.key]
    last = tensor.offset + sum(
        (n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    if math.prod(tensor.shape) > numbers.size or last >= numbers.size:
        raise ValueError(f"{name} reaches beyond its {numbers.size:,} numbers")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
