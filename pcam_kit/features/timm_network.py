"""A network of timm that computes features, in a process of its own.

PyTorch and TensorFlow do not share one: importing `timm` (Triton) after TensorFlow ends the process
with a segmentation fault (timm 1.0.31, torch 2.14, TensorFlow 2.21).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcam_kit.errors import UsageError
from pcam_kit.features.network import Backbone
from pcam_kit.parsing import parsing

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
        # so that it finds this package where this process found it
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        self._name = backbone.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pcam_kit.features.timm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # stderr is ours: downloads show their progress there
            env=SETTINGS | os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            start_new_session=os.name == "posix",  # Ctrl-C is for this process, which ends it
        )
        self.facts: dict[str, Any] = {}
        self.width = 0
        try:
            self._send(f"{backbone.as_json()}\n".encode())
            self.about: dict[str, Any] = self._answer()
        except BaseException:
            self.close()
            raise

    def load(self) -> None:
        """Get the weights."""
        self._send(b'"load"\n')
        self.facts = self._answer()
        self.width = int(self.facts.pop("width"))

    def __call__(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [n, width] of patches uint8 [n, side, side, 3]."""
        self._send(f"{json.dumps(patches.shape)}\n".encode())
        self._send(np.ascontiguousarray(patches).data)
        self._answer()
        size = len(patches) * self.width * 4
        data = self._output.read(size)
        if len(data) < size:
            raise self._ended()
        return np.frombuffer(data, np.float32).reshape(len(patches), self.width)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()

    def __enter__(self) -> TimmNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _output(self) -> Any:
        assert self._process.stdout is not None
        return self._process.stdout

    def _send(self, data: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended; why is read from its answer
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line:
            raise self._ended()
        with parsing(lambda reason: UsageError(f"the process of {self._name} answers {reason}")):
            answer = json.loads(line)
        if "error" in answer:
            raise UsageError(answer["error"], hint=answer["hint"])
        return answer

    def _ended(self) -> UsageError:
        code = self._process.wait()
        why = "it was killed, perhaps for want of memory" if code < 0 else f"exit code {code}"
        return UsageError(
            f"the process that computes with {self._name} ended: {why}",
            hint="try a smaller --batch, then a smaller network; what is done is kept",
        )
