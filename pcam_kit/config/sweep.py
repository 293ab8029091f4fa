"""The schema of a sweep: a config, and the values that are searched."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pcam_kit.config.load import load_experiment, read_yaml_file, validate
from pcam_kit.config.schema import Ensemble, Name
from pcam_kit.config.values import Line, Part, Seed
from pcam_kit.errors import ConfigError

TRIALS = 20  # where a sweep does not say how many
MOST_TRIALS = 100_000
EXAMPLE = "docs/scale.md has an example"


class Range(Part):
    """Numbers from `low` to `high`."""

    low: float
    """The least value."""
    high: float
    """The largest value."""
    log: bool = False
    """Drawn on a logarithmic scale, as suits learning rates."""
    integer: bool = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _check(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low, {self.low:g}, should be below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"on a logarithmic scale low should be above 0, found {self.low:g}")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("low and high of whole numbers should be whole")
        return self

    @property
    def ends(self) -> tuple[float | int, float | int]:
        """The least and the largest value."""
        if self.integer:
            return int(self.low), int(self.high)
        return self.low, self.high


class EarlyStop(Part):
    """Trials that fall behind are stopped (ASHA: Li et al., 2018, arXiv:1810.05934).

    After `epochs`, `epochs` x `factor`, ... epochs a trial goes on only if its validation AUC is
    among the best 1/`factor` of those that came as far.
    """

    epochs: int = Field(default=1, gt=0, le=100_000)
    """Epochs that every trial is trained."""
    factor: int = Field(default=3, gt=1, le=100)
    """One of so many goes on."""


class Sweep(Part):
    """Many trainings of one config, each with other values: a trial."""

    name: Name
    """Its name, by default that of the file; its folder is called so."""
    config: Line
    """The config that is trained."""
    set: dict[str, Any] = Field(default={}, max_length=100)
    """Values that all trials have, by key, as with `--set`."""
    search: dict[str, list[Any] | Range] = Field(min_length=1, max_length=50)
    """What is searched, by key: a list of values, or a range."""
    method: Literal["tpe", "random", "grid"] = "tpe"
    """How values are chosen. tpe: near those that did well (Optuna's sampler); grid: each
    combination of the lists once.
    """
    trials: int | None = Field(default=None, gt=0, le=MOST_TRIALS)
    """How many; null: 20, of a grid all."""
    seeds: int = Field(default=1, gt=0, le=1000)
    """Trainings of each trial, with seeds from the config's on; their mean counts."""
    early_stop: EarlyStop | None = EarlyStop()
    """null: every trial is trained to its end."""
    seed: Seed = 0
    """Draws the values."""

    @field_validator("search")
    @classmethod
    def _check_lists(cls, search: dict[str, list[Any] | Range]) -> dict[str, list[Any] | Range]:
        for key, space in search.items():
            if isinstance(space, list) and not space:
                raise ValueError(f"{key}: an empty list")
        return search

    @model_validator(mode="after")
    def _check(self) -> Sweep:
        both = self.set.keys() & self.search.keys()
        if both:
            raise ValueError(f"{min(both)} is in both set and search")
        ranges = [key for key, space in self.search.items() if isinstance(space, Range)]
        if self.method == "grid" and ranges:
            raise ValueError(f"{ranges[0]}: a grid needs a list of values, not a range")
        if self.count > MOST_TRIALS:
            raise ValueError(f"a grid of {self.count:,} trials: at most {MOST_TRIALS:,}")
        return self

    @property
    def count(self) -> int:
        """How many trials there are."""
        if self.method == "grid":
            whole = math.prod(len(s) for s in self.search.values() if isinstance(s, list))
            return min(whole, self.trials or whole)
        return self.trials or TRIALS

    def grid(self) -> Iterator[dict[str, Any]]:
        """Each combination of the lists, by key."""
        lists = [space for space in self.search.values() if isinstance(space, list)]
        for values in product(*lists):
            yield dict(zip(self.search, values, strict=True))

    def overrides(self, values: dict[str, Any], seed: int = 0) -> tuple[str, ...]:
        """What `--set` would say of a trial with these values, and of its training number `seed`.

        Of training 0 the seed is the config's, or one that is searched.
        """
        chosen = self.set | values
        told = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        if seed == 0:
            return tuple(told)
        first = load_experiment(self.config, told).seed
        return (*told, f"seed={first + seed}")


def read_sweep(path: Path) -> Sweep:
    """The sweep in a YAML file.

    Every list's values and both ends of every range are tried on the config. Raises ConfigError.
    """
    values = read_yaml_file(path)
    values.setdefault("name", path.stem)
    try:
        sweep = validate(Sweep, values, str(path))
    except ConfigError as error:  # its hint is about configs
        raise ConfigError(error.message, hint=EXAMPLE) from error
    first = {
        key: space[0] if isinstance(space, list) else space.ends[0]
        for key, space in sweep.search.items()
    }
    for key, space in sweep.search.items():
        for value in space if isinstance(space, list) else space.ends:
            experiment = load_experiment(sweep.config, sweep.overrides(first | {key: value}))
            if isinstance(experiment.model, Ensemble):
                raise ConfigError(
                    f"{experiment.name} is an ensemble",
                    hint="sweep the config of one of its members",
                )
    return sweep
