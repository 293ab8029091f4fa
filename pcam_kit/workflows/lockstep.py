"""What process 0 of a training on several nodes tells the others, and what they do with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import cast

from pcam_kit.config.schema import Precision
from pcam_kit.run_folders import Run
from pcam_kit.training.nodes import Group
from pcam_kit.training.validation import Validation
from pcam_kit.workflows.compute import Compute


def share_start(run: Run, compute: Compute, group: Group) -> None:
    """Tell the others, if there are any, what the run begins with: `receive_start`."""
    group.share(json.dumps([compute.precision.used, compute.devices, run.id]).encode())
    group.share(run.state_file.read_bytes() if run.state_file.is_file() else b"")


def receive_start(group: Group) -> tuple[Precision, int, str, bytes]:
    """Precision, number of devices, the run's id, and its checkpoint: empty for a new run."""
    precision, devices, owner = json.loads(group.share())
    return cast(Precision, precision), devices, owner, group.share()


def share_scores(scores: Validation, group: Group) -> Validation:
    """Tell the others what process 0 has measured."""
    group.share(json.dumps(asdict(scores)).encode())
    return scores


def receive_scores(group: Group) -> Validation:
    """The scores of an epoch, from process 0."""
    return Validation(**json.loads(group.share()))
