"""The trials of a sweep side by side: as a table, as files, as a picture."""

from __future__ import annotations

import csv
import io
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcam_kit.config.sweep import Sweep
from pcam_kit.errors import PcamError
from pcam_kit.evaluation.intervals import intervals
from pcam_kit.evaluation.selection import MOST, optimism
from pcam_kit.files import write_bytes, write_json
from pcam_kit.formatting import Summary, counted, interval
from pcam_kit.run_folders import Run, find_run
from pcam_kit.workflows.sweep.study import Trial
from pcam_kit.workspace import Workspace

if TYPE_CHECKING:
    from pcam_kit.plots.search import Point, Scale

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, repr=False)
class SweepResult(Summary):
    """What a sweep found.

    trials: in the order in which they began. best: of those that are complete; None where none is.
    interval: 95%, of the AUC of the best one's first run. optimism: by how much the best AUC is too
    high, as it was chosen by it; None where that cannot be told. command: trains the best again.
    """

    name: str
    folder: Path
    trials: tuple[Trial, ...]
    best: Trial | None
    interval: tuple[float, float] | None
    optimism: float | None
    command: str
    picture: Path | None

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    def summary(self) -> dict[str, str]:
        """How many trials there are, and the best one."""
        values = {"sweep": self.name, "trials": f"{len(self.trials):,}"}
        if self.best is not None and self.best.auc is not None:
            values["best"] = f"trial {self.best.number}, validation AUC {self.best.auc:.4f}"
            values |= {key: str(value) for key, value in self.best.values.items()}
        return values

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam sweep`."""
        return {
            "sweep": self.name,
            "folder": str(self.folder),
            "best": None if self.best is None else self.best.number,
            "interval": self.interval,
            "optimism": self.optimism,
            "command": self.command or None,
            "picture": None if self.picture is None else str(self.picture),
            "trials": [trial.to_dict() for trial in self.trials],
        }

    def sentences(self) -> list[str]:
        """What a person should know of the best trial."""
        if self.best is None or self.best.auc is None:
            return ["no trial is complete"]
        text = f"best: trial {self.best.number}, validation AUC {self.best.auc:.4f}"
        if self.interval is not None:
            text = f"best: trial {self.best.number}, validation AUC "
            text += interval(self.best.auc, *self.interval)
        lines = [text]
        if self.optimism is not None:
            n = self.count("complete")
            lines.append(
                f"it is the best of {n} on the patches that chose it: by a bootstrap its AUC is "
                f"too high by about {max(0.0, self.optimism):.4f}"
            )
        lines.append(f"train it with other seeds before you believe it: {self.command}")
        return lines


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Complete ones first, the highest AUC first."""
    return sorted(trials, key=lambda t: (t.state != "complete", -(t.auc or 0.0), t.number))


def as_table(trials: Sequence[Trial], keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Columns, and a row for each trial with its values of `keys`."""
    rows = [
        [
            str(trial.number),
            "-" if trial.auc is None else f"{trial.auc:.4f}",
            trial.state,
            str(trial.epochs),
            *(_short(trial.values.get(key)) for key in keys),
        ]
        for trial in trials
    ]
    return [
        "trial",
        "validation AUC",
        "",
        "epochs",
        *(key.rpartition(".")[2] for key in keys),
    ], rows


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def summarise(
    plan: Sweep, trials: Sequence[Trial], folder: Path, workspace: Workspace
) -> SweepResult:
    """Compare the trials; write `trials.csv`, `summary.json` and `search.png` into the sweep's
    folder.

    A run that is gone is left out of the interval and the optimism.
    """
    complete = [t for t in trials if t.state == "complete" and t.auc is not None]
    best = max(complete, key=lambda t: (t.auc or 0.0, -t.number), default=None)
    write_bytes(folder / "trials.csv", _csv(plan, trials).encode())
    span, too_high, command, picture = None, None, "", None
    if best is not None:
        span, too_high = _doubt(best, complete, workspace)
        chosen = " ".join(f"--set {shlex.quote(o)}" for o in plan.overrides(best.values))
        command = f"pcam train {plan.config} {chosen} --seeds 3"
        picture = _draw(plan, trials, folder)
    result = SweepResult(plan.name, folder, tuple(trials), best, span, too_high, command, picture)
    write_json(folder / SUMMARY, _summary(plan, result))
    return result


def _summary(plan: Sweep, result: SweepResult) -> dict[str, Any]:
    """All that a report needs to show the search."""
    values = {"schema_version": SCHEMA_VERSION, "config": plan.config, "scales": scales_of(plan)}
    told = result.to_dict()
    del told["folder"], told["picture"]  # where it lies is known, and may change
    return values | told | {"sentences": result.sentences()}


def _doubt(
    best: Trial, complete: Sequence[Trial], workspace: Workspace
) -> tuple[tuple[float, float] | None, float | None]:
    """The interval of the best, and how far it flatters itself."""
    # the bootstrap looks at so many at most: the predictions of others need not be read
    leading = sorted(complete, key=lambda t: -(t.auc or 0.0))[:MOST]
    found = {t.number: run for t in leading if (run := _run(t, workspace)) is not None}
    loaded = {number: run.load_predictions("valid") for number, run in found.items()}
    known = {number: one for number, one in loaded.items() if one is not None}
    own = known.get(best.number)
    if own is None:
        return None, None
    outputs = {n: one.probability(found[n].outcome.tta) for n, one in known.items()}
    threshold = found[best.number].outcome.threshold
    span = intervals(own.labels, outputs[best.number], threshold, own.groups).auc
    # folds have other patches each
    if len({len(one.labels) for one in known.values()}) > 1:
        return span, None
    return span, optimism(own.labels, list(outputs.values()), own.groups)


def _run(trial: Trial, workspace: Workspace) -> Run | None:
    """The first run of a trial, where it is still there."""
    if not trial.runs:
        return None
    try:
        run = find_run(workspace.runs, trial.runs[0])
        return run if run.result is not None else None
    except PcamError as error:
        log.warning(f"trial {trial.number}: {error.message}")
        return None


def _csv(plan: Sweep, trials: Sequence[Trial]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "state", "valid_auc", "epochs", *plan.search, "runs", "error"])
    for t in trials:
        auc = "" if t.auc is None else f"{t.auc:.6f}"
        values = [t.values.get(key, "") for key in plan.search]
        writer.writerow([t.number, t.state, auc, t.epochs, *values, " ".join(t.runs), t.error])
    return buffer.getvalue()


def scales_of(plan: Sweep) -> Mapping[str, Scale]:
    """How the values of each key are drawn."""
    scales: dict[str, Scale] = {}
    for key, space in plan.search.items():
        if isinstance(space, list):
            scales[key] = "list"
        else:
            scales[key] = "log" if space.log else "linear"
    return scales


def points_of(trials: Sequence[Trial]) -> list[Point]:
    """The trials that were measured, as `plots.search` draws them."""
    return [(t.number, t.state == "complete", t.auc, t.values) for t in trials if t.auc is not None]


def _draw(plan: Sweep, trials: Sequence[Trial], folder: Path) -> Path:
    from pcam_kit.plots.search import search
    from pcam_kit.plots.style import to_bytes

    figure = search(points_of(trials), scales_of(plan))
    path = folder / "search.png"
    write_bytes(path, to_bytes(figure, "png"))
    log.info(f"{counted(len(trials), 'trial')}: {folder / 'trials.csv'}, {path}")
    return path
