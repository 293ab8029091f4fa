"""Run folders: one training each, complete once `result.json` is there.

runs/<utc time>-<config name>-<4 hex>/
    config.yaml            the experiment, fully resolved
    meta.json              command line, git commit, versions, device, store, seed, times
    metrics.jsonl          a line an epoch
    state.npz              the checkpoint `--resume` goes on from; removed when the run is complete
    model.keras            the best weights so far by validation AUC
    predictions/<split>.npz
    result.json            the scores; written last
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from pcam_kit.competitions import Competition
from pcam_kit.config import load
from pcam_kit.config.schema import Experiment, Tta
from pcam_kit.errors import ConfigError, PcamError, RunError
from pcam_kit.files import read_npz, storage_error, write_json, writing
from pcam_kit.views import columns

SCHEMA_VERSION = 1
# without these it is of no use
META_KEYS = ("started", "backend", "seed", "competition", "store_fingerprint", "split_hash")
DAMAGED = "the run folder is damaged: train again"


@dataclass(frozen=True)
class Result:
    """What came out of a training.

    AUC and accuracy are of the best epoch's weights, averaged as `tta` says.
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
    # fitted on these same validation patches; None: a run from before there was one
    temperature: float | None = None


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one run on one split: `orbit` float32 [n, k], one column a view, as in
    `views.VIEWS` (column 0: as is).
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]  # -1 where unknown
    orbit: NDArray[np.float32]
    # number of the slide, -1 unknown; None: a file from before they were kept
    groups: NDArray[np.int32] | None = None

    def probability(self, tta: Tta) -> NDArray[np.float32]:
        """Probabilities float32 [n]: as is, or the mean over the views.

        Raises RunError unless they are there (`covers`).
        """
        found = columns(tta, self.orbit.shape[1])
        if found is None:
            raise RunError(
                f"predictions of {self.orbit.shape[1]} views of each patch hold none of --tta {tta}"
            )
        return self.orbit[:, found].astype(np.float64).mean(axis=1).astype(np.float32)

    def covers(self, tta: Tta) -> bool:
        """Whether the views that `tta` needs are there."""
        return columns(tta, self.orbit.shape[1]) is not None


@dataclass(frozen=True)
class Run:
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
        """The result. Raises RunError while there is none."""
        if self.result is None:
            raise RunError(
                f"{self.path} is not complete: its training was stopped",
                hint=f"pcam train --resume {self.name}",
            )
        return self.result

    @property
    def competition(self) -> Competition:
        """The profile the store had."""
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

    def save_predictions(self, split: str, predictions: Predictions) -> None:
        """Keep the predictions of `split`."""
        groups: dict[str, Any] = (
            {} if predictions.groups is None else {"groups": predictions.groups}
        )
        with (
            writing(self.path / "predictions" / f"{split}.npz") as temporary,
            open(temporary, "wb") as handle,
        ):
            np.savez(
                handle,
                ids=predictions.ids,
                labels=predictions.labels,
                orbit=predictions.orbit,
                **groups,
            )

    def load_predictions(self, split: str) -> Predictions | None:
        """The predictions kept for `split`, or None.

        Raises RunError when the file cannot be read.
        """
        path = self.path / "predictions" / f"{split}.npz"
        if not path.is_file():
            return None
        try:
            arrays = read_npz(path)
            return Predictions(
                arrays["ids"], arrays["labels"], arrays["orbit"], arrays.get("groups")
            )
        except (ValueError, KeyError) as error:
            raise RunError(
                f"cannot read {path}: {error}",
                hint=f"delete it, then run the same command again: rm {path}",
            ) from error

    def complete(self, result: Result) -> Run:
        """Write the result, which makes the run complete, and drop the checkpoint."""
        write_json(self.path / "result.json", {"schema_version": SCHEMA_VERSION, **asdict(result)})
        self.state_file.unlink(missing_ok=True)
        return open_run(self.path)


def create_run(runs_dir: Path, experiment: Experiment, meta: dict[str, Any]) -> Run:
    """Make a new run folder with its config and meta.

    Raises StorageError where that cannot be written.
    """
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{experiment.name}-{secrets.token_hex(2)}"
    path = runs_dir / name
    try:
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(load.dump_yaml(experiment), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, path) from error
    # from here on it is a run
    write_json(path / "meta.json", {"schema_version": SCHEMA_VERSION, **meta})
    return open_run(path)


def update_meta(run: Run, **changes: Any) -> Run:
    """Add to `meta.json`, e.g. a resume or the end time."""
    write_json(run.path / "meta.json", {"schema_version": SCHEMA_VERSION, **run.meta, **changes})
    return open_run(run.path)


def open_run(path: Path) -> Run:
    """Read a run folder. Raises RunError when it is none, damaged, or of another schema."""
    if not (path / "meta.json").is_file():
        raise RunError(
            f"{path} is not a run folder: it has no meta.json", hint="see what there is: pcam runs"
        )
    meta = _read(path / "meta.json")
    try:
        if lost := [key for key in META_KEYS if key not in meta]:
            raise RunError(f"{path / 'meta.json'} has no {', '.join(lost)}", hint=DAMAGED)
        Competition.model_validate(meta["competition"])
        experiment = load.load_experiment(str(path / "config.yaml"))
    except ConfigError as error:
        raise RunError(f"{path} is damaged: {error.message}", hint=DAMAGED) from error
    except ValidationError as error:
        raise RunError(
            f"{path / 'meta.json'} has an unusable competition: {error.errors()[0]['msg']}",
            hint=DAMAGED,
        ) from error
    values = _read(path / "result.json") if (path / "result.json").is_file() else None
    return Run(
        path,
        experiment,
        meta,
        _result(values, path / "result.json") if values is not None else None,
    )


def list_runs(runs_dir: Path, unreadable: Callable[[str], None] = lambda _: None) -> list[Run]:
    """All readable runs, oldest first.

    Damaged ones and those of another schema are left out, and `unreadable` is told why.
    """
    runs: list[Run] = []
    for path in sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []:
        try:
            if (path / "meta.json").is_file():
                runs.append(open_run(path))
        except PcamError as error:
            unreadable(error.message)
    return sorted(runs, key=lambda run: str(run.meta["started"]))


def find_run(
    runs_dir: Path,
    name: str | None,
    *,
    complete: bool | None = True,
    competition: str | None = None,
) -> Run:
    """The run called `name` (a path, a folder's name or its unique beginning or end), or the newest
    fitting one.

    complete: True wants finished runs, False unfinished ones, None either. Raises RunError when
    there is none.
    """
    if name is not None:
        run = open_run(_locate(runs_dir, name))
        if complete is True:
            _ = run.outcome
        return run
    fitting = [
        run
        for run in list_runs(runs_dir)
        if (complete is None or (run.result is not None) == complete)
        and (competition is None or run.meta["competition"]["slug"] == competition)
    ]
    if not fitting:
        kind = {True: "finished run", False: "unfinished run", None: "run"}[complete]
        raise RunError(
            f"no {kind} in {runs_dir}",
            hint="train one: pcam train" if complete is not False else "start one: pcam train",
        )
    return fitting[-1]


def _locate(runs_dir: Path, name: str) -> Path:
    for path in (Path(name), runs_dir / name):
        if path.is_dir() and (path / "meta.json").is_file():
            return path
    names = (
        sorted(path.name for path in runs_dir.iterdir() if (path / "meta.json").is_file())
        if runs_dir.is_dir()
        else []
    )
    found: Sequence[str] = [
        other for other in names if name and (other.startswith(name) or other.endswith(name))
    ]
    if len(found) == 1:
        return runs_dir / found[0]
    if name and Path(name).is_dir():
        raise RunError(
            f"{name} is not a run folder: it has no meta.json", hint="see what there is: pcam runs"
        )
    what = "no run" if not found else f"{len(found)} runs"
    raise RunError(
        f"{what} called {name!r} in {runs_dir}{load.suggestion(name, names)}",
        hint="see what there is: pcam runs",
    )


def _read(path: Path) -> dict[str, Any]:
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


def _result(values: dict[str, Any], path: Path) -> Result:
    try:
        return TypeAdapter(Result).validate_python(asdict(Result(**values)))
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(
            f"{path}: {first['loc'][0]}: {first['msg']}, found {first['input']!r}", hint=DAMAGED
        ) from error
    except TypeError as error:
        raise RunError(f"{path} does not have the expected keys: {error}", hint=DAMAGED) from error
