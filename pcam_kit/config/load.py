"""YAML files and --set options into frozen models: strict, with every fault told at once and the
likely spelling suggested.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from pcam_kit.config.schema import Experiment, FewDigits
from pcam_kit.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

PACKAGE = Path(__file__).resolve().parent.parent
DIGITS = "mnist"  # the kind of `pcam lab mnist`'s configs


def config_folders() -> tuple[Path, ...]:
    """Where configs are looked up by name: the working directory's, then the shipped ones (in a
    checkout or a wheel).
    """
    shipped = PACKAGE / "_configs"
    return (Path("configs"), shipped if shipped.is_dir() else PACKAGE.parent / "configs")


def find_config(name: str, *, kind: str = ".") -> Path:
    """The file of the config called `name` (a path, or a name from `configs/<kind>/`).

    Raises ConfigError naming the configs there are.
    """
    given = Path(name)
    if given.suffix in {".yaml", ".yml"} and given.is_file():
        return given
    for folder in config_folders():
        candidate = folder / kind / f"{name}.yaml"
        if candidate.is_file():
            return candidate
    there = list_configs(kind=kind)
    raise ConfigError(
        f"no config called {name!r}{suggestion(name, there)}",
        hint=f"give a path to a .yaml file, or one of: {', '.join(there)}",
    )


def list_configs(*, kind: str = ".") -> list[str]:
    """Names of the configs that can be found, sorted."""
    return sorted(
        {path.stem for folder in config_folders() for path in (folder / kind).glob("*.yaml")}
    )


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse YAML 1.2 (`1e-3` is a number, repeated keys are an error).

    `where` names the source in errors.
    """
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else "?"
        raise ConfigError(
            f"{where}, line {line}: {str(error.problem).split(' with value')[0]} a second time",
            hint="keep one of the two",
        ) from error
    except YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a mapping (key: value), found {type(value).__name__}")
    return value


def read_yaml_file(path: Path) -> dict[str, Any]:
    """Parse a YAML file. Raises ConfigError naming it, also when it is not text."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    return read_yaml(text, str(path))


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with each `a.b=c` of `overrides` set; c is read as YAML, so numbers, lists and null
    work.
    """
    result = _copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {override!r}: expected key=value, e.g. --set training.epochs=3"
            )
        node = result
        *parents, leaf = key.strip().split(".")
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        try:
            node[leaf] = YAML(typ="safe", pure=True).load(text) if text.strip() else None
        except YAMLError as error:
            raise ConfigError(
                f"--set {override!r}: the value is not valid YAML: {' '.join(str(error).split())}"
            ) from error
    return result


def validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """`values` as `model`.

    Raises ConfigError listing every fault: key, what was expected, what was found.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_fault(model, item) for item in error.errors()]
        command = "pcam lab mnist" if model is FewDigits else "pcam train"
        found = f"{where}: {len(lines)} fault{'s' if len(lines) > 1 else ''}"
        raise ConfigError(
            "\n  ".join([found, *lines]),
            hint=f"{command} --print-config shows every key with its value",
        ) from error


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a YAML file or a shipped config's name, with --set options applied.

    Raises ConfigError.
    """
    if name not in (there := list_configs()) and name in list_configs(kind=DIGITS):
        raise ConfigError(
            f"{name} is a config of few digits",
            hint=f"pcam lab mnist {name}; for pcam train there are: {', '.join(there)}",
        )
    return _load(Experiment, find_config(name), name, overrides)


def load_few_digits(name: str, overrides: Sequence[str] = ()) -> FewDigits:
    """The same for `pcam lab mnist`, whose configs lie in `configs/mnist/`."""
    return _load(FewDigits, find_config(name, kind=DIGITS), name, overrides)


def _load(model: type[Model], path: Path, name: str, overrides: Sequence[str]) -> Model:
    values = read_yaml_file(path)
    values.setdefault("name", path.stem)
    # what the file says is seen from its folder, what --set says (or is not there) from the current
    # one
    values = _weights_in(Path(), apply_overrides(_weights_in(path.parent, values), overrides))
    return validate(model, values, name if not overrides else f"{name} with --set")


def _weights_in(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the whole path of the model's weights, if they are a file in `folder`."""
    part: Any = values.get("model")
    given = part.get("weights") if isinstance(part, dict) else None
    if not isinstance(given, str) or given == "imagenet" or not (folder / given).is_file():
        return values
    return values | {"model": part | {"weights": str((folder / given).resolve())}}


def dump_yaml(model: BaseModel) -> str:
    """The fully resolved model as YAML that loads back to an equal model."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(model.model_dump(mode="json"), stream)
    return stream.getvalue()


def _copy(value: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(inner) if isinstance(inner, dict) else inner for key, inner in value.items()}


def _fault(model: type[BaseModel], item: Any) -> str:
    known, keys = _walk(model, item["loc"])
    path = ".".join(keys)
    match item["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key{suggestion(keys[-1], known)} (known: {', '.join(known)})"
        case "missing":
            return f"{path}: missing"
        case "union_tag_invalid" | "union_tag_not_found":
            tags = [
                str(get_args(kind.model_fields["name"].annotation)[0])
                for kind in _models(Experiment.model_fields["model"].annotation)
            ]
            given = item["input"].get("name") if isinstance(item["input"], dict) else item["input"]
            return (
                f"{path}.name: expected one of {', '.join(tags)}, found "
                f"{given!r}{suggestion(str(given), tags)}"
            )
        case _:
            message = item["msg"].removeprefix("Value error, ")
            return (
                f"{path or '(top level)'}: {message[:1].lower()}{message[1:]}, found "
                f"{item['input']!r}"
            )


def _walk(model: Any, location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The keys known where `location` ends, and the location as a user writes it (without the tags
    of unions).
    """
    keys: list[str] = []
    known: list[str] = []
    for part in location:
        members = {
            str(get_args(kind.model_fields["name"].annotation)[0]): kind
            for kind in _models(model)
            if len(_models(model)) > 1
        }
        if part in members:
            model = members[str(part)]
            continue
        keys.append(str(part))
        if isinstance(part, int):
            continue
        here = next(iter(_models(model)), None)
        fields = here.model_fields if here is not None else {}
        known = sorted(fields)
        model = fields[part].annotation if part in fields else None
    return known, keys


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models inside an annotation such as `list[Transform]` or `A | B`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
