"""The transforms of a config as steps for whole batches."""

from __future__ import annotations

from itertools import groupby

from pydantic import ValidationError

from pcam_kit.config.faults import describe_fault
from pcam_kit.config.schema import Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.transforms.base import BatchTransform, Sometimes, Step
from pcam_kit.pipeline.transforms.colour import ColorJitter
from pcam_kit.pipeline.transforms.geometry import Affine, ElasticTransform, RandomResizedCrop
from pcam_kit.pipeline.transforms.others import Albumentations, find_faults, place_of

OWN: dict[str, type[BatchTransform]] = {
    kind.__name__: kind for kind in (Affine, ColorJitter, ElasticTransform, RandomResizedCrop)
}


def build_steps(transforms: list[Transform], *, always: bool = False) -> list[Step]:
    """The steps, in order; neighbours that come from albumentations are one step.

    always: what may happen does, to try it. Raises ConfigError, which lists every transform that
    cannot be built.
    """
    faults = [
        f"{place_of(i, transform)}: {text}"
        for i, transform in enumerate(transforms)
        for text in _find_faults(transform)
    ]
    if faults:
        raise ConfigError(
            "\n  ".join(["the augmentation cannot be built:", *faults]),
            hint="the transforms and their options: https://explore.albumentations.ai",
        )
    steps: list[Step] = []
    for own, neighbours in groupby(enumerate(transforms), lambda item: _is_own(item[1])):
        if own:
            steps += [
                Sometimes(
                    OWN[one.name](**one.options),
                    float(one.p > 0) if always else one.p,
                    place_of(i, one),
                )
                for i, one in neighbours
            ]
        else:
            steps.append(Albumentations(dict(neighbours), always=always))
    return steps


def _is_own(transform: Transform) -> bool:
    """Whether it is ours, with all of its options."""
    kind = OWN.get(transform.name)
    return kind is not None and kind.knows(transform.options)


def _find_faults(transform: Transform) -> list[str]:
    if not _is_own(transform):
        return find_faults(transform)
    kind = OWN[transform.name]
    try:
        kind.model_validate(transform.options)
    except ValidationError as error:
        return [describe_fault(kind, item) for item in error.errors()]
    return []
