"""Repeatable augmentation of uint8 patches: it depends on seed, epoch and row alone.

The symmetries of the square come from `symmetry`, the stain from `pipeline.stain`, everything else
from albumentations, by the names in the config.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.faults import suggestion
from pcam_kit.config.load import import_object
from pcam_kit.config.schema import Augment, Transform
from pcam_kit.errors import ConfigError
from pcam_kit.pipeline.stain import restain

# One independent stream of random numbers for each purpose.
ORDER, SYMMETRY, TRANSFORMS, STAIN, CUSTOM = range(5)

# (patches uint8 [n, h, w, 3], random numbers) -> patches of the same shape and dtype
CustomAugmentation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def make_generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """The random numbers of one stream in one epoch."""
    return np.random.default_rng([seed, epoch, stream])


# Drawn once per epoch: six numbers per row, drawn again for every batch, would take longer than the
# augmentation itself.
@lru_cache(maxsize=2)
def _stain_numbers(seed: int, epoch: int, total: int) -> NDArray[np.float32]:
    """Uniform in [-1, 1), float32 [total, 2, 3]: the factors and shifts of each row, unscaled."""
    return 2 * make_generator(seed, epoch, STAIN).random((total, 2, 3), dtype=np.float32) - 1


class Augmenter:
    """Augments batches of patches.

    Safe to call from several threads; the result does not depend on the thread.

    custom: the function that `config.custom` names, when it cannot be imported by that name.
    Construction raises ConfigError when a transform, one of its options or the custom function does
    not exist.
    """

    def __init__(
        self, config: Augment, *, seed: int, custom: CustomAugmentation | None = None
    ) -> None:
        self._config = config
        self._seed = seed
        self._local = threading.local()
        self._custom = custom
        if custom is None and config.custom is not None:
            self._custom = import_object(config.custom, "augment.custom")
        if config.transforms:
            self._compose()

    def __call__(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64], epoch: int, total: int
    ) -> NDArray[np.uint8]:
        """Augment `images` uint8 [n, h, w, 3].

        rows: int64 [n], their positions among the `total` patches of the store.
        """
        if self._config.d4:
            rng = make_generator(self._seed, epoch, SYMMETRY)
            elements = rng.integers(symmetry.ORDER, size=total, dtype=np.int8)
            images = symmetry.apply_each(images, elements[rows])
        stain = self._config.stain
        if stain is not None:
            numbers = _stain_numbers(self._seed, epoch, total)[rows]
            factors, shifts = numbers[:, 0], numbers[:, 1]
            images = restain(images, 1 + stain.strength * factors, stain.shift * shifts)
        if self._config.transforms:
            images = self._apply_transforms(images, rows, epoch, total)
        if self._custom is not None:
            images = self._apply_custom(images, self._custom, rows, epoch)
        return images

    def _apply_transforms(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64], epoch: int, total: int
    ) -> NDArray[np.uint8]:
        """Apply the albumentations transforms, with a separate seed for each patch."""
        rng = make_generator(self._seed, epoch, TRANSFORMS)
        seeds = rng.integers(2**32, size=total, dtype=np.uint32)
        compose = self._compose()
        out = np.empty_like(images)
        for i, seed in enumerate(seeds[rows].tolist()):
            compose.set_random_seed(seed)
            out[i] = compose(image=images[i])["image"]
        return out

    def _apply_custom(
        self,
        images: NDArray[np.uint8],
        custom: CustomAugmentation,
        rows: NDArray[np.int64],
        epoch: int,
    ) -> NDArray[np.uint8]:
        """Apply the user's function; its random numbers depend on the batch alone.

        Raises ConfigError when it does not return patches of the same shape and dtype.
        """
        first = int(rows[0]) if len(rows) else 0
        rng = np.random.default_rng([self._seed, epoch, CUSTOM, first])
        out: Any = custom(images, rng)
        if not isinstance(out, np.ndarray) or out.dtype != np.uint8 or out.shape != images.shape:
            actual = type(out).__name__
            if isinstance(out, np.ndarray):
                actual = f"{out.dtype} {list(out.shape)}"
            raise ConfigError(
                f"augment.custom ({self._config.custom}): expected patches uint8 "
                f"{list(images.shape)} like its input, found {actual}",
                hint="pixels stay uint8, 0 to 255: round and clip, then .astype(np.uint8)",
            )
        return out

    def _compose(self) -> Any:
        """The albumentations pipeline of this thread.

        It contains random state, so threads must not share one.
        """
        if not hasattr(self._local, "compose"):
            self._local.compose = build_transforms(self._config.transforms)
        return self._local.compose


def build_transforms(transforms: list[Transform]) -> Any:
    """The transforms as one `albumentations.Compose`.

    Raises ConfigError, which lists every transform that cannot be built.
    """
    albumentations = import_albumentations()
    steps: list[Any] = []
    faults: list[str] = []
    for i, transform in enumerate(transforms):
        step, messages = _build_transform(albumentations, transform)
        steps.append(step)
        faults += [f"augment.transforms.{i} ({transform.name}): {text}" for text in messages]
    if faults:
        raise ConfigError(
            "\n  ".join(["the augmentation cannot be built:", *faults]),
            hint="the transforms and their options: https://explore.albumentations.ai",
        )
    return albumentations.Compose(steps)


def _build_transform(albumentations: Any, transform: Transform) -> tuple[Any, list[str]]:
    """One transform, None if it cannot be built, and what is wrong with it."""
    kind = getattr(albumentations, transform.name, None)
    if not isinstance(kind, type) or not issubclass(kind, albumentations.BasicTransform):
        names = [
            name for name in dir(albumentations) if isinstance(getattr(albumentations, name), type)
        ]
        hint = suggestion(transform.name, names)
        return None, [f"albumentations has no such transform{hint}"]
    step: Any = None
    faults: list[str] = []
    # albumentations only warns of an unknown option
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            step = kind(**transform.options, p=transform.p)
        except (TypeError, ValueError) as error:
            faults.append(" ".join(str(error).split()))
    messages = [str(warning.message) for warning in caught]
    faults += [" ".join(text.split()) for text in messages if "not valid" in text]
    return step, faults


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
