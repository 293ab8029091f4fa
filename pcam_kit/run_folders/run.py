"""One run folder: create it, read it, add to it, complete it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pcam_kit import mirrors
from pcam_kit.competitions import Competition
from pcam_kit.config import load
from pcam_kit.config.schema import Experiment, WithoutNetwork
from pcam_kit.errors import RunError
from pcam_kit.files import delete, sha256_file, storage_error, write_json
from pcam_kit.formatting import Summary, interval
from pcam_kit.run_folders.predictions import Predictions, read_predictions, write_predictions
from pcam_kit.run_folders.record import (
    SCHEMA_VERSION,
    Result,
    config_of,
    read_config,
    read_meta,
    read_result,
)

log = logging.getLogger(__name__)


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
    def members(self) -> list[str]:
        """Names of the runs that an ensemble is the mean of, beside it; [] for other runs."""
        return [member["run"] for member in self.meta.get("members", ())]

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
        values = {"run": str(self.path), **{key: result[key] for key in keys}}
        return values | {"members": self.members} if self.members else values

    def save_predictions(self, split: str, predictions: Predictions) -> None:
        """Keep the predictions of `split`, with the names of their views."""
        write_predictions(self.predictions_file(split), predictions, self.id)

    def load_predictions(self, split: str) -> Predictions | None:
        """The predictions kept for `split`, or None.

        Raises RunError when the file cannot be read, or is not what this run wrote.
        """
        path = self.predictions_file(split)
        mirrors.bring(path)
        if not path.exists():
            return None
        self.warn_without_id()
        return read_predictions(path, self.id)

    def check_network(self) -> None:
        """Raises RunError unless the run has a network of its own."""
        if isinstance(network := self.experiment.model, WithoutNetwork):
            raise RunError(
                f"{self.name} holds {network.holds}: it has no network",
                hint="choose a run that was trained here: pcam runs",
            )
        if self.members:
            raise RunError(
                f"{self.name} is the mean of {len(self.members)} networks, not one",
                hint=f"choose one of them: {', '.join(self.members)}",
            )

    def check_model(self) -> None:
        """Raises RunError when model.keras is not the file that this run ended with."""
        mirrors.bring(self.model_file)
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
        delete(self.state_file)
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
    config = load.dump_yaml(experiment).encode()
    try:
        path.mkdir(parents=True)
        (path / "config.yaml").write_bytes(config)
        if add_files is not None:
            add_files(path)
    except OSError as error:
        raise storage_error(error, path) from error
    # this makes the folder a run
    values = {
        "schema_version": SCHEMA_VERSION,
        "id": secrets.token_hex(16),
        "config": config_of(experiment, config),
        **meta,
    }
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
    meta = read_meta(meta_file)
    experiment = read_config(path / "config.yaml", meta)
    result = read_result(result_file) if result_file.exists() else None
    return Run(path, experiment, meta, result)


@lru_cache(maxsize=1024)
def _warn_without_id(name: str) -> None:
    log.warning(
        f"{name} was made by an earlier version: nothing tells whether its model and predictions "
        "are those that it wrote"
    )
