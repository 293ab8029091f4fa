"""What the shipped configs are for, with their measured time and score: read from their headers."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from pcam_kit.config.load import find_config, list_configs, load_experiment, read_text
from pcam_kit.config.schema import Experiment
from pcam_kit.errors import ConfigError

log = logging.getLogger(__name__)

RATE = re.compile(r"Time: ([\d.]+) s per epoch of ([\d,]+) patches")
SCORE = re.compile(r"Score on .*?AUC ([\d.]+)(?: ± ([\d.]+))?")
REFERENCE = "2 new CPU cores"  # of the times in the headers
PATCHES = 19_171  # that the headers' scores were trained on


@dataclass(frozen=True)
class ConfigHeader:
    """The comment at the top of a config.

    purpose: its first sentence. seconds_per_patch: of training on `REFERENCE`, validation included;
    None where it was not measured. auc: on validation patches; None where it was not measured.
    auc_text: the same with its sd, "" without.
    """

    name: str
    purpose: str
    seconds_per_patch: float | None
    auc: float | None
    auc_text: str

    def seconds(self, experiment: Experiment, patches: int) -> float | None:
        """The time of `experiment` on `REFERENCE`, for `patches` training patches."""
        if self.seconds_per_patch is None:
            return None
        training = experiment.training.fitted_to(patches)
        return self.seconds_per_patch * patches * training.epochs * training.passes


def read_header(name: str) -> ConfigHeader:
    """The header of the config called `name`. Raises ConfigError where there is none."""
    lines = read_text(find_config(name)).splitlines()
    comments: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line.lstrip("# "))
    text = " ".join(comments[1:])  # the first is the command
    purpose = re.split(r"(?<=[^.]\.) (?=[A-Z])|Time( and score)?:", text)[0]
    rate, score = RATE.search(text), SCORE.search(text)
    return ConfigHeader(
        name=name,
        purpose=purpose.strip(),
        seconds_per_patch=float(rate[1]) / int(rate[2].replace(",", "")) if rate else None,
        auc=float(score[1]) if score else None,
        auc_text=" ± ".join(filter(None, score.groups())) if score else "",
    )


def read_all() -> list[tuple[ConfigHeader, Experiment]]:
    """All configs of `pcam train`, by name, with their headers.

    Those that cannot be read, in the working directory's configs/, are left out and logged.
    """
    configs: list[tuple[ConfigHeader, Experiment]] = []
    for name in list_configs():
        try:
            configs.append((read_header(name), load_experiment(name)))
        except ConfigError as error:
            log.warning(error.message)
    return configs


def header_of(experiment: Experiment) -> ConfigHeader | None:
    """The header that tells the time of `experiment`; None where its network is another."""
    if experiment.name not in list_configs():
        return None
    try:
        shipped = load_experiment(experiment.name)
    except ConfigError:  # one of that name in the working directory, which is not used here
        return None
    if (shipped.model, shipped.data.crop) != (experiment.model, experiment.data.crop):
        return None
    return read_header(experiment.name)
