"""A network of timm that computes features, in a process of its own.

PyTorch and TensorFlow do not share one: importing `timm` (Triton) after TensorFlow ends the process
with a segmentation fault (timm 1.0.31, torch 2.14, TensorFlow 2.21).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import UsageError
from pcam_kit.features.network import Backbone
from pcam_kit.worker import Worker

# Nothing is told to others; what libraries warn of is for their developers. Threads that wait
# sleep: by default they spin, which takes 4 times as long where other programs compute, too.
SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "error",
    "DO_NOT_TRACK": "1",
    "PYTHONWARNINGS": "ignore",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class TimmNetwork:
    """The network of `backbone`; `facts` go into the manifest.

    Two steps, so that the licence is known before the weights are downloaded: `about` is what is
    known without them, `load` gets them. Raises UsageError.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._worker = Worker(
            "pcam_kit.features.timm_worker",
            f"the process that computes with {backbone.name}",
            ended=UsageError,
            hint="try a smaller --batch, then a smaller network; what is done is kept",
            refused=UsageError,
            settings=SETTINGS,
        )
        self.facts: dict[str, Any] = {}
        self.width = 0
        try:
            self._worker.send(asdict(backbone))
            self.about: dict[str, Any] = self._worker.receive()
        except BaseException:
            self.close()
            raise

    def load(self) -> None:
        """Get the weights."""
        self._worker.send("load")
        self.facts = self._worker.receive()
        self.width = int(self.facts.pop("width"))

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [n, width] of patches uint8 [n, side, side, 3]."""
        self._worker.send(patches.shape, np.ascontiguousarray(patches).data)
        self._worker.receive()
        values = np.empty((len(patches), self.width), np.float32)
        self._worker.receive_into(values)
        return values

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def __enter__(self) -> TimmNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
