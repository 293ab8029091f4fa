"""Which values come next and which trials are stopped: an Optuna study in a journal on disk."""

# pyright: basic

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pcam_kit.config.sweep import Range, Sweep
from pcam_kit.errors import ConfigError, PcamError, RunError
from pcam_kit.parsing import parsing

JOURNAL = "journal.log"
INSTALL = 'pip install "pcam-kit[sweep]"'

TrialState = Literal["running", "complete", "stopped", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial as the journal has it.

    values: by key. auc: mean over its seeds; of a stopped one the last that it reported. runs:
    names of run folders. epochs: how many were reported.
    """

    number: int
    values: dict[str, Any]
    state: TrialState
    auc: float | None = None
    runs: tuple[str, ...] = ()
    epochs: int = 0
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As in `pcam sweep --json`."""
        return {
            "trial": self.number,
            "state": self.state,
            "values": self.values,
            "valid_auc": self.auc,
            "epochs": self.epochs,
            "runs": list(self.runs),
            "error": self.error or None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """What `to_dict` gave."""
        return cls(
            number=values["trial"],
            values=values["values"],
            state=values["state"],
            auc=values["valid_auc"],
            runs=tuple(values["runs"]),
            epochs=values["epochs"],
            error=values["error"] or "",
        )


class Study:
    """The trials of a sweep. One process at a time may have it."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        """Begin the study in `folder`, or read what is there. Raises ConfigError, RunError."""
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        except ImportError as error:
            raise ConfigError(f"a sweep needs Optuna ({error})", hint=INSTALL) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._sweep = optuna, sweep
        path = str(folder / JOURNAL)
        (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)  # of a process that was killed
        backend = JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))

        def damaged(reason: str) -> PcamError:
            return RunError(
                f"cannot read {path}: {reason}", hint="begin the sweep again in another folder"
            )

        with parsing(damaged):
            self._study = optuna.create_study(
                study_name=sweep.name,
                storage=JournalStorage(backend),
                direction="maximize",
                load_if_exists=True,
                pruner=self._pruner(),
            )
            known = self._study.get_trials(deepcopy=False)
        # the same seed would draw the first trials' values again
        self._study.sampler = self._sampler(sweep.seed + len(known))
        self._ids = {trial.number: trial._trial_id for trial in known}
        if sweep.method == "grid":
            for values in islice(sweep.grid(), len(known), sweep.count):
                self._study.enqueue_trial({k: json.dumps(v) for k, v in values.items()})

    def trials(self) -> list[Trial]:
        """Those that were begun, in their order."""
        waiting = self._optuna.trial.TrialState.WAITING
        known = self._study.get_trials(deepcopy=False)
        return [self._read(trial) for trial in known if trial.state != waiting]

    def trial(self, number: int) -> Trial:
        """One that was begun."""
        return self._read(self._study._storage.get_trial(self._ids[number]))

    def begin(self) -> Trial:
        """The next trial."""
        asked = self._study.ask(
            {key: self._distribution(space) for key, space in self._sweep.search.items()}
        )
        self._ids[asked.number] = asked._trial_id
        return self.trial(asked.number)

    def report(self, number: int, epoch: int, auc: float) -> bool:
        """Note the validation AUC of an epoch, counted from 1; whether to stop the trial."""
        trial = self._handle(number)
        trial.report(auc, epoch)
        return self._sweep.early_stop is not None and trial.should_prune()

    def complete(self, number: int, auc: float, runs: Sequence[str]) -> None:
        """The trial is trained."""
        self._handle(number).set_user_attr("runs", list(runs))
        self._study.tell(number, auc)

    def stop(self, number: int, runs: Sequence[str]) -> None:
        """The trial was stopped early."""
        self._handle(number).set_user_attr("runs", list(runs))
        self._study.tell(number, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, number: int, error: str) -> None:
        """The trial has no result."""
        self._handle(number).set_user_attr("error", error)
        self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def _handle(self, number: int) -> Any:
        return self._optuna.trial.Trial(self._study, self._ids[number])

    def _read(self, trial: Any) -> Trial:
        states = self._optuna.trial.TrialState
        state: TrialState = "running"
        if trial.state == states.COMPLETE:
            state = "complete"
        elif trial.state == states.PRUNED:
            state = "stopped"
        elif trial.state == states.FAIL:
            state = "failed"
        reported = trial.intermediate_values
        last = reported[max(reported)] if reported else None
        return Trial(
            number=trial.number,
            values={key: self._value(key, value) for key, value in trial.params.items()},
            state=state,
            auc=trial.value if state == "complete" else last,
            runs=tuple(trial.user_attrs.get("runs", ())),
            epochs=max(reported, default=0),
            error=trial.user_attrs.get("error", ""),
        )

    def _value(self, key: str, value: Any) -> Any:
        """A value as the config has it; fractions have four digits, which people can type."""
        if isinstance(self._sweep.search[key], list):
            return json.loads(value)
        return float(f"{value:.4g}") if isinstance(value, float) else value

    def _distribution(self, space: list[Any] | Range) -> Any:
        distributions = self._optuna.distributions
        if isinstance(space, list):  # as JSON: Optuna takes no lists and mappings
            return distributions.CategoricalDistribution([json.dumps(value) for value in space])
        low, high = space.ends
        if space.integer:
            return distributions.IntDistribution(int(low), int(high), log=space.log)
        return distributions.FloatDistribution(low, high, log=space.log)

    def _sampler(self, seed: int) -> Any:
        samplers = self._optuna.samplers
        if self._sweep.method == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=True)
        return samplers.RandomSampler(seed=seed)  # of a grid all are in the queue

    def _pruner(self) -> Any:
        stop = self._sweep.early_stop
        if stop is None:
            return self._optuna.pruners.NopPruner()
        return self._optuna.pruners.SuccessiveHalvingPruner(
            min_resource=stop.epochs, reduction_factor=stop.factor
        )
