"""Processes that make the images of batches, for a GPU that is faster than threads.

OpenCV's calls on one patch are so short that threads wait for the interpreter lock most of the
time. A thread of ours that waits for a process does not hold it.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import ConfigError, TrainingError
from pcam_kit.pipeline.images import Images
from pcam_kit.worker import Worker


class Processes:
    """Makes images like `images`, by `count` processes, for as many threads.

    images: of a memory map, without a custom augmentation, which may be nowhere but in this
    process.
    """

    def __init__(self, images: Images, count: int) -> None:
        stored: Any = images.stored
        recipe = {
            "stored": [str(stored.filename), stored.offset, stored.shape],
            "crop": images.crop,
            "augment": images.augmenter.config.model_dump(mode="json"),
            "seed": images.augmenter.seed,
        }
        self._shape = images.crop, images.crop, stored.shape[3]
        self._all: list[Worker] = []
        self._free: SimpleQueue[Worker] = SimpleQueue()
        try:
            for _ in range(count):
                worker = Worker(
                    "pcam_kit.pipeline.image_worker",
                    "a process that prepares batches",
                    ended=TrainingError,
                    hint="pcam train --resume continues from the checkpoint; --workers 2: with two",
                    refused=ConfigError,
                )
                self._all.append(worker)
                worker.send(recipe)
                self._free.put(worker)
        except BaseException:
            self.close()
            raise

    def __call__(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.uint8]:
        """The images of `rows` in an epoch: uint8 [n, crop, crop, channels].

        Raises ConfigError as the augmentation does, TrainingError when a process is gone.
        """
        images = np.empty((len(rows), *self._shape), np.uint8)
        worker = self._free.get()
        try:
            worker.send([epoch, len(rows)], rows.tobytes())
            worker.receive()
            worker.receive_into(images)
        finally:
            self._free.put(worker)
        return images

    def close(self) -> None:
        """End the processes."""
        for worker in self._all:
            worker.close()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
