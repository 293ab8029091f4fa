"""The model card of an export: README.md, from `card.md.j2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from pcam_kit import __version__
from pcam_kit.config.schema import Custom, Transfer
from pcam_kit.data.store import Store
from pcam_kit.exports.check import Check
from pcam_kit.exports.format import Format
from pcam_kit.formatting import counted, interval
from pcam_kit.imagenet import package_of
from pcam_kit.run_folders import Run
from pcam_kit.text import printable
from pcam_kit.tissue.spacing import TARGET
from pcam_kit.views import VIEWS

TEMPLATE = "card.md.j2"
MARKDOWN = re.compile(r"([\\`*\[\]<>|])")


@dataclass(frozen=True)
class ViewScores:
    """Validation scores of one kind of answer: of one view, or averaged over several."""

    views: int
    auc_value: float
    auc_low: float
    auc_high: float
    accuracy_value: float  # at `threshold`
    threshold: float
    temperature: float | None

    @property
    def answer(self) -> str:
        return "of one view" if self.views == 1 else f"mean of {self.views} views"

    @property
    def auc(self) -> str:
        return interval(self.auc_value, self.auc_low, self.auc_high)

    @property
    def accuracy(self) -> str:
        return f"{self.accuracy_value:.4f}"

    @property
    def threshold_text(self) -> str:
        return f"{self.threshold:.4f}"

    @property
    def temperature_text(self) -> str:
        return "-" if self.temperature is None else f"{self.temperature:.3f}"


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    scores: first those of what the file answers, where they are known. store: None where it is
    gone. unit: what the intervals are by; "" where that is not known.
    """

    run: Run
    format: Format
    size: int
    scores: Sequence[ViewScores]
    unit: str
    check: Check
    store: Store | None


def write_card(facts: CardFacts) -> str:
    """The card, Markdown. Names from the run folder cannot become markup."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        finalize=_plain,
        keep_trailing_newline=True,
        autoescape=False,  # it is Markdown, and `_plain` escapes that
    )
    text = files("pcam_kit.exports").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(_values(facts))


class _Markdown(str):
    """Text that is Markdown already."""


def _plain(value: Any) -> Any:
    if isinstance(value, _Markdown):
        return value
    return MARKDOWN.sub(r"\\\1", printable(str(value)))


def _values(facts: CardFacts) -> dict[str, Any]:
    run, form, size = facts.run, facts.format, facts.size
    versions = form.versions()
    return {
        "run": run,
        "format": form,
        "size": size,
        "dtype": "uint8" if form.by_tensorflow else "uint8 or float32",
        "field": f"{size} x {size} pixels, {size * TARGET:.0f} µm: {_cut(run, size)}",
        "stain": run.experiment.data.stain,
        "synthetic": bool(run.meta.get("synthetic")),
        "scores": facts.scores,
        "temperature": _Markdown(_temperature(facts.scores[0])),
        "interval": _interval(facts.unit),
        "views_note": _views_note(facts),
        "note": _Markdown(form.note),
        "usage": _Markdown(form.usage.format(size=size)),
        "check": facts.check,
        "runtime": f"{form.packages[0]} {versions[form.packages[0]]}",
        "training": _training(facts),
        "notes": _notes(facts),
        "licence": _Markdown(_licence(run)),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "package": __version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _cut(run: Run, size: int) -> str:
    side = run.competition.image_size
    return "the whole patch" if size == side else f"the centre of a patch of {side} x {side}"


def _temperature(scores: ViewScores) -> str:
    if scores.temperature is None:
        return "not known"
    return (
        f"{scores.temperature:.3f}, not applied: the calibrated probability is "
        "`1 / (1 + ((1 - p) / p) ** (1 / temperature))`"
    )


def _interval(unit: str) -> str:
    if unit == "patch":
        return "Intervals are by patch: too narrow where several patches come from one slide."
    return f"Intervals are by {unit}." if unit else ""


def _views_note(facts: CardFacts) -> str:
    tta = facts.run.outcome.tta
    if len(VIEWS[tta]) == 1:
        return "The run was measured on one view of each patch, as this file answers."
    note = (
        f"This file answers for one view. The run averages {len(VIEWS[tta])} ({tta}): predict each "
        "of them and average the probabilities to get the same."
    )
    if facts.scores[0].views > 1:
        note += " Scores of one view are not known: the run's validation predictions are gone."
    return note


def _training(facts: CardFacts) -> dict[str, str]:
    run, result = facts.run, facts.run.outcome
    experiment = run.experiment
    rows = {"data": f"{run.competition.title} ({run.competition.slug})"}
    if facts.store is not None and experiment.data.fold is None:
        for name, count in facts.store.splits.items():
            positive = "labels unknown"
            if count.positive is not None:
                positive = f"{count.positive:,} positive"
            rows[name] = f"{counted(count.n, 'patch')}, {positive}"
    if experiment.data.fold is not None:
        fold = experiment.data.fold
        rows["split"] = f"fold {fold.index} of {fold.of} is the validation part"
    rows |= {
        "config": f"{experiment.name}, network {experiment.model.name}, seed {experiment.seed}",
        "epochs": f"{result.epochs}, the weights are those of epoch {result.best_epoch}",
        "run id": run.id or "none",
        "store": f"fingerprint {run.meta['store_fingerprint'][:16]}",
        "begun": str(run.meta["started"]),
    }
    git = run.meta.get("git")
    if git:
        rows["commit of pcam-kit"] = str(git["commit"])
    teachers = [str(teacher["run"]) for teacher in run.meta.get("teachers", [])]
    if teachers:
        rows["teachers"] = ", ".join(teachers)
    return rows


def _notes(facts: CardFacts) -> list[str]:
    run = facts.run
    notes: list[str] = []
    if facts.store is not None and facts.store.notes and not facts.store.synthetic:
        notes.append(f"The data: {'; '.join(facts.store.notes)}.")
    if leaks := run.meta.get("leaks"):
        notes.append(
            f"Training patches with copies in other splits or datasets: {'; '.join(leaks)}."
        )
    if isinstance(run.experiment.model, Custom) and not facts.format.by_tensorflow:
        notes.append("Where the network has layers of its own, import their module first.")
    return notes


def _licence(run: Run) -> str:
    parts = ["The code of pcam-kit is under the MIT licence."]
    if run.meta.get("synthetic"):
        parts.append("The patches are drawn by pcam-kit.")
    else:
        parts.append(
            "PatchCamelyon is published under CC0 (https://github.com/basveeling/pcam); patches "
            "from elsewhere keep the terms of their source."
        )
    model = run.experiment.model
    if isinstance(model, Transfer) and model.weights is not None:
        package = package_of(model.backbone, model.weights)
        other = f"The network began with other weights ({_plain(model.weights)}), whose licence "
        parts.append(f"{other}holds, too." if package is None else f"{package.credit}.")
    parts.append("The weights: whoever trained them decides. State it here before passing them on.")
    return " ".join(parts)
