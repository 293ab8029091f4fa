"""`.keras` files: written so that older versions of Keras read them, checked before Keras does.

A `.keras` file is a zip of `config.json` (layers by class and options), `model.weights.h5` and
`metadata.json`. It may come from somebody else: nothing in it is run, imported or followed.
"""

# pyright: basic

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import inspect
import io
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import keras

from pcam_kit.errors import PcamError
from pcam_kit.models.weights import MAX_EXPANSION, SPARE, arrays_of
from pcam_kit.parsing import HDF5, open_regular, parse_json, parsing, printable

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
# keys of metadata.json that say which run wrote the file, and with what in it
OWNER, DIGEST = "pcam_run", "sha256"
# layers that hold code, call other libraries or read files by name
REFUSED = {
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
}
# parts of Keras whose classes and functions only describe networks
PARTS = {
    "activations",
    "applications",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "models",
    "ops",
    "quantizers",
    "random",
    "regularizers",
}
PLAIN = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
TOP = {"DTypePolicy", "Functional", "Model", "Sequential"}  # of the module `keras` itself
OWN = __name__.split(".")[0]


def save_model(model: keras.Model, path: Path, *, owner: str = "") -> None:
    """Write a `.keras` file that Keras from 3.5 on reads, if its layers existed there.

    Options that have their default value are left out: an older Keras does not know those that
    came later. owner: the id of the run that writes it. Raises OSError.
    """
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[CONFIG] = json.dumps(without_defaults(json.loads(members[CONFIG]))).encode()
    if owner:
        metadata = json.loads(members[METADATA]) | {OWNER: owner, DIGEST: _digest(members)}
        members[METADATA] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def read_model(
    path: Path,
    to_error: Callable[[str], PcamError],
    *,
    owner: str = "",
    custom: bool = False,
) -> Any:
    """The model in a `.keras` file; everything that cannot be trusted is `to_error(reason)`.

    owner: the id of the run that must have written it; "" for any. custom: whether layers that are
    no part of Keras may be in it; their modules must have been imported.
    """
    with parsing(to_error):
        members = read_members(path)
        if owner:
            _check_owner(members, owner)
        config = parse_json(members[CONFIG])
        if fault := find_code(config, custom=custom):
            raise ValueError(fault)
        with h5py.File(io.BytesIO(members[WEIGHTS]), "r") as file:
            stored = sum(math.prod(shape) for _, shape in arrays_of(file))
        _check_size(config, stored)
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def check_saved(path: Path, to_error: Callable[[str], PcamError], owner: str) -> None:
    """Check the bytes of a `.keras` file, and that the run with the id `owner` wrote it."""
    with parsing(to_error):
        members = read_members(path)
        if owner:
            _check_owner(members, owner)


def find_code(config: Any, *, custom: bool = False) -> str:
    """What in the config of a model is not a plain part of Keras, in words; "" when nothing is.

    custom: whether layers that are no part of Keras may be in it (see `read_model`).
    """
    if not isinstance(config, dict) or "class_name" not in config:
        return "its config.json describes no model"
    # the model is never compiled
    top = {key: value for key, value in config.items() if key != "compile_config"}
    for entry in _objects(top):
        kind, module = entry["class_name"], entry.get("module")
        inner = entry.get("config")
        layer = inner.get("name") if isinstance(inner, dict) else None
        if kind == "function":
            kind = inner
        name = printable(f"layer {layer!r} ({kind})" if layer else str(kind))
        if not isinstance(kind, str) or not isinstance(module, str | None):
            return "its config.json names no class"
        if kind in REFUSED or kind in ("__lambda__", "__typespec__"):
            return f"{name} holds code or reads files, and only plain layers are loaded"
        if kind in PLAIN or _is_plain(module, kind) or (custom and _is_imported(entry)):
            continue
        return f"{name} is no part of Keras" + (": import its module first" if custom else "")
    return ""


def without_defaults(config: Any) -> Any:
    """The serialised form of a Keras object without options that have their default value."""
    if isinstance(config, list):
        return [without_defaults(value) for value in config]
    if not isinstance(config, dict):
        return config
    config = {key: without_defaults(value) for key, value in config.items()}
    inner, module = config.get("config"), config.get("module")
    if not isinstance(inner, dict) or not isinstance(module, str):
        return config
    kind = getattr(importlib.import_module(module), config["class_name"], None)
    if (
        not isinstance(kind, type)
        or not module.startswith("keras")
        or issubclass(kind, keras.Model)
    ):
        return config
    if module.startswith("keras.src.ops."):
        # operations got names of their own after 3.5; the graph knows them by the outer name
        inner = {key: value for key, value in inner.items() if key != "name"}
    superfluous = _superfluous(
        kind, json.dumps(inner | {"name": "x"} if "name" in inner else inner)
    )
    return config | {
        "config": {key: value for key, value in inner.items() if key not in superfluous}
    }


@functools.lru_cache(maxsize=1024)  # most layers of a network differ in their name only
def _superfluous(kind: Any, options: str) -> frozenset[str]:
    """Of the options of `kind`, as JSON: those without which the same is built.

    None where that is not sure.
    """
    whole: dict[str, Any] = json.loads(options)
    parameters = inspect.signature(kind).parameters
    usual = {
        key for key in whole if key in parameters and _same(whole[key], parameters[key].default)
    }
    short = {key: value for key, value in whole.items() if key not in usual}
    try:
        configs = [kind.from_config(copy.deepcopy(one)).get_config() for one in (whole, short)]
    except (TypeError, ValueError, KeyError):
        return frozenset()
    return frozenset(usual) if configs[0] == configs[1] else frozenset()


def _same(value: Any, default: Any) -> bool:
    """Whether an option has its default value: `1` is not `True`, and a tuple is a list in JSON."""
    if isinstance(default, tuple):
        default = list(default)
    return type(value) is type(default) and value == default


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialised object in a config."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _is_plain(module: str | None, kind: str) -> bool:
    """Whether this is a class or function of Keras, or of this package, that describes networks."""
    if module is None or module == "builtins":
        return keras.saving.get_registered_object(kind) is None and hasattr(keras.activations, kind)
    package, *parts = module.split(".")
    if package == OWN:
        return _is_imported({"module": module, "class_name": kind})
    parts = parts[1:] if parts[:1] == ["src"] else parts
    if package != "keras":
        return False
    return parts[0] in PARTS if parts else kind in TOP


def _is_imported(entry: Mapping[str, Any]) -> bool:
    """Whether this is a registered class, or one of a network in a module that was imported."""
    registered = entry.get("registered_name")
    if isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None:
        return True
    found = getattr(sys.modules.get(str(entry.get("module"))), str(entry["class_name"]), None)
    parts = (
        keras.Layer,
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
    )
    return isinstance(found, type) and issubclass(found, parts)


def read_members(path: Path) -> dict[str, bytes]:
    """The three parts of the file, each compared with its checksum. Raises ValueError."""
    with open_regular(path) as handle:
        if handle.read(len(HDF5)) == HDF5:
            raise ValueError(
                "it has the older format .h5: open it in Keras and save it again as a .keras file"
            )
        size = handle.seek(0, io.SEEK_END)
        with zipfile.ZipFile(handle) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if missing := {CONFIG, WEIGHTS, METADATA} - infos.keys():
                raise ValueError(f"it is no .keras file: it has no {', '.join(sorted(missing))}")
            declared = sum(info.file_size for info in archive.infolist())
            if declared > MAX_EXPANSION * size + SPARE:
                raise ValueError(f"its {size:,} bytes unpack to {declared:,}")
            return {name: archive.read(infos[name]) for name in (CONFIG, WEIGHTS, METADATA)}


def _digest(members: Mapping[str, bytes]) -> str:
    """Hex SHA-256 of the layers and the weights."""
    return hashlib.sha256(members[CONFIG] + b"\0" + members[WEIGHTS]).hexdigest()


def _check_owner(members: Mapping[str, bytes], owner: str) -> None:
    """Raises ValueError when another run wrote the file, or it was changed since."""
    metadata = parse_json(members[METADATA])
    if not isinstance(metadata, dict) or metadata.get(OWNER) != owner:
        raise ValueError("it is not the model that this run wrote")
    if metadata.get(DIGEST) != _digest(members):
        raise ValueError("it was changed since this run wrote it")


def _check_size(config: Any, stored: int) -> None:
    """Raises ValueError when the layers need many more weights than are `stored`.

    The layers are built without memory for their weights, in a thread of its own: Keras remembers
    for each thread which weights still need a value.
    """

    def count() -> int:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(math.prod(variable.shape) for variable in model.variables)

    with ThreadPoolExecutor(1) as thread:
        needed = thread.submit(count).result()
    if needed > MAX_EXPANSION * stored + SPARE:
        raise ValueError(f"its layers need {needed:,} weights, and it has {stored:,}")
