"""Training batches, prepared by workers, in an order that can be repeated and resumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pcam_kit.pipeline.augment import ORDER, Augmenter, make_generator
from pcam_kit.pipeline.images import Images, MakeImages
from pcam_kit.pipeline.processes import Processes

SMALL = 64  # pixels a side


@dataclass(frozen=True)
class Workers:
    """What prepares batches: threads of this process, or processes."""

    count: int
    processes: bool = False


def threads_for(crop: int) -> Workers:
    """The threads that are fastest, for crops of so many pixels a side.

    OpenCV's calls on a small patch are so short that two threads wait for each other.
    """
    return Workers(1 if crop < SMALL else 2)


@dataclass(frozen=True)
class Batches:
    """Batches of `rows` of a store.

    images: uint8 [total, h, w, 3], may be a memory map. labels: [total], classes or probabilities.
    rows: int64 [n]. crop: side of the centre crop in pixels. workers: None: `threads_for` the crop.
    passes: over the rows, in each epoch. part: (i, n): of each batch only the i-th of n equal parts
    is made. make: makes the images of a batch, within `started`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int8] | NDArray[np.float32]
    rows: NDArray[np.int64]
    batch_size: int
    crop: int
    augmenter: Augmenter
    seed: int
    workers: Workers | None = None
    passes: int = 1
    part: tuple[int, int] = (0, 1)
    make: MakeImages | None = None

    @property
    def steps(self) -> int:
        """Number of batches per epoch.

        An incomplete last batch of a pass is left out unless it is the only one. Each pass has a
        new order, so that all patches are used.
        """
        return self.passes * self._steps_of_pass

    @property
    def _steps_of_pass(self) -> int:
        return max(1, len(self.rows) // self.batch_size)

    @property
    def size(self) -> int:
        """Patches of every batch, all parts together."""
        return min(self.batch_size, len(self.rows))

    @contextmanager
    def started(self) -> Generator[Batches]:
        """The same batches, from processes that run until the end of the context, if any."""
        if self.workers is None or not self.workers.processes:
            yield self
            return
        with Processes(self._images, self.workers.count) as make:
            yield replace(self, make=make)

    @property
    def _images(self) -> Images:
        return Images(self.images, self.crop, self.augmenter)

    def epoch(
        self, epoch: int, *, start: int = 0
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """Yield (images uint8 [b, crop, crop, 3], labels float32 [b, 1]) from step `start` on."""
        pending: deque[Future[tuple[NDArray[np.uint8], NDArray[np.float32]]]] = deque()
        order, drawn = self.rows, 0
        make = self.make or self._images
        count = (self.workers or threads_for(self.crop)).count
        with ThreadPoolExecutor(count, thread_name_prefix="batch") as pool:
            try:
                for step in range(start, self.steps):
                    done, place = divmod(step, self._steps_of_pass)
                    # as an epoch of its own, to order and augmentation
                    number = (epoch - 1) * self.passes + done + 1
                    if number != drawn:
                        order = make_generator(self.seed, number, ORDER).permutation(self.rows)
                        drawn = number
                    first = place * self.batch_size
                    rows = self._part_of(order[first : first + self.batch_size])
                    pending.append(pool.submit(self._make_batch, make, rows, number))
                    if len(pending) > 2 * count:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _part_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        index, count = self.part
        size = len(rows) // count
        return rows[index * size : (index + 1) * size]

    def _make_batch(
        self, make: MakeImages, rows: NDArray[np.int64], epoch: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return make(rows, epoch), self.labels[rows].astype(np.float32)[:, None]
