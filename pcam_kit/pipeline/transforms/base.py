"""What our transforms share: validated options, random numbers by row, and probability p."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pcam_kit.errors import ConfigError
from pcam_kit.parsing import parsing

Patches = NDArray[np.uint8]  # [n, h, w, channels]
Numbers = NDArray[np.uint32]  # [n, columns], each uniform over all 2**32 values
Pair = tuple[float, float]


class Step(Protocol):
    """Changes a batch of patches; a patch depends on its own row of random numbers alone.

    images: contiguous, and may be overwritten.
    """

    @property
    def columns(self) -> int:
        """How many random numbers a patch needs."""
        ...

    def __call__(self, images: Patches, numbers: Numbers) -> Patches:
        """Return the changed patches."""
        ...


class BatchTransform(BaseModel, ABC):
    """A transform for whole batches; its fields are the options of albumentations' namesake.

    Arithmetic over several patches is element by element, never a matrix product, which may round
    differently for another batch size. OpenCV gets one patch at a time: 1 to 50 us a call, and it
    stays in the cache. Patches are changed in place: memory that is new for each batch has to be
    given by the system page by page, which took longer than an affine map at 96 px.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    columns: ClassVar[int]

    @classmethod
    def knows(cls, options: dict[str, Any]) -> bool:
        """Whether all options are ours; ranges for each axis (dictionaries) are not."""
        own = options.keys() <= cls.model_fields.keys()
        return own and not any(isinstance(value, dict) for value in options.values())

    @abstractmethod
    def apply(self, images: Patches, rows: list[int], numbers: Numbers) -> None:
        """Change the patches `rows` of `images`, each by its row of `numbers` [rows, columns]."""


@dataclass(frozen=True)
class Sometimes:
    """A step that changes each patch with probability `p`; where: for messages."""

    transform: BatchTransform
    p: float
    where: str

    @property
    def columns(self) -> int:
        """Those of the transform, and one for whether it happens."""
        return 1 + self.transform.columns

    def __call__(self, images: Patches, numbers: Numbers) -> Patches:
        """Return `images`, some of them changed.

        Raises ConfigError, which names the transform, when it fails.
        """
        rows = np.flatnonzero(uniform(numbers[:, 0]) < self.p)
        with parsing(lambda reason: ConfigError(f"{self.where}: it fails on a patch: {reason}")):
            self.transform.apply(images, rows.tolist(), numbers[rows, 1:])
        return images


def check_alike(before: NDArray[Any], after: Any, where: str) -> None:
    """Raises ConfigError unless `after` is an array of the dtype and shape of `before`.

    A cast would not do: floats of 0 to 1 as uint8 are all 0 or 1. where: the transform, for the
    message.
    """
    if (
        isinstance(after, np.ndarray)
        and after.dtype == before.dtype
        and after.shape == before.shape
    ):
        return
    found = type(after).__name__
    if isinstance(after, np.ndarray):
        found = f"{after.dtype} {list(after.shape)}"
    raise ConfigError(
        f"{where}: expected patches {before.dtype} {list(before.shape)} like its input, found "
        f"{found}",
        hint="patches keep their size, and pixels stay uint8, 0 to 255: the network scales them",
    )


def uniform(numbers: Numbers) -> NDArray[np.float64]:
    """As numbers in [0, 1)."""
    return numbers.astype(np.float64) * 2**-32


def between(ranges: list[Pair], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Uniform in each range: float64 [n, ranges] from numbers in [0, 1) of the same shape."""
    low, high = np.array(ranges, np.float64).T
    return low + (high - low) * numbers


def read_pair(value: Any, *, least: float = -np.inf, most: float = np.inf) -> Pair:
    """[lowest, highest] of a config. Raises ValueError."""
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_number, value)):
        raise ValueError("expected [lowest, highest]")
    low, high = value
    if not least <= low <= high <= most:
        raise ValueError(f"expected [lowest, highest] within {least} to {most}")
    return low, high


def read_spread(value: Any, *, centre: float, least: float, most: float) -> Pair:
    """[lowest, highest], or a number: how far they are from `centre`. Raises ValueError."""
    if not _is_number(value):
        return read_pair(value, least=least, most=most)
    if value < 0:
        raise ValueError("expected a number that is not negative")
    return read_pair((max(least, centre - value), centre + value), least=least, most=most)


def read_range(value: Any) -> Pair:
    """Two numbers in either order, or one that is always taken. Raises ValueError."""
    if _is_number(value):
        return value, value
    return read_pair(sorted(value) if isinstance(value, list | tuple) else value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
