"""A process that makes images of batches: `python -m pcam_kit.pipeline.image_worker`.

stdin: a line of JSON, what the images are made of; then for each batch a line, epoch and number of
rows, and the rows, int64. stdout: for each batch a line, and the pixels. It ends with stdin.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import cv2
import numpy as np

from pcam_kit.config.schema import Augment
from pcam_kit.errors import PcamError
from pcam_kit.pipeline.augment import Augmenter
from pcam_kit.pipeline.images import Images
from pcam_kit.worker import Answers


def main() -> None:
    """Answer until stdin ends."""
    answers, requests = Answers(), sys.stdin.buffer
    cv2.setNumThreads(1)  # the cores are for the other processes
    make = _build(json.loads(requests.readline()))
    while line := requests.readline():
        epoch, count = json.loads(line)
        rows = np.frombuffer(requests.read(8 * count), np.int64)
        try:
            answers.send({}, make(rows, epoch).data)
        except PcamError as error:
            answers.refuse(error)


def _build(recipe: dict[str, Any]) -> Images:
    path, offset, shape = recipe["stored"]
    stored = np.memmap(path, np.uint8, "r", offset, tuple(shape))
    augmenter = Augmenter(Augment(**recipe["augment"]), seed=recipe["seed"])
    return Images(stored, recipe["crop"], augmenter)


if __name__ == "__main__":
    main()
