"""Faults in a config, each as one line with the likely spelling."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from pcam_kit.config.plain import SHOWN, shown
from pcam_kit.config.schema import Experiment
from pcam_kit.parsing import printable


def suggestion(word: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a valid word is similar, otherwise an empty string."""
    # long words take long, and are near none
    matches = difflib.get_close_matches(word[:SHOWN], list(valid), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def describe_fault(model: type[BaseModel], item: Any) -> str:
    """One line for one item of pydantic's `ValidationError.errors()`."""
    valid, keys = _walk(model, item["loc"])
    path = ".".join(shown(key)[1:-1] for key in keys)
    match item["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key{suggestion(keys[-1], valid)} (known: {', '.join(valid)})"
        case "missing":
            return f"{path}: missing"
        case "union_tag_invalid" | "union_tag_not_found":
            tags = list(_by_tag(_models(Experiment.model_fields["model"].annotation)))
            value = item["input"]
            if isinstance(value, dict):
                value = value.get("name")
            return (
                f"{path}.name: expected one of {', '.join(tags)}, found "
                f"{shown(value)}{suggestion(str(value), tags)}"
            )
        case _:
            message = item["msg"].removeprefix("Value error, ")
            return (
                f"{path or '(top level)'}: {printable(message[:1].lower() + message[1:])}, found "
                f"{shown(item['input'])}"
            )


def _walk(model: Any, location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The keys valid where `location` ends, and the keys of `location` as a user writes them.

    location: as pydantic reports it, which includes the tags of unions.
    """
    keys: list[str] = []
    valid: list[str] = []
    for part in location:
        models = _models(model)
        if len(models) > 1 and part in _by_tag(models):
            model = _by_tag(models)[str(part)]
            continue
        keys.append(str(part))
        if isinstance(part, int):
            continue
        fields = models[0].model_fields if models else {}
        valid = sorted(fields)
        model = fields[part].annotation if part in fields else None
    return valid, keys


def _by_tag(models: Sequence[type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """The members of a union by their `name`, which tells them apart."""
    return {str(get_args(model.model_fields["name"].annotation)[0]): model for model in models}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models inside an annotation such as `list[Transform]` or `A | B`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
