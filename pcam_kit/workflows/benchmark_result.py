"""What `pcam benchmark` finds: scores of runs on test patches, beside published ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pcam_kit import __version__
from pcam_kit.data.store import Store
from pcam_kit.evaluation.intervals import sampling_unit
from pcam_kit.evaluation.published import HEADINGS, MEDALS, PCAM, Key, Published, medal_of
from pcam_kit.formatting import Summary, counted, interval, mean_sd
from pcam_kit.run_folders import Run
from pcam_kit.workflows.evaluate import RunEvaluation
from pcam_kit.workflows.score_table import Table

BenchmarkName = Literal["pcam", "mle-bench"]
PUBLISHED: dict[BenchmarkName, tuple[Published, ...]] = {"pcam": PCAM, "mle-bench": MEDALS}


@dataclass(frozen=True)
class Score:
    """A score and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, repr=False)
class Benchmark(Summary):
    """The runs' scores on the test patches, and the file where they were written.

    scores: of each run, those that the benchmark is about. leaks: what parts of the data share.
    notes: what a reader of the scores should know.
    """

    name: BenchmarkName
    store: Store = field(repr=False)
    evaluations: Sequence[RunEvaluation]
    scores: Sequence[dict[Key, Score]]
    leaks: Sequence[str]
    notes: Sequence[str]
    path: Path

    def summary(self) -> dict[str, str]:
        """Config, test patches, mean ± sd of each score, and the medal of the mean."""
        first = self.evaluations[0]
        values = {
            "benchmark": self.name,
            "config": f"{first.run.experiment.name}, {counted(len(self.scores), 'seed')}",
            "test": f"{first.scores.n:,} patches",
        }
        values |= {HEADINGS[key]: mean_sd(self.values(key)) for key in self.keys}
        return values | self._medal(self.mean("auc"))

    @property
    def keys(self) -> list[Key]:
        """The scores that the benchmark is about."""
        return list(self.scores[0])

    def values(self, key: Key) -> list[float]:
        """One score of every run."""
        return [scores[key].value for scores in self.scores]

    def mean(self, key: Key) -> float:
        """The mean of one score over the runs."""
        return statistics.fmean(self.values(key))

    def sd(self, key: Key) -> float | None:
        """The standard deviation (n - 1) of one score; None for one run."""
        values = self.values(key)
        return statistics.stdev(values) if len(values) > 1 else None

    def table(self) -> Table:
        """A row for each run, their mean ± sd, and the published scores."""
        columns = [f"{key}{end}" for key in self.keys for end in ("", "_low", "_high", "_sd")]
        rows: list[list[Any]] = []
        texts: list[list[str]] = []

        def add(name: str, values: dict[str, Any], shown: list[str], *ends: str) -> None:
            rows.append([name, *(values.get(column, "") for column in columns), *ends])
            texts.append([name, *shown, *(end or "-" for end in ends)])

        config = self.evaluations[0].run.experiment.name
        for evaluation, scores in zip(self.evaluations, self.scores, strict=True):
            run = evaluation.run
            shown = [interval(x.value, x.low, x.high) for x in scores.values()]
            ends = (*self._medal(scores["auc"].value).values(), run.name)
            add(f"{config}, seed {run.experiment.seed}", _flat(scores), shown, *ends)
        if len(self.scores) > 1:
            means: dict[str, Any] = {key: self.mean(key) for key in self.keys}
            means |= {f"{key}_sd": self.sd(key) for key in self.keys}
            shown = [mean_sd(self.values(key)) for key in self.keys]
            ends = (*self._medal(self.mean("auc")).values(), "")
            add(f"{config}, mean ± sd", means, shown, *ends)
        medal = [*self._medal(0.0)]
        for other in PUBLISHED[self.name]:
            values = {key: value for key in self.keys if (value := other.value(key)) is not None}
            shown = [other.text(key) for key in self.keys]
            add(other.name, {**values}, shown, *[""] * len(medal), other.source)
        headings = ["", *(HEADINGS[key] for key in self.keys), *medal, "source"]
        return Table(["name", *columns, *medal, "source"], rows, texts, headings)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam benchmark`, also that of the file; the sd of one run is null."""
        first = self.evaluations[0]
        values: dict[str, Any] = {
            "benchmark": self.name,
            "file": str(self.path),
            "config": first.run.experiment.name,
            "package": __version__,
            "store_fingerprint": self.store.fingerprint,
            "n": first.scores.n,
            "positive": first.scores.positive,
            "interval": sampling_unit(first.intervals.slides),
            "runs": [
                _describe(evaluation.run) | _flat(scores) | self._medal(scores["auc"].value)
                for evaluation, scores in zip(self.evaluations, self.scores, strict=True)
            ],
        }
        for key in self.keys:
            values |= {f"{key}_mean": self.mean(key), f"{key}_sd": self.sd(key)}
        values |= self._medal(self.mean("auc"))
        return values | {
            "leaks": list(self.leaks),
            "notes": list(self.notes),
            "published": [asdict(other) for other in PUBLISHED[self.name]],
        }

    def _medal(self, auc: float) -> dict[str, str]:
        """Its entry; none where the benchmark gives no medals."""
        return {"medal": medal_of(auc)} if self.name == "mle-bench" else {}


def _flat(scores: dict[Key, Score]) -> dict[str, Any]:
    """Each score and the ends of its interval, by the names of columns and JSON objects."""
    values: dict[str, Any] = {}
    for key, score in scores.items():
        values |= {key: score.value, f"{key}_low": score.low, f"{key}_high": score.high}
    return values


def _describe(run: Run) -> dict[str, Any]:
    """The run and what was chosen on its validation patches."""
    return {
        "run": str(run.path),
        "seed": run.experiment.seed,
        "best_epoch": run.outcome.best_epoch,
        "threshold": run.outcome.threshold,
        "valid_auc": run.outcome.valid_auc,
    }
