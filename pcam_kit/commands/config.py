"""`pcam train --print-config`: the experiment that would be trained, without importing what trains
it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pcam_kit.commands.console import say
from pcam_kit.commands.folders import Folders
from pcam_kit.config import load
from pcam_kit.config.schema import Experiment


def resolve(config: str | None, overrides: Sequence[str], folders: Folders) -> Experiment:
    """The experiment of `config` (None: the default of the competition fetched last) with its
    overrides. Raises ConfigError.
    """
    if config is None:
        competition = folders.competition(None)
        config = competition.default_config
        say(f"config {config}: the default for {competition.slug}")
    return load.load_experiment(config, overrides)
