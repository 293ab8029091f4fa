"""The process of one tracker: `python -m pcam_kit.tracking.worker NAME`.

It reads JSON lines on stdin: {"start": {...}, "history": [...]}, then {"log": {...}} for each
epoch, then {"finish": {...}}. An end without "finish" means that the training was stopped or its
process killed. What fails is one line on stdout, and the exit code is 1.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pcam_kit.parsing import reason_of
from pcam_kit.tracking.protocol import TrackedRun, Tracker

TRACKERS = {
    "tensorboard": ("pcam_kit.tracking.tensorboard", "TensorBoard"),
    "mlflow": ("pcam_kit.tracking.mlflow", "MLflow"),
    "trackio": ("pcam_kit.tracking.trackio", "Trackio"),
}


def serve(tracker: Tracker, lines: Any) -> None:
    """Tell `tracker` what the lines say."""
    finished = False
    for line in lines:
        match json.loads(line):
            case {"start": values, "history": history}:
                known = tracker.start(TrackedRun(**values))
                for metrics in history:
                    if metrics["epoch"] not in known:
                        tracker.log(metrics["epoch"], _numbers(metrics))
            case {"log": metrics}:
                tracker.log(metrics["epoch"], _numbers(metrics))
            case {"finish": {"status": status, "scores": scores}}:
                tracker.finish(status, scores)
                finished = True
            case other:
                raise ValueError(f"expected start, log or finish, found {other}")
    if not finished:
        tracker.finish("stopped", {})


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The curves of an epoch: without its number, and what was not measured."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if name not in {"epoch", "best"} and value is not None
    }


def main() -> None:
    """Serve the tracker whose name is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which tells us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout = sys.stderr  # trackers print
    logging.disable(logging.WARNING)
    try:
        module, name = TRACKERS[sys.argv[1]]
        serve(getattr(import_module(module), name)(), sys.stdin)
    except Exception as error:
        answers.write(f"{reason_of(error)}\n")
        answers.flush()
        sys.exit(1)


if __name__ == "__main__":
    main()
