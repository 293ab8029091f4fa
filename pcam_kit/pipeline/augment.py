"""Repeatable augmentation of uint8 patches: it depends on seed, epoch and row alone.

The symmetries of the square come from `symmetry`, the stain from `pipeline.stain`, the transforms
from `pipeline.transforms`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit import symmetry
from pcam_kit.config.load import import_object
from pcam_kit.config.schema import Augment
from pcam_kit.errors import ConfigError
from pcam_kit.parsing import parsing, printable
from pcam_kit.pipeline.stain import restain
from pcam_kit.pipeline.transforms.base import check_alike
from pcam_kit.pipeline.transforms.build import build_steps

# One independent stream of random numbers for each purpose.
ORDER, SYMMETRY, TRANSFORMS, STAIN, CUSTOM = range(5)
TRIALS = 8  # of each transform on each patch, before a training

# (patches uint8 [n, h, w, 3], random numbers) -> patches of the same shape and dtype
CustomAugmentation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def make_generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """The random numbers of one stream in one epoch."""
    return np.random.default_rng([seed, epoch, stream])


# Drawn once per epoch: for 262,144 rows all numbers of `lab-p4m`, drawn for every batch, would take
# 8 ms, several times as long as the transforms.
@lru_cache(maxsize=2)
def _symmetries(seed: int, epoch: int, total: int) -> NDArray[np.int8]:
    """The element of each row: [total]."""
    rng = make_generator(seed, epoch, SYMMETRY)
    return rng.integers(symmetry.ORDER, size=total, dtype=np.int8)


@lru_cache(maxsize=2)
def _stain_numbers(seed: int, epoch: int, total: int) -> NDArray[np.float32]:
    """Uniform in [-1, 1), float32 [total, 2, 3]: the factors and shifts of each row, unscaled."""
    return 2 * make_generator(seed, epoch, STAIN).random((total, 2, 3), dtype=np.float32) - 1


@lru_cache(maxsize=2)
def _transform_numbers(seed: int, epoch: int, total: int, columns: int) -> NDArray[np.uint32]:
    """Uniform over all values of uint32: [total, columns]."""
    rng = make_generator(seed, epoch, TRANSFORMS)
    return rng.integers(2**32, size=(total, columns), dtype=np.uint32)


class Augmenter:
    """Augments batches of patches.

    Safe to call from several threads; the result does not depend on the thread.

    custom: the function that `config.custom` names, when it cannot be imported by that name.
    always: every transform that may happen does, to try them. Construction raises ConfigError
    when a transform, one of its options or the custom function does not exist.
    """

    def __init__(
        self,
        config: Augment,
        *,
        seed: int,
        custom: CustomAugmentation | None = None,
        always: bool = False,
    ) -> None:
        self.config = config
        self.seed = seed
        self._custom = custom
        if custom is None and config.custom is not None:
            self._custom = import_object(config.custom, "augment.custom")
        self._steps = build_steps(config.transforms, always=always)

    @property
    def is_custom(self) -> bool:
        """Whether a function of the user takes part."""
        return self._custom is not None

    def __call__(
        self,
        images: NDArray[np.uint8],
        rows: NDArray[np.int64],
        epoch: int,
        total: int,
        *,
        overwrite: bool = False,
    ) -> NDArray[np.uint8]:
        """Augment `images` uint8 [n, h, w, 3].

        rows: int64 [n], their positions among the `total` patches of the store. overwrite: whether
        the result may be in the same memory.
        """
        if not overwrite:
            images = images.copy()
        images = np.ascontiguousarray(images)
        if self.config.d4:
            elements = _symmetries(self.seed, epoch, total)[rows]
            images = symmetry.apply_each(images, elements, overwrite=True)
        stain = self.config.stain
        if stain is not None:
            numbers = _stain_numbers(self.seed, epoch, total)[rows]
            factors, shifts = numbers[:, 0], numbers[:, 1]
            images = restain(
                images, 1 + stain.strength * factors, stain.shift * shifts, overwrite=True
            )
        if self._steps:
            images = self._apply_transforms(images, rows, epoch, total)
        if self._custom is not None:
            images = self._apply_custom(images, self._custom, rows, epoch)
        return images

    def _apply_transforms(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64], epoch: int, total: int
    ) -> NDArray[np.uint8]:
        """Apply each step with columns of its own."""
        columns = sum(step.columns for step in self._steps)
        numbers = _transform_numbers(self.seed, epoch, total, columns)[rows]
        for step in self._steps:
            own, numbers = np.split(numbers, [step.columns], axis=1)
            images = step(images, own)
        return images

    def _apply_custom(
        self,
        images: NDArray[np.uint8],
        custom: CustomAugmentation,
        rows: NDArray[np.int64],
        epoch: int,
    ) -> NDArray[np.uint8]:
        """Apply the user's function; its random numbers depend on the batch alone.

        Raises ConfigError when it fails, or does not return patches of the same shape and dtype.
        """
        first = int(rows[0]) if len(rows) else 0
        rng = np.random.default_rng([self.seed, epoch, CUSTOM, first])
        where = f"augment.custom ({printable(str(self.config.custom))})"
        given = images.shape, images.dtype
        hint = "the whole traceback: --debug"
        with parsing(lambda reason: ConfigError(f"{where}: it fails: {reason}", hint=hint)):
            out: Any = custom(images, rng)
        if (images.shape, images.dtype) != given:  # it may change them in place, but not these
            raise ConfigError(f"{where}: it changed the shape or dtype of the array it was given")
        check_alike(images, out, where)
        return out


def try_augmentation(
    config: Augment,
    images: NDArray[np.uint8],
    *,
    seed: int,
    custom: CustomAugmentation | None = None,
) -> None:
    """Augment a few real patches with every transform at work, before anything is trained.

    images: uint8 [n, h, w, channels], n > 0; config, custom: as for `Augmenter`. Raises ConfigError
    when a transform or the custom function fails, changes size or dtype, or leaves only 0 and 1.
    """
    augmenter = Augmenter(config, seed=seed, custom=custom, always=True)
    rows = np.arange(len(images))
    highest = 0
    for epoch in range(1, TRIALS + 1):
        out = augmenter(images.copy(), rows, epoch, len(images))
        highest = max(highest, int(out.max()))
    if highest <= 1 < images.max():
        raise ConfigError(
            f"augment: all pixels of {len(images)} patches are 0 or 1 afterwards, they were up to "
            f"{images.max()}",
            hint="pixels stay 0 to 255: the network scales them. Try the transforms one by one",
        )
