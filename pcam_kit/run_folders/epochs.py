"""The epochs of a run, `metrics.jsonl`: one line of JSON an epoch, written whole, read checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pcam_kit.errors import RunError
from pcam_kit.files import write_bytes
from pcam_kit.parsing import parse_json, parsing, printable, read_bytes
from pcam_kit.run_folders.run import Run

METRICS_BYTES = 64 << 20  # the largest metrics.jsonl that is read: 100,000 epochs have 20 MB
_HINT = "bring it back from a copy; without it the run has no learning curves, and all else works"

_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(ge=0)]


class Epoch(BaseModel):
    """One line of metrics.jsonl.

    What runs of version 0.1 did not write is None. loss: mean over the steps, with label smoothing
    and penalties of weights. accuracy: of the training batches as they were trained on, augmented,
    with dropout, while weights change; a soft target counts as its class at 0.5. valid_loss: mean
    cross-entropy of the labels alone. valid_accuracy: at probability 0.5. seconds: since the
    training began. best: whether this epoch had the highest validation AUC so far.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    epoch: int = Field(gt=0)
    loss: float
    accuracy: _Share | None = None
    valid_loss: _Positive | None = None
    valid_auc: _Share
    valid_accuracy: _Share | None = None
    best: bool
    learning_rate: _Positive
    seconds: _Positive


def write_metrics(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write a line for each epoch; the file is replaced as a whole."""
    lines = [f"{json.dumps(line, allow_nan=False)}\n" for line in history]
    write_bytes(path, "".join(lines).encode())


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """The epochs of a run as `Epoch` has them, oldest first; each has all keys.

    Empty before the first epoch is finished, and for predictions from elsewhere. What a run of
    version 0.1 did not record is None. Raises RunError, which names the line, for a file that is
    cut, damaged or not what a run writes.
    """
    path = run.metrics_file
    if not path.exists():
        return []

    def unusable(reason: str) -> RunError:
        return RunError(f"cannot read {path}: {reason}", hint=_HINT)

    with parsing(unusable):
        lines = read_bytes(path, METRICS_BYTES).decode("utf-8").splitlines()
    return [_read_line(line, number, path).model_dump() for number, line in enumerate(lines, 1)]


def _read_line(line: str, number: int, path: Path) -> Epoch:
    def unusable(reason: str) -> RunError:
        return RunError(f"{path}, line {number}: {reason}", hint=_HINT)

    with parsing(unusable):
        value = parse_json(line)
        if not isinstance(value, dict):
            raise ValueError(f"expected the values of an epoch, found {type(value).__name__}")
        try:
            epoch = Epoch.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = printable(".".join(map(str, first["loc"])))
            raise ValueError(f"{where}: {first['msg']}") from error
        if epoch.epoch != number:
            raise ValueError(f"expected epoch {number}, found epoch {epoch.epoch}")
    return epoch
