"""What a run folder says of itself: `meta.json`, `config.yaml`, `result.json`, read and checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pcam_kit.competitions import Competition
from pcam_kit.config import load
from pcam_kit.config.schema import Experiment, Tta
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.parsing import parsing, printable, read_bytes, read_json

SCHEMA_VERSION = 1
# keys of meta.json without which a run cannot be used
META_KEYS = ("started", "backend", "seed", "competition", "store_fingerprint", "split_hash")
DAMAGED = "the run folder is damaged: train again"
CONFIG_BYTES = 1 << 20  # the largest config.yaml that is read


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has control characters")
    return text


_Text = Annotated[str, AfterValidator(_check_printable)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """A run that another one learns from, or is made of."""

    run: _Text
    seconds: _Number


class _Git(BaseModel):
    commit: _Text


class _Meta(BaseModel):
    """The keys of meta.json that this package reads; there are more for people."""

    model_config = ConfigDict(strict=True)

    id: _Text = ""
    started: _Text
    ended: _Text | None = None
    resumed: list[_Text] = []
    backend: _Text
    device: _Text = ""
    seed: int
    store_fingerprint: _Text
    split_hash: _Text
    folds_hash: _Text | None = None
    synthetic: bool = False
    git: _Git | None = None
    teachers: list[_Part] = []
    members: list[_Part] = []
    leaks: list[_Text] | None = None
    test_seen: Annotated[_Number, Field(le=1)] | None = None
    model_sha256: _Text | None = None


@dataclass(frozen=True)
class Result:
    """The scores of a finished training.

    AUC and accuracy are those of the best epoch's weights, averaged over the views of `tta`.
    """

    epochs: int
    best_epoch: int
    valid_n: int
    valid_auc: float
    valid_auc_low: float
    valid_auc_high: float
    valid_accuracy: float  # at `threshold`
    valid_accuracy_at_half: float
    threshold: float  # chosen on these same validation patches
    threshold_low: float
    threshold_high: float
    tta: Tta
    seconds: float
    # fitted on these same validation patches; None in runs written before it existed
    temperature: float | None = None


def read_meta(path: Path) -> dict[str, Any]:
    """The values of `meta.json`. Raises RunError when they cannot be used."""
    meta = _read_json(path)
    missing = [key for key in META_KEYS if key not in meta]
    if missing:
        raise RunError(f"{path} has no {', '.join(missing)}", hint=DAMAGED)
    try:
        Competition.model_validate(meta["competition"])
    except ValidationError as error:
        raise RunError(
            f"{path} has an unusable competition: {error.errors()[0]['msg']}", hint=DAMAGED
        ) from error
    _validate(_Meta, meta, path)
    return meta


def config_of(experiment: Experiment, text: bytes) -> dict[str, Any]:
    """The entry `config` of meta.json: the values of config.yaml, whose bytes are `text`.

    JSON is read in a hundredth of YAML's time, which counts in a folder of hundreds of runs.
    """
    return {"sha256": hashlib.sha256(text).hexdigest(), "values": load.resolved(experiment)}


def read_config(path: Path, meta: dict[str, Any]) -> Experiment:
    """The experiment of `config.yaml`, or of `meta`, where it says what that very file holds.

    Raises RunError.
    """

    def damaged(reason: str) -> RunError:
        return RunError(f"{path.parent} is damaged: {path.name}: {reason}", hint=DAMAGED)

    with parsing(damaged):
        text = read_bytes(path, CONFIG_BYTES)
        kept = meta.get("config")
        try:
            if isinstance(kept, dict) and kept.get("sha256") == hashlib.sha256(text).hexdigest():
                return load.load_kept(path, kept["values"])
            return load.load_experiment(str(path))
        except ConfigError as error:
            raise damaged(error.message) from error


def _read_json(path: Path) -> dict[str, Any]:
    with parsing(lambda reason: RunError(f"cannot read {path}: {reason}", hint=DAMAGED)):
        values = read_json(path)
    version = values.pop("schema_version", None) if isinstance(values, dict) else None
    if version is True or version != SCHEMA_VERSION:
        raise RunError(
            f"{path} has schema version {_short(version)}, this pcam reads version "
            f"{SCHEMA_VERSION}",
            hint="use the pcam that made this run (its version is in meta.json), or train again",
        )
    return values


def read_result(path: Path) -> Result:
    """The scores of `result.json`. Raises RunError when they are impossible."""
    values = _read_json(path)
    try:
        result = Result(**values)
    except TypeError as error:
        message = f"{path} does not have the expected keys: {printable(str(error))}"
        raise RunError(message, hint=DAMAGED) from error
    result = _validate(Result, asdict(result), path)
    for item in fields(result):
        value = getattr(result, item.name)
        if not isinstance(value, int | float):
            continue
        highest = 1.0 if item.name.startswith("valid_") and item.name != "valid_n" else None
        if not isfinite(value) or value < 0 or (highest is not None and value > highest):
            raise RunError(
                f"{path}: {item.name} is out of its range, found {_short(value)}", hint=DAMAGED
            )
    return result


def _validate(kind: Any, values: Any, path: Path) -> Any:
    """The values as `kind`. Raises RunError, which names the first that does not fit."""
    try:
        # as JSON: a dataclass is strict about its fields only there
        return _adapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = printable(".".join(map(str, first["loc"])))
        raise RunError(
            f"{path}: {where}: {first['msg']}, found {_short(first['input'])}", hint=DAMAGED
        ) from error


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built once: of hundreds of runs it would be most of the time."""
    return TypeAdapter(kind)


def _short(value: object) -> str:
    """A value from a file, for a message."""
    text = printable(repr(value))
    return text if len(text) <= 80 else f"{text[:80]}..."
