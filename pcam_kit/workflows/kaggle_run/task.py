"""What is sent to Kaggle: configs and profile as files, and which weights they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pcam_kit import imagenet
from pcam_kit.competitions import Competition
from pcam_kit.config.load import dump_yaml, find_config, load_experiment, read_text
from pcam_kit.config.schema import Custom, Ensemble, Experiment, Transfer, WithoutNetwork
from pcam_kit.errors import ConfigError


@dataclass(frozen=True)
class Task:
    """A config and all that belongs to it.

    files: YAML texts by their path in the folder `configs`. weights: packages that hold weights.
    several: options of `pcam train` for several trainings.
    """

    config: str
    competition: str
    files: dict[str, str]
    weights: frozenset[str]
    several: tuple[str, ...] = ()


def make_task(
    experiment: Experiment, competition: Competition, several: tuple[str, ...] = ()
) -> Task:
    """The task of training `experiment` on a competition's files.

    Raises ConfigError for what cannot run without the files of this machine, or the internet.
    """
    training = experiment.training.model_copy(update={"track": []})
    sent = experiment.model_copy(update={"competition": competition.slug, "training": training})
    profile = find_config(competition.slug, kind="competitions")
    files = {
        f"{sent.name}.yaml": dump_yaml(sent),
        f"competitions/{competition.slug}.yaml": read_text(profile),
    }
    weights = {*_weights(sent)}
    for name, part in _parts(sent):
        files[f"{name}.yaml"] = read_text(find_config(name))
        weights |= {*_weights(part)}
    return Task(sent.name, competition.slug, files, frozenset(weights), several)


def _parts(experiment: Experiment) -> Iterator[tuple[str, Experiment]]:
    """The configs that are trained with it, members and teachers, by name."""
    names: list[str] = []
    if isinstance(experiment.model, Ensemble):
        names += [member.config for member in experiment.model.members]
    if experiment.training.teachers is not None:
        names += experiment.training.teachers.configs
    for name in dict.fromkeys(names):
        if Path(name).suffix:
            raise ConfigError(
                f"{experiment.name}: {name} is a file, and a notebook on Kaggle has configs by "
                "name only",
                hint="put it into configs/ of the working directory, and name it without .yaml",
            )
        part = load_experiment(name)
        yield name, part
        yield from _parts(part)


def _weights(experiment: Experiment) -> Iterator[str]:
    """The package of its weights, if it needs one. Raises ConfigError for what cannot be sent."""
    model = experiment.model
    if isinstance(model, WithoutNetwork):
        raise ConfigError(f"model.name: {model.name} stands for {model.holds}: not to be trained")
    if isinstance(model, Custom) or experiment.augment.custom is not None:
        key = "model.builder" if isinstance(model, Custom) else "augment.custom"
        raise ConfigError(
            f"{experiment.name}: {key} is your own code, which is not sent to Kaggle",
            hint="attach it to a notebook of your own: docs/kaggle.md",
        )
    if not isinstance(model, Transfer) or model.weights is None:
        return
    package = imagenet.package_of(model.backbone, model.weights)
    if package is None:
        raise ConfigError(
            f"{experiment.name}: the weights of {model.backbone} ({model.weights}) are neither in "
            "a package nor sent, and a notebook has no internet",
            hint=f"--set model.backbone={next(reversed(imagenet.PACKAGES))}, or --set "
            "model.weights=null",
        )
    package.path()  # whether it is installed here
    yield package.name
