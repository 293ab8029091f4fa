"""How faults are brought about: parts that rows are made of."""

from __future__ import annotations

from typing import Any

from rows import Act
from world import World


def fails(what: str, **how: Any) -> Act:
    """A fault of the next answer of one kind, see loopback_faults.py."""

    def act(world: World) -> None:
        world.kaggle.fail(what, **how)

    return act


def then(*acts: Act) -> Act:
    """One after the other."""

    def act(world: World) -> None:
        for one in acts:
            one(world)

    return act


def served(**how: Any) -> Act:
    """Another way of handing out: without hashes, zipped, ..."""

    def act(world: World) -> None:
        for name, value in how.items():
            setattr(world.competition, name, value)

    return act


def env(**values: str) -> Act:
    """Other variables of the environment."""

    def act(world: World) -> None:
        world.env = world.env | {
            name: value.format(url=world.kaggle.url) for name, value in values.items()
        }

    return act
