"""Transforms of albumentations, for which it is imported, one patch at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from pcam_kit.config.faults import suggestion
from pcam_kit.config.schema import Transform
from pcam_kit.errors import ConfigError
from pcam_kit.parsing import parsing, printable
from pcam_kit.pipeline.transforms.base import Numbers, Patches, check_alike


class Albumentations:
    """A step: several transforms, one after the other, by their positions in the config.

    Sizes and dtypes may change in between (RandomCrop, then Resize), but not by a transform that
    may be left out, and not at the end. always: what may happen does, to try it.
    """

    def __init__(self, transforms: Mapping[int, Transform], *, always: bool = False) -> None:
        self._transforms = list(transforms.values())
        self._places = [place_of(i, transform) for i, transform in transforms.items()]
        self._always = always
        self._local = threading.local()

    @property
    def columns(self) -> int:
        """A seed for each transform.

        `albumentations.Compose` would give all of them the same: either all happen, or none.
        """
        return len(self._transforms)

    def __call__(self, images: Patches, numbers: Numbers) -> Patches:
        """Return the changed patches.

        Raises ConfigError, which names the transform, when one fails or its result is not like its
        input.
        """
        transforms = self._build()
        out = np.empty_like(images)
        where = ""
        with parsing(lambda reason: ConfigError(f"{where}: it fails on a patch: {reason}")):
            for patch, seeds, target in zip(images, numbers.tolist(), out, strict=True):
                image: Any = patch
                changed_by = ""
                for given, where, transform, seed in zip(
                    self._transforms, self._places, transforms, seeds, strict=True
                ):
                    transform.set_random_seed(seed)
                    before, image = image, transform(image=image)["image"]
                    if given.p < 1:
                        check_alike(before, image, where)
                    elif image.shape != before.shape or image.dtype != before.dtype:
                        changed_by = where
                check_alike(patch, image, changed_by or where)
                target[:] = image
        return out

    def _build(self) -> list[Any]:
        """The transforms of this thread: they contain random state, so threads must not share."""
        if not hasattr(self._local, "transforms"):
            albumentations = import_albumentations()
            self._local.transforms = [
                getattr(albumentations, transform.name)(
                    **transform.options, p=float(transform.p > 0) if self._always else transform.p
                )
                for transform in self._transforms
            ]
        return self._local.transforms


def place_of(index: int, transform: Transform) -> str:
    """Where a transform stands in a config, for messages."""
    return f"augment.transforms.{index} ({printable(transform.name)})"


def find_faults(transform: Transform) -> list[str]:
    """Why albumentations cannot build a transform; nothing if it can."""
    albumentations = import_albumentations()
    kind = getattr(albumentations, transform.name, None)
    if isinstance(kind, type) and issubclass(kind, albumentations.BaseCompose):
        return [
            "it combines other transforms, which is not supported here; list them one by one, each "
            "with its p"
        ]
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
        except Exception as error:  # whatever a library raises on options from elsewhere
            text = printable(" ".join(str(error).split()))
            faults.append(text or type(error).__name__)
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
