"""`pcam show`: everything about one run that fits on a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcam_kit.config.schema import Ensemble, Experiment, WithoutNetwork
from pcam_kit.formatting import Summary, counted, duration, interval
from pcam_kit.names import shell_word
from pcam_kit.run_folders import Run, State, read_metrics, state_of
from pcam_kit.submissions import Entry
from pcam_kit.workspace import Workspace

COMMIT = 8  # characters of it
# keys of meta.json that were checked when it was read, for --json
CHECKED = (
    *("id", "started", "ended", "resumed", "backend", "device", "seed", "synthetic"),
    *("store_fingerprint", "split_hash", "folds_hash", "leaks", "test_seen", "model_sha256"),
)


@dataclass(frozen=True, repr=False)
class Overview(Summary):
    """One run, complete or not.

    epochs: as `read_metrics` has them. submissions: the CSVs and submissions it is part of, latest
    last. commands: what to type next, each with its purpose.
    """

    run: Run
    state: State
    epochs: Sequence[Mapping[str, Any]]
    submissions: Sequence[Entry]
    commands: Sequence[tuple[str, str]]

    def summary(self) -> dict[str, str]:
        """State, scores, config, data and provenance, a line each."""
        return {"run": self.run.name, "state": self.state} | {
            name: text
            for part in (self.scores(), self.config(), self.data(), self.provenance())
            for name, text in part.items()
        }

    def scores(self) -> dict[str, str]:
        """Those of the validation patches, with their intervals."""
        result = self.run.result
        if result is None:
            if not self.epochs:
                return {"epochs": "none finished"}
            best = max(self.epochs, key=lambda epoch: epoch["valid_auc"])
            done = f"{len(self.epochs)} of at most {self.run.experiment.training.epochs}"
            return {"epochs": f"{done}, best AUC {best['valid_auc']:.4f} in epoch {best['epoch']}"}
        auc = interval(result.valid_auc, result.valid_auc_low, result.valid_auc_high)
        views = "of each network" if self.run.members else result.tta
        values = {
            "validation AUC": f"{auc}, {result.valid_n:,} patches, views {views}",
            "accuracy": f"{result.valid_accuracy:.4f} at threshold {result.threshold:.3f}, "
            f"{result.valid_accuracy_at_half:.4f} at 0.5",
        }
        if result.epochs:
            best = f"{result.best_epoch} of {result.epochs}"
            values["best epoch"] = f"{best}, {duration(result.seconds)}"
        return values

    def config(self) -> dict[str, str]:
        """Network, training and augmentation in a line each, and what --set changed."""
        experiment = self.run.experiment
        model = experiment.model.model_dump(mode="json")
        name = model.pop("name")
        values = {"config": f"{experiment.name}, seed {experiment.seed}"}
        if self.run.members:
            values["network"] = f"mean of {model['average']}: {', '.join(self.run.members)}"
        else:
            values["network"] = ", ".join([name, *_options(model)])
        if isinstance(features := self.run.meta.get("features"), dict):
            values["features of"] = f"{features.get('model')} (licence: {features.get('licence')})"
        if not isinstance(experiment.model, WithoutNetwork | Ensemble):
            values["training"] = _training(experiment)
            values["augmentation"] = _augmentation(experiment)
        if changes := self._changes():
            values["changed"] = " ".join(changes)
        return values

    def data(self) -> dict[str, str]:
        """The competition, the part of the patches, and copies."""
        data, meta = self.run.experiment.data, self.run.meta
        competition = self.run.competition
        facts = [f"{competition.slug} ({competition.title})"]
        if data.fold is not None:
            facts.append(f"fold {data.fold.index} of {data.fold.of}")
        facts += _options(data.model_dump(mode="json", exclude={"fold"}, exclude_none=True))
        values = {"data": ", ".join(facts), "store": str(meta["store_fingerprint"])[:16]}
        if meta.get("leaks"):
            values["copies"] = "; ".join(str(leak) for leak in meta["leaks"])
        return values

    def provenance(self) -> dict[str, str]:
        """When, with what, and by which code."""
        meta = self.run.meta
        when = str(meta["started"])[:16].replace("T", " ")
        resumed = meta.get("resumed") or []
        times = f", resumed {counted(len(resumed), 'time')}" if resumed else ""
        precision = meta.get("precision")
        used = str(precision.get("used", "")) if isinstance(precision, dict) else ""
        facts = [str(meta["backend"]), str(meta.get("device", "")), used]
        git = meta.get("git") or {}
        code = f"pcam-kit {meta.get('pcam_kit', '?')}"
        if git.get("commit"):
            code += f", commit {git['commit'][:COMMIT]}" + (
                " with changes" if git.get("dirty") else ""
            )
        return {
            "started": f"{when} UTC{times}",
            "computed with": ", ".join(filter(None, facts)),
            "code": code,
        }

    def _changes(self) -> list[str]:
        """What --set changed, as it was given."""
        changes = self.run.meta.get("overrides")
        return [str(change) for change in changes] if isinstance(changes, list) else []

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam show`."""
        return self.run.to_dict() | {
            "state": self.state,
            "experiment": self.run.experiment.model_dump(mode="json"),
            "epochs": [dict(epoch) for epoch in self.epochs],
            "changed": self._changes(),
            "provenance": {key: self.run.meta[key] for key in CHECKED if key in self.run.meta},
            "submissions": [entry.to_dict() for entry in self.submissions],
            "commands": [command for command, _ in self.commands],
        }


def overview(run: Run, workspace: Workspace) -> Overview:
    """Everything about a run. Raises RunError, StorageError."""
    entries = workspace.ledger.entries_of([run.name])
    state = state_of(run)
    return Overview(run, state, read_metrics(run), entries, _commands(run, state, entries))


def _commands(run: Run, state: State, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    name = shell_word(Path(run.name))
    match state:
        case "running":
            return [("pcam runs --state running", "it is being trained")]
        case "stopped":
            return [(f"pcam train --resume {name}", "train it to the end")]
        case "complete":
            commands = [(f"pcam evaluate {name}", "all scores"), (f"pcam predict {name}", "a CSV")]
            unsent = [entry for entry in entries if entry.ref is None and entry.csv]
            if unsent:
                commands.append((f"pcam submit {shell_word(Path(unsent[-1].csv))}", "send its CSV"))
            return commands


def _training(experiment: Experiment) -> str:
    training = experiment.training
    facts = [
        f"at most {counted(training.epochs, 'epoch')} in batches of {training.batch_size}",
        f"{training.optimizer} at {training.learning_rate:g} ({training.schedule})",
    ]
    others = training.model_dump(
        mode="json",
        exclude={"epochs", "batch_size", "optimizer", "learning_rate", "schedule", "track"},
        exclude_defaults=True,
    )
    return ", ".join([*facts, *_options(others)])


def _augmentation(experiment: Experiment) -> str:
    augment = experiment.augment
    facts = ["d4"] if augment.d4 else []
    if augment.stain is not None:
        facts.append(f"stain {augment.stain.strength:g}")
    facts += [transform.name for transform in augment.transforms]
    facts += [augment.custom] if augment.custom else []
    return ", ".join(facts) or "none"


def _options(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} {value}" for name, value in values.items() if value is not None]
