"""YAML files and --set options into frozen models.

Strict: all faults are reported at once, each with the likely spelling.
"""

from __future__ import annotations

import importlib
import io
import stat
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from pcam_kit.config.faults import describe_fault, suggestion
from pcam_kit.config.folders import config_folders as config_folders
from pcam_kit.config.folders import list_configs as list_configs
from pcam_kit.config.plain import CHARACTERS, DEPTH, read_plain, shown
from pcam_kit.config.schema import Ensemble, Experiment, FewDigits
from pcam_kit.errors import ConfigError
from pcam_kit.formatting import counted
from pcam_kit.parsing import parsing, printable, read_bytes

Model = TypeVar("Model", bound=BaseModel)

DIGITS = "mnist"  # the kind of the configs of `pcam lab mnist`
SUFFIXES = {".yaml", ".yml"}
FAULTS = 20  # at most in one message


def find_config(name: str, *, kind: str = ".") -> Path:
    """The file of the config called `name`: a path, or a name from `configs/<kind>/`.

    Raises ConfigError, which lists the available configs.
    """
    path = Path(name)
    kind_of_file = _kind_of_file(path) if name else ""
    if path.suffix.lower() in SUFFIXES and kind_of_file:
        return path  # a folder or a pipe with such a name is reported when it is read
    for folder in config_folders():
        candidate = folder / kind / f"{name}.yaml"
        if _kind_of_file(candidate) == "a file":
            return candidate
    names = [printable(known) for known in list_configs(kind=kind)]
    known = f"give a path to a .yaml file, or one of: {', '.join(names)}"
    if kind_of_file:
        raise ConfigError(
            f"{shown(name)} is {kind_of_file}: expected a file whose name ends with .yaml",
            hint=known,
        )
    raise ConfigError(f"no config called {shown(name)}{suggestion(name, names)}", hint=known)


def _kind_of_file(path: Path) -> str:
    """What lies there, in words; "" when nothing does."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a zero in the name
        return ""
    if stat.S_ISREG(mode):
        return "a file"
    return "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse YAML 1.2 as a mapping of plain values (`config.plain`).

    where: the source, for error messages. Raises ConfigError.
    """
    value = read_plain(text, where)
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a mapping (key: value), found {type(value).__name__}")
    return value


def read_yaml_file(path: Path) -> dict[str, Any]:
    """Parse a YAML file.

    Raises ConfigError, also when it cannot be read, is too large or is not text.
    """
    return read_yaml(read_text(path), printable(str(path)))


def read_text(path: Path) -> str:
    """The text of a config. Raises ConfigError as `read_yaml_file`."""
    where = printable(str(path))
    with parsing(lambda reason: ConfigError(f"cannot read {where}: {reason}")):
        data = read_bytes(path, 4 * CHARACTERS)
    try:
        return data.decode("utf-8-sig")  # Windows' editors may begin with a mark
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}"
        ) from error


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with each `a.b=c` of `overrides` set.

    c is parsed as YAML, so numbers, lists and null work. Raises ConfigError.
    """
    result = _copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        where = f"--set {shown(override)}"
        if not equals or not key.strip():
            raise ConfigError(f"{where}: expected key=value, e.g. --set training.epochs=3")
        node = result
        *parents, leaf = key.strip().split(".")
        if len(parents) >= DEPTH:
            raise ConfigError(f"{where}: expected a key of at most {DEPTH} parts")
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[leaf] = read_plain(text, f"{where}: the value") if text.strip() else None
    return result


def validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """`values` as an instance of `model`.

    Raises ConfigError, which lists every fault: key, what was expected, what was found.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [describe_fault(model, item) for item in error.errors(include_url=False)]
    count = counted(len(faults), "fault")
    if len(faults) > FAULTS:
        faults[FAULTS:] = [f"and {len(faults) - FAULTS:,} more"]
    raise ConfigError("\n  ".join([f"{where}: {count}", *faults]), hint=_hint(model))


def _hint(model: type[BaseModel]) -> str:
    """Where a person sees what is expected."""
    commands = {Experiment: "pcam train", FewDigits: "pcam lab mnist"}
    if model in commands:
        return f"{commands[model]} --print-config shows every key with its value"
    return "compare it with the profiles in configs/competitions/ that pcam-kit comes with"


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a YAML file or of a config's name, with --set options applied.

    Raises ConfigError.
    """
    names = list_configs()
    if name not in names and name in list_configs(kind=DIGITS):
        raise ConfigError(
            f"{name} is a config of few digits",
            hint=f"pcam lab mnist {name}; configs for pcam train: {', '.join(names)}",
        )
    return _load(Experiment, find_config(name), name, _without_limits(overrides))


def _without_limits(overrides: Sequence[str]) -> Sequence[str]:
    """Epochs that a person asks for are trained: the config's limits would change their number."""
    keys = {override.partition("=")[0].strip() for override in overrides}
    if "training.epochs" not in keys:
        return overrides
    return ["training.most_patches=null", "training.least_patches=null", *overrides]


def load_few_digits(name: str, overrides: Sequence[str] = ()) -> FewDigits:
    """The same for `pcam lab mnist`, whose configs are in `configs/mnist/`."""
    return _load(FewDigits, find_config(name, kind=DIGITS), name, overrides)


def load_kept(path: Path, values: dict[str, Any]) -> Experiment:
    """The experiment of a YAML file, of which `values` are the values. Raises ConfigError."""
    return validate(Experiment, _resolve_paths(path.parent, values), printable(str(path)))


def _load(model: type[Model], path: Path, name: str, overrides: Sequence[str]) -> Model:
    values = read_yaml_file(path)
    values.setdefault("name", path.stem)
    # relative paths in the file start at its folder, those of --set at the working directory
    values = _resolve_paths(path.parent, values)
    values = _resolve_paths(Path(), apply_overrides(values, overrides))
    where = printable(name)
    return validate(model, values, where if not overrides else f"{where} with --set")


def _resolve_paths(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """`values`, where the model's weights, builder and members in `folder` are absolute."""
    model: Any = values.get("model")
    if not isinstance(model, dict):
        return values
    paths: dict[str, Any] = {}
    for key in ("weights", "builder"):
        if key in model and model[key] != "imagenet":
            paths[key] = _resolve_path(folder, model[key])
    if isinstance(model.get("members"), list):
        paths["members"] = [_resolve_member(folder, member) for member in model["members"]]
    return values | {"model": model | paths}


def _resolve_member(folder: Path, member: Any) -> Any:
    if not isinstance(member, dict):
        return _resolve_path(folder, member, SUFFIXES)
    if "config" not in member:
        return member
    return member | {"config": _resolve_path(folder, member["config"], SUFFIXES)}


def _resolve_path(folder: Path, value: Any, suffixes: Collection[str] = ()) -> Any:
    """`value`, absolute where it is a file in `folder`; suffixes: of these only."""
    if not isinstance(value, str) or (suffixes and Path(value).suffix.lower() not in suffixes):
        return value
    path = folder / value
    return str(path.resolve()) if _kind_of_file(path) == "a file" else value


def import_object(reference: str, where: str) -> Any:
    """The object that `module:name` refers to; the working directory is searched, too.

    where: the key of the config, for error messages. Raises ConfigError.
    """
    module, colon, name = reference.partition(":")
    if not colon or not module or not name:
        raise ConfigError(
            f"{where}: expected module:function, found {reference!r}",
            hint="e.g. my_module:build for the function build in my_module.py",
        )
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.append(working_directory)
    reference = printable(reference)
    hint = f"run pcam where {module} can be imported, e.g. in the folder of {module}.py"
    # whatever a module of the user's own raises
    with parsing(
        lambda reason: ConfigError(f"{where}: cannot import {reference}: {reason}", hint=hint)
    ):
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
    return value


def reference_to(value: Any) -> str | None:
    """`module:name` by which another process can import `value`; None when it cannot."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if module in (None, "__main__") or name is None or "<" in name:
        return None
    reference = f"{module}:{name}"
    try:
        return reference if import_object(reference, "") is value else None
    except ConfigError:
        return None


def resolved(model: BaseModel) -> dict[str, Any]:
    """All values of a config, for JSON; of an ensemble those that were set.

    Its defaults would say nothing: what is not set is as each member has it.
    """
    is_ensemble = isinstance(getattr(model, "model", None), Ensemble)
    return model.model_dump(mode="json", exclude_unset=is_ensemble)


def dump_yaml(model: BaseModel) -> str:
    """The model with all its values as YAML, which loads back to an equal model."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(resolved(model), stream)
    return stream.getvalue()


def _copy(value: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(inner) if isinstance(inner, dict) else inner for key, inner in value.items()}
