"""How long trainings take on this machine: a table of configs, a line after the first steps.

The reference is the time in the configs' headers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pcam_kit.config.catalog import PATCHES, REFERENCE, ConfigHeader, header_of, read_all
from pcam_kit.config.load import load_experiment
from pcam_kit.config.schema import Ensemble, Experiment
from pcam_kit.errors import ConfigError, PcamError
from pcam_kit.formatting import Summary, duration
from pcam_kit.progress import TrainingMonitor
from pcam_kit.training.backend import quiet_import
from pcam_kit.workflows.members import member_recipes
from pcam_kit.workflows.plan import TrainingPlan, has_weights
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

FIRST_STEPS = 12  # measured, after one that compiles; fewer where they take FIRST_SECONDS
FIRST_SECONDS = 20.0
WORTH_SAYING = 60.0  # seconds of a whole training
MUCH_LONGER = 2.0  # times the reference
VALIDATION = 1 / 3  # of the time of a training step, for as many patches


@dataclass(frozen=True, repr=False)
class ConfigTime(Summary):
    """A shipped config and how long it takes, with its teachers.

    patches: that it is trained on. reference: seconds on the machine of the headers. here: seconds
    to expect on this one. Both None where the config was not measured.
    """

    header: ConfigHeader
    patches: int
    reference: float | None
    here: float | None

    def summary(self) -> dict[str, str]:
        """Its name, purpose, score and times."""
        return {
            "config": self.header.name,
            "validation AUC": self.header.auc_text or "-",
            REFERENCE: _about(self.reference),
            "here, about": _about(self.here),
            "for": self.header.purpose,
        }

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the JSON object of `pcam train --list`."""
        return {
            "config": self.header.name,
            "purpose": self.header.purpose,
            "valid_auc": self.header.auc,
            "patches": self.patches,
            "reference_seconds": self.reference,
            "expected_seconds": self.here,
        }


def _about(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def list_config_times(workspace: Workspace) -> list[ConfigTime]:
    """Every config of `pcam train`, with the time to expect from a quick probe of this machine.

    For the patches of the competition fetched last, or without one as many as the headers have.
    """
    with quiet_import():
        from pcam_kit.training.hardware import read_hardware
        from pcam_kit.training.precision import relative_speed

        hardware = read_hardware()
    factor = relative_speed(hardware)
    patches = _patches(workspace)
    times: list[ConfigTime] = []
    for header, experiment in read_all():
        reference = reference_seconds(experiment, patches)
        here = None if reference is None else reference * factor
        times.append(ConfigTime(header, patches, reference, here))
    return times


def _patches(workspace: Workspace) -> int:
    try:
        return workspace.store(workspace.last_fetched()).splits["train"].n
    except PcamError:
        return PATCHES


Key = tuple[str, int, int]  # name, seed and epochs tell trainings apart


def trainings(experiment: Experiment) -> dict[Key, Experiment]:
    """All that is trained for `experiment`: its teachers or members, and itself.

    Raises ConfigError where one of them cannot be read.
    """
    if isinstance(experiment.model, Ensemble):
        found: dict[Key, Experiment] = {}
        for recipe in member_recipes(experiment):
            found |= trainings(load_experiment(recipe.config, recipe.overrides))
        return found
    configs = experiment.training.teachers
    teachers = [] if configs is None else [load_experiment(config) for config in configs.configs]
    return {_key(part, experiment.seed): part for part in (*teachers, experiment)}


def reference_seconds(experiment: Experiment, patches: int) -> float | None:
    """The time of all its `trainings` on the machine of the headers; None: unknown."""
    try:
        return _total(trainings(experiment).values(), patches)
    except ConfigError:  # a part that cannot be read is reported when it is trained
        return None


def seconds_each(
    experiments: Sequence[Experiment], complete: Sequence[Experiment], patches: int
) -> list[float | None]:
    """The time of each, one after another: what is complete or trained for one before counts once.

    On the machine of the headers; None: unknown.
    """
    done = {_key(experiment, experiment.seed) for experiment in complete}
    seconds: list[float | None] = []
    for experiment in experiments:
        parts = {} if experiment in complete else trainings(experiment)
        seconds.append(_total([parts[key] for key in parts if key not in done], patches))
        done.update(parts)
    return seconds


def _key(experiment: Experiment, seed: int) -> Key:
    return experiment.name, seed, experiment.training.epochs


def _total(parts: Iterable[Experiment], patches: int) -> float | None:
    total = 0.0
    for part in parts:
        header = header_of(part)
        seconds = None if header is None else header.seconds(part, patches)
        if seconds is None:
            return None
        total += seconds
    return total


class TimeReport:
    """A TrainingMonitor that passes everything on, and says how long the training will take.

    later: seconds, on the machine of the headers, of the trainings that follow.
    """

    def __init__(self, monitor: TrainingMonitor, plan: TrainingPlan, later: float) -> None:
        self._monitor = monitor
        self._plan = plan
        self._later = later
        self._steps_left = 0
        self._began: float | None = None  # None: before the first step, which compiles
        self._measured = 0
        self._is_said = False

    def started(self, epochs: int, steps: int, done: int) -> None:
        """Training begins."""
        self._steps_left = epochs * steps - done
        self._monitor.started(epochs, steps, done)

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Say it once, as soon as it can be known."""
        self._monitor.step(epoch, step, loss)
        if self._is_said:
            return
        self._steps_left -= 1
        now = time.monotonic()
        if self._began is None:
            self._began = now
            return
        self._measured += 1
        seconds = now - self._began
        if self._measured >= FIRST_STEPS or seconds > FIRST_SECONDS:
            self._is_said = True
            self._say(seconds / self._measured)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch is done: the steps after it would count its validation."""
        self._is_said = True
        self._monitor.epoch(metrics)

    def _say(self, per_step: float) -> None:
        plan = self._plan
        per_step *= 1 + VALIDATION * len(plan.valid_rows) / len(plan.train_rows)
        left = per_step * self._steps_left
        if left < WORTH_SAYING:
            return
        header = header_of(plan.experiment)
        if header is None or header.seconds_per_patch is None:
            log.info(f"about {duration(left)} to go on this machine")
            return
        size = min(plan.experiment.training.batch_size, len(plan.train_rows))
        factor = per_step / (header.seconds_per_patch * size)
        text = f"about {duration(left)} to go on this machine"
        if self._later > 0:
            text += f", then {duration(self._later * factor)} for the networks that follow"
        log.info(text)
        if factor > MUCH_LONGER:
            log.warning(
                f"{factor:.1f} times as long as on {REFERENCE}; {_quicker(plan, header, factor)}"
                "--set training.epochs=N trains less, and a GPU is quicker: a Kaggle notebook has "
                "one for free"
            )


def _quicker(plan: TrainingPlan, header: ConfigHeader, factor: float) -> str:
    """`pcam train lab takes about 9m (AUC 0.8902), `: the best of half the time or less."""
    patches, crop = len(plan.train_rows), plan.experiment.data.crop
    limit = header.seconds(plan.experiment, patches)
    if limit is None:
        return ""
    found: list[tuple[float, float, str]] = []
    for other, experiment in read_all():
        seconds = reference_seconds(experiment, patches)
        is_same = experiment.data.crop == crop and experiment.competition is None
        if not is_same or not has_weights(experiment):
            continue
        if other.auc is not None and seconds is not None and seconds < limit / 2:
            found.append((other.auc, seconds * factor, other.name))
    if not found:
        return ""
    auc, seconds, name = max(found)
    return f"pcam train {name} takes about {duration(seconds)} (AUC {auc:.4f}), "
