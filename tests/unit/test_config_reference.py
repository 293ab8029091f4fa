"""Every setting of an experiment is described, and found by its key."""

from __future__ import annotations

import json
import shlex
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pcam_kit.cli.config import markdown, text
from pcam_kit.config.load import apply_overrides, load_experiment
from pcam_kit.config.reference import all_settings, find_settings
from pcam_kit.config.schema import Experiment, FewDigits
from pcam_kit.errors import UsageError


def parts(model: Any) -> list[type[BaseModel]]:
    """A model and all below it."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        below = [part for field in model.model_fields.values() for part in parts(field.annotation)]
        return [model, *below]
    return [part for argument in get_args(model) for part in parts(argument)]


def test_every_field_has_a_description() -> None:
    found = {part for schema in (Experiment, FewDigits) for part in parts(schema)}
    assert len(found) > 15
    missing = [
        f"{part.__name__}.{name}"
        for part in found
        for name, field in part.model_fields.items()
        if not (field.description or "").strip().endswith((".", "none)."))
    ]
    assert missing == []


def test_the_settings_are_those_of_a_config() -> None:
    """Each key of a resolved config is a setting, with the default that the schema has."""
    resolved = load_experiment("lab").model_dump(mode="json")
    settings = {item.key: item for item in all_settings() if item.network in ("", "lab_cnn")}

    def check(values: dict[str, Any], prefix: str) -> None:
        for name, value in values.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and key not in settings:
                check(value, f"{key}.")
            elif not key.startswith("model."):
                assert key in settings

    check(resolved, "")
    assert settings["training.epochs"].default == 10
    assert settings["training.learning_rate"].values == "number, above 0, at most 1e+38"
    assert settings["data.stain"].values == "one of reinhard, macenko or null"
    assert settings["training.track"].type.startswith("list of texts, each one of tensorboard")
    assert settings["data.fold.index"].required
    assert settings["model.filters"].default == [16, 32]
    assert not any(item.key == "model" for item in all_settings())


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("training.learning_rate", ["training.learning_rate"]),
        ("learning_rate", ["training.learning_rate"]),
        ("augment.stain", ["augment.stain", "augment.stain.strength", "augment.stain.shift"]),
        ("model.group", ["model.group"]),
        ("model.widths", ["model.widths", "model.widths"]),
    ],
)
def test_a_key_a_part_or_the_last_word_is_enough(key: str, keys: list[str]) -> None:
    assert [item.key for item in find_settings(key)] == keys


@pytest.mark.parametrize("key", ["training.learnin_rate", "", "\x1b[31m", "x" * 100_000])
def test_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="no setting called") as caught:
        find_settings(key)
    assert caught.value.hint == "all of them: pcam config"
    assert len(caught.value.message) < 300
    if "learn" in key:
        assert "did you mean 'training.learning_rate'?" in caught.value.message


def test_the_example_of_every_setting_can_be_typed() -> None:
    for item in all_settings():
        if item.required or item.default is None or "[]." in item.key:
            continue
        option, override = shlex.split(item.example)
        assert option == "--set"
        values = apply_overrides({}, [override])
        for name in item.key.split("."):
            values = values[name]
        assert values == item.default, item.key


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_fits_and_the_page_has_every_key(width: int) -> None:
    lines = list(text(all_settings(), width))
    assert max(map(len, lines)) <= width
    page = "\n".join(markdown(all_settings()))
    for item in all_settings():
        assert f"| `{item.key}` |" in page
        json.dumps(item.to_dict())
