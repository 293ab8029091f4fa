"""One run folder: create it, read it, add to it, complete it."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pcam_kit.competitions import Competition
from pcam_kit.config import load
from pcam_kit.config.schema import Experiment, Tta
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.files import sha256_file, storage_error, write_json
from pcam_kit.formatting import Summary, interval
from pcam_kit.parsing import parsing, printable, read_bytes, read_json
from pcam_kit.run_folders.predictions import Predictions, read_predictions, write_predictions

log = logging.getLogger(__name__)

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


class _Teacher(BaseModel):
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
    teachers: list[_Teacher] = []
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


@dataclass(frozen=True, repr=False)
class Run(Summary):
    """A run folder that was opened; `result` is None while the run is not complete."""

    path: Path
    experiment: Experiment
    meta: dict[str, Any]
    result: Result | None

    @property
    def name(self) -> str:
        """The folder's name: unique, and in order of time."""
        return self.path.name

    @property
    def id(self) -> str:
        """What tells its files from another run's; "" in runs of before there were ids."""
        return self.meta.get("id", "")

    @property
    def outcome(self) -> Result:
        """The result.

        Raises RunError while the run is not complete.
        """
        if self.result is None:
            raise RunError(
                f"{self.path} is not complete: its training was stopped",
                hint=f"pcam train --resume {self.name}",
            )
        return self.result

    @property
    def competition(self) -> Competition:
        """The profile that the store had during training."""
        return Competition.model_validate(self.meta["competition"])

    @property
    def model_file(self) -> Path:
        return self.path / "model.keras"

    @property
    def state_file(self) -> Path:
        return self.path / "state.npz"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def lock_file(self) -> Path:
        return self.path / ".lock"

    def summary(self) -> dict[str, str]:
        """Name, config, data and validation scores."""
        values = {
            "run": self.name,
            "config": f"{self.experiment.name}, seed {self.experiment.seed}",
            "competition": self.competition.slug,
        }
        if self.result is None:
            return values | {"state": "not complete"}
        result = self.result
        auc = interval(result.valid_auc, result.valid_auc_low, result.valid_auc_high)
        return values | {
            "validation AUC": f"{auc}, epoch {result.best_epoch} of {result.epochs}",
            "accuracy": f"{result.valid_accuracy:.4f} at threshold {result.threshold:.3f}",
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam runs`."""
        return {
            "run": str(self.path),
            "config": self.experiment.name,
            "competition": self.meta["competition"]["slug"],
            "complete": self.result is not None,
            "seed": self.experiment.seed,
            "started": self.meta["started"],
            "result": asdict(self.result) if self.result is not None else None,
        }

    def training_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam train`.

        Raises RunError while the run is not complete.
        """
        result = asdict(self.outcome)
        keys = ("epochs", "best_epoch", "valid_auc", "valid_accuracy", "threshold", "seconds")
        return {"run": str(self.path), **{key: result[key] for key in keys}}

    def save_predictions(self, split: str, predictions: Predictions) -> None:
        """Keep the predictions of `split`, with the names of their views."""
        write_predictions(self.predictions_file(split), predictions, self.id)

    def load_predictions(self, split: str) -> Predictions | None:
        """The predictions kept for `split`, or None.

        Raises RunError when the file cannot be read, or is not what this run wrote.
        """
        path = self.predictions_file(split)
        if not path.exists():
            return None
        self.warn_without_id()
        return read_predictions(path, self.id)

    def check_model(self) -> None:
        """Raises RunError when model.keras is not the file that this run ended with."""
        expected = self.meta.get("model_sha256")
        self.warn_without_id()
        try:
            changed = expected is not None and sha256_file(self.model_file) != expected
        except OSError as error:
            raise storage_error(error, self.model_file, "read") from error
        if changed:
            raise RunError(
                f"{self.model_file} is not the model that {self.name} ended with: its checksum is "
                "another than in meta.json",
                hint="bring the file back from a copy, or train again: pcam train",
            )

    def warn_without_id(self) -> None:
        """Warn once that nothing can tell whether files are this run's: those of before ids."""
        if not self.id:
            _warn_without_id(self.name)

    def complete(self, result: Result) -> Run:
        """Write the result, which makes the run complete, and delete the checkpoint."""
        if self.model_file.is_file():
            current = open_run(self.path)  # meta.json may have been added to
            update_meta(current, model_sha256=sha256_file(self.model_file))
        write_json(self.path / "result.json", {"schema_version": SCHEMA_VERSION, **asdict(result)})
        self.state_file.unlink(missing_ok=True)
        return open_run(self.path)

    def predictions_file(self, split: str) -> Path:
        """Where the predictions of `split` are kept."""
        return self.path / "predictions" / f"{split}.npz"


def create_run(
    runs_dir: Path,
    experiment: Experiment,
    meta: dict[str, Any],
    *,
    add_files: Callable[[Path], None] | None = None,
) -> Run:
    """Make a new run folder with its config and meta.

    add_files: writes further files into the folder before it becomes a run. Raises StorageError
    when something cannot be written.
    """
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{experiment.name}-{secrets.token_hex(2)}"
    path = runs_dir / name
    try:
        path.mkdir(parents=True)
        (path / "config.yaml").write_bytes(load.dump_yaml(experiment).encode())
        if add_files is not None:
            add_files(path)
    except OSError as error:
        raise storage_error(error, path) from error
    # this makes the folder a run
    values = {"schema_version": SCHEMA_VERSION, "id": secrets.token_hex(16), **meta}
    write_json(path / "meta.json", values)
    return open_run(path)


def update_meta(run: Run, **changes: Any) -> Run:
    """Add to `meta.json`, e.g. a resume or the end time."""
    write_json(run.path / "meta.json", {"schema_version": SCHEMA_VERSION, **run.meta, **changes})
    return open_run(run.path)


def open_run(path: Path) -> Run:
    """Read a run folder.

    Raises RunError when it is not a run folder, damaged, or of another schema.
    """
    meta_file, result_file = path / "meta.json", path / "result.json"
    if not meta_file.is_file():
        raise RunError(
            f"{path} is not a run folder: it has no meta.json", hint="see what there is: pcam runs"
        )
    meta = _read_json(meta_file)
    missing = [key for key in META_KEYS if key not in meta]
    if missing:
        raise RunError(f"{meta_file} has no {', '.join(missing)}", hint=DAMAGED)
    try:
        Competition.model_validate(meta["competition"])
    except ValidationError as error:
        raise RunError(
            f"{meta_file} has an unusable competition: {error.errors()[0]['msg']}", hint=DAMAGED
        ) from error
    _validate(_Meta, meta, meta_file)
    experiment = _read_config(path / "config.yaml")
    result = _read_result(result_file) if result_file.exists() else None
    return Run(path, experiment, meta, result)


def _read_config(path: Path) -> Experiment:
    def damaged(reason: str) -> RunError:
        return RunError(f"{path.parent} is damaged: {path.name}: {reason}", hint=DAMAGED)

    with parsing(damaged):
        read_bytes(path, CONFIG_BYTES)
        try:
            return load.load_experiment(str(path))
        except ConfigError as error:
            raise damaged(error.message) from error


def _read_json(path: Path) -> dict[str, Any]:
    with parsing(lambda reason: RunError(f"cannot read {path}: {reason}", hint=DAMAGED)):
        values = read_json(path)
    version = values.pop("schema_version", None) if isinstance(values, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise RunError(
            f"{path} has schema version {_short(version)}, this pcam reads version "
            f"{SCHEMA_VERSION}",
            hint="use the pcam that made this run (its version is in meta.json), or train again",
        )
    return values


def _read_result(path: Path) -> Result:
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
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = printable(".".join(map(str, first["loc"])))
        raise RunError(
            f"{path}: {where}: {first['msg']}, found {_short(first['input'])}", hint=DAMAGED
        ) from error


def _short(value: object) -> str:
    """A value from a file, for a message."""
    text = printable(repr(value))
    return text if len(text) <= 80 else f"{text[:80]}..."


@lru_cache(maxsize=1024)
def _warn_without_id(name: str) -> None:
    log.warning(
        f"{name} was made by an earlier version: nothing tells whether its model and predictions "
        "are those that it wrote"
    )
