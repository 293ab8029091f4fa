"""Every setting of an experiment: its key, type, default, allowed values and meaning.

Read off the JSON Schema of the experiment, so that it is what configs are checked against.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pcam_kit.config.faults import suggestion
from pcam_kit.config.plain import shown
from pcam_kit.config.schema import Experiment
from pcam_kit.errors import UsageError
from pcam_kit.formatting import Summary

KINDS = {
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "mapping",
    "null": "null",
}
# bounds of JSON Schema, as people say them
BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}
WRITTEN = {"external", "probe"}  # networks that no one writes: `pcam import`, `pcam probe` do


@dataclass(frozen=True, repr=False)
class Setting(Summary):
    """One key of an experiment.

    network: the kind of network that has it, "" where it is no network's. type: e.g. "integer" or
    "list of integers". allowed: values and bounds in words, "" for any. default: None for null, and
    where the setting is required. example: a value for `--set`.
    """

    key: str
    network: str
    type: str
    allowed: str
    required: bool
    default: Any
    meaning: str

    @property
    def default_text(self) -> str:
        """The default as YAML has it, or `required`."""
        if self.key == "name":
            return "the file's name"
        return "required" if self.required else json.dumps(self.default)

    @property
    def values(self) -> str:
        """Type and allowed values in one phrase, e.g. `integer, above 0`."""
        return ", ".join(filter(None, (self.type, self.allowed)))

    @property
    def example(self) -> str:
        """How it is set on the command line, with its default."""
        value = "..."
        if not self.required and self.default is not None:
            value = self.default if isinstance(self.default, str) else json.dumps(self.default)
        text = f"{self.key}={value}"
        return f"--set '{text}'" if set(text) & set(" []{}*") else f"--set {text}"

    def summary(self) -> dict[str, str]:
        """Everything about it."""
        values = {"key": self.key, "type": self.type, "allowed": self.allowed or "any"}
        if self.network:
            values["network"] = self.network
        return values | {"default": self.default_text, "meaning": self.meaning}

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the JSON object of `pcam config`."""
        return asdict(self)


@cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting, in the order of a config."""
    schema = Experiment.model_json_schema()
    return tuple(_settings(schema, schema["$defs"], "", ""))


def find_settings(key: str) -> list[Setting]:
    """The setting called `key`, or those below it; a network's option once for each network.

    Raises UsageError, with the likely spelling.
    """
    wanted = key.strip().strip(".")
    every = all_settings()
    found = [item for item in every if item.key == wanted or item.key.startswith(f"{wanted}.")]
    if not found:  # the last part alone, where it is enough
        found = [item for item in every if item.key.rpartition(".")[2] == wanted]
    if not found:
        keys = {item.key for item in every}
        parts = {part.rpartition(".")[2]: part for part in sorted(keys)}
        near = suggestion(wanted, keys) or suggestion(wanted, parts)
        raise UsageError(f"no setting called {shown(key)}{near}", hint="all of them: pcam config")
    return found


def _settings(
    part: Mapping[str, Any], defs: Mapping[str, Any], prefix: str, network: str
) -> Iterator[Setting]:
    """The settings of one part of the schema, and of the parts below it."""
    for name, field in part["properties"].items():
        key = f"{prefix}{name}"
        members = _members(field, defs)
        inner = [member for member in members if "properties" in member]
        alone = len(inner) == len(members) and field.get("type") != "array"
        if not alone:
            yield _setting(key, field, part, network, defs)
        items = [item for item in _items(members, defs) if "properties" in item]
        for member in inner:
            kind = member["properties"].get("name", {}).get("const", "")
            if len(inner) > 1 and kind in WRITTEN:
                continue
            yield from _settings(member, defs, f"{key}.", kind if len(inner) > 1 else network)
        for item in items:
            yield from _settings(item, defs, f"{key}[].", network)


def _setting(
    key: str, field: Mapping[str, Any], part: Mapping[str, Any], network: str, defs: Any
) -> Setting:
    members = _members(field, defs)
    name = key.rpartition(".")[2]
    return Setting(
        key=key,
        network=network,
        type=" or ".join(dict.fromkeys(_kind(member, defs) for member in members)),
        allowed="; ".join(filter(None, (_allowed(member, defs) for member in members))),
        required=name in part.get("required", ()),
        default=field.get("default"),
        meaning=" ".join(field.get("description", "").split()),
    )


def _members(field: Mapping[str, Any], defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a field may be, with references followed: several for `integer or null`."""
    if "$ref" in field:
        return [defs[field["$ref"].rpartition("/")[2]]]
    several = field.get("anyOf") or field.get("oneOf")
    if several is None:
        return [field]
    return [member for one in several for member in _members(one, defs)]


def _items(members: Sequence[Mapping[str, Any]], defs: Any) -> list[Mapping[str, Any]]:
    return [item for one in members if "items" in one for item in _members(one["items"], defs)]


def _kind(member: Mapping[str, Any], defs: Any) -> str:
    values = member.get("enum", [member["const"]] if "const" in member else [])
    if values:
        return f"one of {', '.join(values)}" if len(values) > 1 else str(values[0])
    if member.get("type") != "array":
        return KINDS[member["type"]]
    kinds = [_kind(item, defs) for item in _items([member], defs)]
    names = {"integer": "integers", "number": "numbers", "text": "texts", "mapping": "mappings"}
    return f"list of {' or '.join(names.get(kind, f'texts, each {kind}') for kind in kinds)}"


def _allowed(member: Mapping[str, Any], defs: Any) -> str:
    """Bounds, in words."""
    words: list[str] = []
    words += [f"{word} {_number(member[name])}" for name, word in BOUNDS.items() if name in member]
    if member.get("type") == "array":
        words += [f"each {_allowed(i, defs)}" for i in _items([member], defs) if _allowed(i, defs)]
        least, most = member.get("minItems", 0), member.get("maxItems")
        words += [f"{least or 'up'} to {most} entries"] if most is not None else []
    return ", ".join(words)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and value < 1e15 else f"{value:g}"
