"""Files of PyTorch are read without PyTorch: tensors, and nothing that could run."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit.errors import ConfigError
from pcam_kit.models.torch_file import MAGIC, MEMO, PROTOCOL, read_tensors
from pcam_kit.parsing import parsing

KERNEL = np.arange(24, dtype="<f4").reshape(2, 3, 4)
BIAS = np.array([1.5, -2.0], "<f4")
COUNT = np.array(7, "<i8")
TYPES = {"<f4": "FloatStorage", "<i8": "LongStorage"}


class Tensor:
    """What pickles as a tensor of PyTorch does."""

    def __init__(self, values: Any, *, shape: Any = None, strides: Any = None, view: Any = None):
        self.values = values
        self.key = str(id(values))
        self.shape = values.shape if shape is None else shape
        self.strides = strides
        self.view = view
        if strides is None:
            self.strides = tuple(n // values.itemsize for n in values.strides)

    def __reduce__(self) -> Any:
        storage = Storage(self)
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (storage, 0, self.shape, self.strides, False, OrderedDict())


class Storage:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        tensor = obj.tensor
        kind = getattr(sys.modules["torch"], TYPES[tensor.values.dtype.str])
        return ("storage", kind, tensor.key, "cpu", tensor.values.size, tensor.view)


@pytest.fixture(autouse=True)
def _torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that a pickle of PyTorch refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils.__dict__["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    for name in TYPES.values():
        torch.__dict__[name] = type(name, (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def dump(value: Any) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def whole(tensors: Any, *, magic: int = MAGIC, drop: int = 0) -> bytes:
    arrays = {t.key: t.values for t in tensors.values() if isinstance(t, Tensor)}
    parts = [dump(magic), dump(PROTOCOL), dump({"little_endian": True}), dump(tensors)]
    parts.append(dump(list(arrays)))
    for values in arrays.values():
        parts += [values.size.to_bytes(8, "little"), values.tobytes()]
    data = b"".join(parts)
    return data[: len(data) - drop]


def good() -> bytes:
    tensors = OrderedDict(kernel=Tensor(KERNEL), bias=Tensor(BIAS), count=Tensor(COUNT))
    tensors["flipped"] = Tensor(KERNEL, shape=(4, 3, 2), strides=(1, 4, 12))
    return whole(tensors)


def read(path: Path, data: bytes) -> dict[str, Any]:
    path.write_bytes(data)
    with parsing(lambda reason: ConfigError(reason)):
        return read_tensors(path)


def test_tensors_come_back_whatever_their_order(tmp_path: Path) -> None:
    tensors = read(tmp_path / "a.pth", good())
    assert list(tensors) == ["kernel", "bias", "count", "flipped"]
    np.testing.assert_array_equal(tensors["kernel"], KERNEL)
    np.testing.assert_array_equal(tensors["bias"], BIAS)
    np.testing.assert_array_equal(tensors["flipped"], KERNEL.transpose(2, 1, 0))
    assert tensors["count"] == 7


class Code:
    """Runs when a pickle of it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(ConfigError, match=r"holds code, which is never run: \w+ mkdir"):
        read(tmp_path / "a.pth", whole({"kernel": Tensor(KERNEL), "more": Code(ran)}))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: good()[:-1], "it is cut short"),
        (lambda: good()[:300], "pickle|truncated|exhausted"),
        (lambda: b"", "pickle exhausted|no file"),
        (lambda: b"PK\x03\x04 and so on", r"newer PyTorch file \(a zip\)"),
        (lambda: whole({}, magic=3), "no file of PyTorch"),
        (lambda: whole({"a": 3}), "'a' is no tensor"),
        (lambda: whole({"a": Tensor(BIAS, shape=(3,))}), "a reaches beyond its 2 numbers"),
        (lambda: whole({"a": Tensor(BIAS, strides=(2,))}), "a reaches beyond its 2 numbers"),
        (lambda: whole({"a": Tensor(BIAS, shape=(-1,))}), "shape that is no shape"),
        (lambda: whole({"a": Tensor(BIAS, view=(1, 2, 3))}), "of a kind that is not read"),
        (lambda: whole({"a": Tensor(BIAS), "b": 1.5}), "instruction BINFLOAT"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path / "a.pth", data())


def test_no_more_memory_is_taken_than_the_file_has(tmp_path: Path) -> None:
    place = (MEMO + 1).to_bytes(4, "little")
    bomb = b"\x80\x02K\x01r" + place + b"."
    with pytest.raises(ConfigError, match="places of memory"):
        read(tmp_path / "a.pth", bomb)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data, refused = good(), 0
    for _ in range(400):
        changed = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        try:
            read(tmp_path / "a.pth", bytes(changed))
        except ConfigError:
            refused += 1
    assert refused > 50
