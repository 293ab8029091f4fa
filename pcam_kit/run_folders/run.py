"""One run folder: create it, read it, add to it, complete it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pcam_kit.competitions import Competition
from pcam_kit.config import load
from pcam_kit.config.schema import Experiment, Tta
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.files import storage_error, write_json
from pcam_kit.formatting import Summary, interval
from pcam_kit.run_folders.predictions import Predictions, read_predictions, write_predictions

SCHEMA_VERSION = 1
# keys of meta.json without which a run cannot be used
META_KEYS = ("started", "backend", "seed", "competition", "store_fingerprint", "split_hash")
DAMAGED = "the run folder is damaged: train again"


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
        write_predictions(self._predictions_file(split), predictions)

    def load_predictions(self, split: str) -> Predictions | None:
        """The predictions kept for `split`, or None.

        Raises RunError when the file cannot be read.
        """
        path = self._predictions_file(split)
        return read_predictions(path) if path.is_file() else None

    def complete(self, result: Result) -> Run:
        """Write the result, which makes the run complete, and delete the checkpoint."""
        write_json(self.path / "result.json", {"schema_version": SCHEMA_VERSION, **asdict(result)})
        self.state_file.unlink(missing_ok=True)
        return open_run(self.path)

    def _predictions_file(self, split: str) -> Path:
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
    write_json(path / "meta.json", {"schema_version": SCHEMA_VERSION, **meta})
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
        experiment = load.load_experiment(str(path / "config.yaml"))
    except ConfigError as error:
        raise RunError(f"{path} is damaged: {error.message}", hint=DAMAGED) from error
    except ValidationError as error:
        raise RunError(
            f"{meta_file} has an unusable competition: {error.errors()[0]['msg']}", hint=DAMAGED
        ) from error
    result = _read_result(result_file) if result_file.is_file() else None
    return Run(path, experiment, meta, result)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}", hint=DAMAGED) from error
    version = values.pop("schema_version", None) if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path} has schema version {version}, this pcam reads version {SCHEMA_VERSION}",
            hint="use the pcam that made this run (its version is in meta.json), or train again",
        )
    return values


def _read_result(path: Path) -> Result:
    values = _read_json(path)
    try:
        return TypeAdapter(Result).validate_python(asdict(Result(**values)))
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(
            f"{path}: {first['loc'][0]}: {first['msg']}, found {first['input']!r}", hint=DAMAGED
        ) from error
    except TypeError as error:
        raise RunError(f"{path} does not have the expected keys: {error}", hint=DAMAGED) from error
