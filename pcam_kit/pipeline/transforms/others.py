"""Transforms of albumentations, for which it is imported, one patch at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from pcam_kit.config.faults import suggestion
from pcam_kit.config.schema import Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.transforms.base import Numbers, Patches


class Albumentations:
    """A step: several transforms, one after the other."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self._transforms = transforms
        self._local = threading.local()

    @property
    def columns(self) -> int:
        """A seed for each transform.

        `albumentations.Compose` would give all of them the same: either all happen, or none.
        """
        return len(self._transforms)

    def __call__(self, images: Patches, numbers: Numbers) -> Patches:
        """Return the changed patches."""
        transforms = self._build()
        out = np.empty_like(images)
        for image, seeds, target in zip(images, numbers.tolist(), out, strict=True):
            for transform, seed in zip(transforms, seeds, strict=True):
                transform.set_random_seed(seed)
                image = transform(image=image)["image"]
            target[:] = image
        return out

    def _build(self) -> list[Any]:
        """The transforms of this thread: they contain random state, so threads must not share."""
        if not hasattr(self._local, "transforms"):
            albumentations = import_albumentations()
            self._local.transforms = [
                getattr(albumentations, transform.name)(**transform.options, p=transform.p)
                for transform in self._transforms
            ]
        return self._local.transforms


def find_faults(transform: Transform) -> list[str]:
    """Why albumentations cannot build a transform; nothing if it can."""
    albumentations = import_albumentations()
    kind = getattr(albumentations, transform.name, None)
    if not isinstance(kind, type) or not issubclass(kind, albumentations.BasicTransform):
        names = [
            name for name in dir(albumentations) if isinstance(getattr(albumentations, name), type)
        ]
        return [f"albumentations has no such transform{suggestion(transform.name, names)}"]
    faults: list[str] = []
    # albumentations only warns of an unknown option
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            kind(**transform.options, p=transform.p)
        except (TypeError, ValueError) as error:
            faults.append(" ".join(str(error).split()))
    messages = [str(warning.message) for warning in caught]
    return faults + [" ".join(text.split()) for text in messages if "not valid" in text]


def import_albumentations() -> Any:
    """Import albumentations without its online check for newer versions.

    Raises ConfigError when albumentationsx is installed, which has the same import name but the
    AGPL licence.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        version = metadata.version("albumentationsx")
    except metadata.PackageNotFoundError:
        import albumentations

        return albumentations
    raise ConfigError(
        f"albumentationsx {version} (AGPL) is installed under the import name of albumentations "
        "2.0.8 (MIT)",
        hint="pip uninstall albumentationsx, then pip install --force-reinstall "
        "albumentations==2.0.8",
    )
