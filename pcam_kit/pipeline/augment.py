"""Augmentation of uint8 patches, repeatable: what happens to a patch depends on (seed, epoch, row)
alone.

The symmetries of the square come from `symmetry`, the stain from `pipeline.stain`; everything else
from albumentations, named in the config.
"""

from __future__ import annotations

import os
import threading
import warnings
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.load import suggestion
from pcam_kit.config.schema import Augment, Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.stain import restain

# Keys that keep the streams of random numbers of one (seed, epoch) apart.
ORDER, SYMMETRY, TRANSFORMS, STAIN = range(4)


def generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """The random numbers of one stream of one epoch."""
    return np.random.default_rng([seed, epoch, stream])


# six numbers a row: drawn for every batch anew they would take longer than the rest
@lru_cache(maxsize=2)
def _stain_numbers(seed: int, epoch: int, total: int) -> NDArray[np.float32]:
    """Even in [-1, 1): [total, 2, 3], a row's factors and shifts before they are scaled."""
    return 2 * generator(seed, epoch, STAIN).random((total, 2, 3), dtype=np.float32) - 1


class Augmenter:
    """Augments batches of patches.

    Safe to call from several threads: the result does not depend on which thread does it.

    Raises ConfigError at construction when a transform or one of its options does not exist.
    """

    def __init__(self, config: Augment, *, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._local = threading.local()
        if config.transforms:
            self._compose()

    def __call__(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64], epoch: int, total: int
    ) -> NDArray[np.uint8]:
        """Augment `images` uint8 [n, h, w, 3], which stand at `rows` int64 [n] of the `total`
        patches of the store.
        """
        if self._config.d4:
            elements = generator(self._seed, epoch, SYMMETRY).integers(
                symmetry.ORDER, size=total, dtype=np.int8
            )
            images = symmetry.apply_each(images, elements[rows])
        if self._config.stain is not None:
            factors, shifts = np.moveaxis(_stain_numbers(self._seed, epoch, total)[rows], 1, 0)
            images = restain(
                images, 1 + self._config.stain.strength * factors, self._config.stain.shift * shifts
            )
        if not self._config.transforms:
            return images
        seeds = generator(self._seed, epoch, TRANSFORMS).integers(
            2**32, size=total, dtype=np.uint32
        )[rows]
        compose = self._compose()
        out = np.empty_like(images)
        for i, seed in enumerate(seeds.tolist()):
            compose.set_random_seed(seed)
            out[i] = compose(image=images[i])["image"]
        return out

    def _compose(self) -> Any:
        """This thread's albumentations pipeline: it keeps its random state inside, so threads must
        not share one.
        """
        if not hasattr(self._local, "compose"):
            self._local.compose = build_transforms(self._config.transforms)
        return self._local.compose


def build_transforms(transforms: list[Transform]) -> Any:
    """The transforms as one `albumentations.Compose`.

    Raises ConfigError listing every one that cannot be built.
    """
    albumentations = import_albumentations()
    built: list[Any] = []
    faults: list[str] = []
    for i, transform in enumerate(transforms):
        where = f"augment.transforms.{i} ({transform.name})"
        known = [
            name for name in dir(albumentations) if isinstance(getattr(albumentations, name), type)
        ]
        kind = getattr(albumentations, transform.name, None)
        if not isinstance(kind, type) or not issubclass(kind, albumentations.BasicTransform):
            faults.append(
                f"{where}: albumentations has no such transform{suggestion(transform.name, known)}"
            )
            continue
        # an unknown option is only a warning there
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                built.append(kind(**transform.options, p=transform.p))
            except (TypeError, ValueError) as error:
                faults.append(f"{where}: {' '.join(str(error).split())}")
        faults += [
            f"{where}: {' '.join(str(w.message).split())}"
            for w in caught
            if "not valid" in str(w.message)
        ]
    if faults:
        raise ConfigError(
            "\n  ".join(["the augmentation cannot be built:", *faults]),
            hint="the transforms and their options: https://explore.albumentations.ai",
        )
    return albumentations.Compose(built)


def import_albumentations() -> Any:
    """Import albumentations without its look-up of newer versions.

    Raises ConfigError when its AGPL namesake is installed.
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
