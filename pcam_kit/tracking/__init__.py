"""Experiment trackers (`training.track`): TensorBoard, MLflow, trackio behind one interface.

A tracker runs in a process of its own (`worker.py`), which hears of the training through a pipe
(`session.py`). So nothing that a tracker does can stop, slow or print over a training: not its
imports, a server that does not answer, what it prints, nor its threads at the end.
"""

from pcam_kit.tracking.protocol import Status, TrackedRun, Tracker
from pcam_kit.tracking.session import Session, check_installed

__all__ = ["Session", "Status", "TrackedRun", "Tracker", "check_installed"]
