"""Public benchmarks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pcam_kit.api.arguments import (
    Overrides,
    WorkspaceLike,
    config_of,
    display_of,
    overrides_of,
    workspace_of,
)

if TYPE_CHECKING:
    from pcam_kit.progress import Display
    from pcam_kit.workflows.benchmark import Benchmark, BenchmarkName


def benchmark(
    name: BenchmarkName,
    config: str | os.PathLike[str] | None = None,
    *,
    overrides: Overrides = (),
    seed: int | None = None,
    seeds: int = 5,
    workspace: WorkspaceLike | None = None,
    display: Display | None = None,
) -> Benchmark:
    """Train a config and score it on a public test set, beside published scores.

    name: "pcam", PCam's own splits, or "mle-bench", MLE-bench's split of Kaggle's train set. config
    None: the default of the competition that the patches are from. Epoch and threshold are chosen
    on validation patches; the test patches are scored once, when all runs are complete. Complete
    runs are used again, a stopped one is resumed. The result is also written into the runs folder.
    Raises DataError where the data or the test labels are not there; else as `train`.
    """
    from pcam_kit.workflows import benchmark as workflow
    from pcam_kit.workflows.train import TrainRequest

    training = TrainRequest(config_of(config), overrides_of(overrides, seed))
    request = workflow.BenchmarkRequest(name, training, seeds)
    return workflow.benchmark(request, workspace_of(workspace), display=display_of(display))
