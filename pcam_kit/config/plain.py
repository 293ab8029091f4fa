"""YAML as plain values: null, truth values, numbers, text, lists and mappings, within limits.

The one place where YAML is parsed. What a config needs no file may exceed: bytes, depth, and the
number of values once aliases are written out, since 400 bytes of aliases may stand for gigabytes.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from pcam_kit.errors import ConfigError
from pcam_kit.parsing import parsing, printable

CHARACTERS = 1 << 16  # read in 3 s at worst; the shipped configs have up to 2,000
DEPTH = 32
VALUES = 100_000  # aliases written out
DIGITS = 100  # of a number as text
SHOWN = 100  # characters of a value in a message
TAG = "tag:yaml.org,2002:"


def read_plain(text: str, where: str) -> Any:
    """The value of a YAML 1.2 text, in which `1e-3` is a number and a date is text.

    where: the source, for error messages. Raises ConfigError with the line for whatever is no plain
    value: other tags, keys that are no text or stand there twice, text with control characters.
    """
    if len(text) > CHARACTERS:
        raise ConfigError(
            f"{where} has {len(text):,} characters: expected at most {CHARACTERS:,}",
            hint="a config or profile is a short YAML file: is it the right file?",
        )
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = DEPTH
    with parsing(lambda reason: ConfigError(f"{where} is not valid YAML: {reason}")):
        try:
            node = yaml.compose(text)
        except YAMLError as error:  # its later lines say where
            raise ValueError(_cut(" ".join(str(error).split()), 3 * SHOWN)) from error
    return None if node is None else _Reader(yaml.constructor, where).read(node, 0)


def is_text(text: str) -> bool:
    """Whether text of a config has none of what no text needs.

    That is control characters but tab and line break, halves of characters, and marks that change
    the direction of writing.
    """
    return text.isprintable() or not any(
        unicodedata.category(character) in {"Cc", "Cs", "Cf"} and character not in "\t\n"
        for character in text
    )


def shown(value: Any) -> str:
    """A value of a config for a message: printable, and not too long."""
    return printable(_cut(repr(value), SHOWN))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


class _Reader:
    """The nodes of one text as values."""

    def __init__(self, constructor: Any, where: str) -> None:
        self._constructor, self._where = constructor, where
        self._values = 0

    def read(self, node: Any, depth: int) -> Any:
        """The value of a node, which lies in `depth` others."""
        self._values += 1
        if self._values > VALUES:
            raise self._error(node, f"its aliases stand for more than {VALUES:,} values")
        if depth > DEPTH:
            raise self._error(node, f"it is nested more than {DEPTH} times, or contains itself")
        kind = str(node.tag).removeprefix(TAG)
        match node:
            case ScalarNode():
                return self._read_scalar(node, kind)
            case SequenceNode() if kind == "seq":
                return [self.read(item, depth + 1) for item in node.value]
            case MappingNode() if kind == "map":
                return self._read_mapping(node, depth)
            case _:
                raise self._unknown(node)

    def _read_scalar(self, node: Any, kind: str) -> Any:
        text: str = node.value
        # a date is text in YAML 1.2; `<<` is a key in 1.1
        if kind in {"str", "timestamp", "merge"}:
            if not is_text(text):
                raise self._error(node, f"there is a control character in {shown(text)}")
            return text
        if kind not in {"null", "bool", "int", "float"}:
            raise self._unknown(node)
        if len(text) > DIGITS:
            raise self._error(node, f"expected a number, found {len(text):,} characters")
        with parsing(lambda _: self._error(node, f"expected {kind}, found {shown(text)}")):
            return self._constructor.construct_object(node, deep=True)

    def _read_mapping(self, node: Any, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.read(key_node, depth + 1)
            if not isinstance(key, str):
                raise self._error(key_node, f"expected a name before the colon, found {shown(key)}")
            if key in values:
                raise ConfigError(
                    f"{self._place(key_node)}: the key {shown(key)} stands there a second time",
                    hint="keep one of the two",
                )
            value = self.read(value_node, depth + 1)
            if str(key_node.tag) == f"{TAG}merge":
                merged = self._merge(value_node, value) | merged
            else:
                values[key] = value
        return merged | values

    def _merge(self, node: Any, value: Any) -> dict[str, Any]:
        """What `<<` adds: a mapping, or a list of which the first one counts most."""
        result: dict[str, Any] = {}
        for mapping in reversed(value if isinstance(value, list) else [value]):
            if not isinstance(mapping, dict):
                raise self._error(node, f"expected a mapping after <<, found {shown(mapping)}")
            result |= mapping
        return result

    def _unknown(self, node: Any) -> ConfigError:
        tag = str(node.tag).replace(TAG, "!!")
        return self._error(node, f"expected a plain value, found the tag {shown(tag)}")

    def _error(self, node: Any, reason: str) -> ConfigError:
        return ConfigError(f"{self._place(node)}: {reason}")

    def _place(self, node: Any) -> str:
        return f"{self._where}, line {node.start_mark.line + 1}"
