"""Kinds of values that several schemas have: lines of text and free options, within limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pcam_kit.config.plain import is_text

LARGEST = 1e15  # of the numbers in options
# of numbers in a transform's options, whether pixels a side or a factor: patches of 96 pixels
# enlarged 40 times take 44 MB
LARGEST_SIDE = 4096
LARGEST_FACTOR = 40
TEMPERATURES = "temperature"  # in kelvin


class Part(BaseModel):
    """A part of a schema: frozen, strict, and without numbers that are not finite.

    The docstring below a field is its description: `pcam config` and docs/config.md show it.
    """

    # strict: "3" is not a number; finite: no learning rate is infinite
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def _check_line(text: str) -> str:
    if "\n" in text or not is_text(text):
        raise ValueError("expected one line of text without control characters")
    return text


Seed = Annotated[int, Field(ge=0, lt=2**31)]

Line = Annotated[str, Field(max_length=500), AfterValidator(_check_line)]
ShortLine = Annotated[str, Field(max_length=100), AfterValidator(_check_line)]


def _check_text(text: str) -> str:
    if not is_text(text):
        raise ValueError("expected text without control characters")
    return text


Text = Annotated[str, Field(max_length=2000), AfterValidator(_check_text)]


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number in lists and mappings, with the key it stands under."""
    match value:
        case bool():
            return
        case int() | float():
            yield key, value
        case list():
            for item in value:
                yield from _numbers(item, key)
        case dict():
            for name, item in value.items():
                yield from _numbers(item, str(name))
        case _:
            return


def _check_options(options: dict[str, Any]) -> dict[str, Any]:
    for key, number in _numbers(options):
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise ValueError(f"{key}: expected a number of at most {LARGEST:.0e}")
    return options


def _check_transform_options(options: dict[str, Any]) -> dict[str, Any]:
    for key, number in _numbers(options):
        most = LARGEST_FACTOR if key.startswith("scale") else LARGEST_SIDE
        if TEMPERATURES in key:
            most = LARGEST
        if not math.isfinite(number) or abs(number) > most:
            raise ValueError(f"{key}: expected a number of at most {most:,}")
    return options


Options = Annotated[dict[str, Any], AfterValidator(_check_options)]
TransformOptions = Annotated[dict[str, Any], AfterValidator(_check_transform_options)]
