"""The steps of `pcam kaggle-run`: what Kaggle has already is not done again."""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pcam_kit import kaggle_client
from pcam_kit.config.load import load_experiment
from pcam_kit.errors import Interrupted, KaggleError, UsageError
from pcam_kit.formatting import Summary, duration
from pcam_kit.kaggle_client import KernelSource, KernelStatus
from pcam_kit.progress import Display
from pcam_kit.run_folders import Run
from pcam_kit.workflows.kaggle_run.bundle import Bundle, make_bundle
from pcam_kit.workflows.kaggle_run.homecoming import unpack_runs
from pcam_kit.workflows.kaggle_run.notebook import OUTPUT, script_text
from pcam_kit.workflows.kaggle_run.task import make_task
from pcam_kit.workspace import Workspace

log = logging.getLogger(__name__)

Accelerator = Literal["t4x2", "none"]
SHAPES: dict[Accelerator, str] = {"t4x2": "NvidiaTeslaT4", "none": ""}  # Kaggle's names
LICENCE = "unknown"  # the wheels have their own; the dataset is private
LONGEST_SLUG = 50
FIRST_POLL, LONGEST_POLL = 5.0, 60.0  # seconds between two looks at the notebook
DATASET_SECONDS = 900.0  # until a new dataset can be used
LAST_LINES = 12  # of the log, in the message about a failure
RUNNING = {"queued", "running"}


@dataclass(frozen=True)
class KaggleRunRequest:
    """What to train at Kaggle.

    seeds, folds: so many trainings, as `pcam train` takes them. again: also if it ended there
    before. wait: until it has ended.
    """

    config: str
    overrides: Sequence[str] = ()
    competition: str | None = None
    accelerator: Accelerator = "t4x2"
    again: bool = False
    wait: bool = True
    seeds: int | None = None
    folds: int | None = None

    @property
    def several(self) -> tuple[str, ...]:
        """The options of `pcam train` for several trainings. Raises UsageError."""
        if self.seeds is not None and self.folds is not None:
            raise UsageError("--seeds and --folds exclude one another", hint="give one of them")
        if self.seeds is not None:
            return ("--seeds", str(self.seeds))
        return () if self.folds is None else ("--folds", str(self.folds))


@dataclass(frozen=True, repr=False)
class KaggleRunResult(Summary):
    """How far the notebook is. runs: those that came home, the one asked for last."""

    kernel: str
    state: str
    runs: tuple[Run, ...] = ()

    @property
    def url(self) -> str:
        """The notebook's page."""
        return f"https://www.kaggle.com/code/{self.kernel}"

    def summary(self) -> dict[str, str]:
        """The notebook, its state and the runs."""
        return {
            "notebook": self.url,
            "state": self.state,
            "runs": ", ".join(run.name for run in self.runs) or "-",
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam kaggle-run`."""
        return {
            "kernel": self.kernel,
            "url": self.url,
            "state": self.state,
            "runs": [str(run.path) for run in self.runs],
        }


def kaggle_run(
    request: KaggleRunRequest, workspace: Workspace, *, display: Display
) -> KaggleRunResult:
    """Train at Kaggle, follow the log, bring the runs home.

    Stopped at any moment, the same call resumes. Raises ConfigError for a config that cannot run
    there, KaggleError, StorageError, Interrupted.
    """
    experiment = load_experiment(request.config, request.overrides)
    competition = workspace.competition(request.competition or experiment.competition)
    task = make_task(experiment, competition, request.several)
    bundle = make_bundle(task.weights)
    script, shape = script_text(task), SHAPES[request.accelerator]
    user = kaggle_client.user_name()
    dataset = f"{user}/pcam-kit-{bundle.digest[:8]}"
    name = _slug(task.config, script, shape, dataset, task.competition)
    source = KernelSource(f"{user}/{name}", script, shape, [dataset], [task.competition])
    status = kaggle_client.kernel_status(source.kernel)
    if status is None or (request.again and status.state not in RUNNING):
        _check_quota(source)
        _provide(dataset, bundle)
        kaggle_client.push_kernel(source)
        log.info(f"sent: https://www.kaggle.com/code/{source.kernel}")
        status = KernelStatus("queued")
    else:
        log.info(f"at Kaggle already: https://www.kaggle.com/code/{source.kernel}")
    if not request.wait and status.state in RUNNING:
        log.info("the same command without --no-wait follows it, and brings the run home")
        return KaggleRunResult(source.kernel, status.state)
    status = _follow(source.kernel)
    if status.state != "complete":
        raise _failure(source.kernel, status)
    return KaggleRunResult(source.kernel, status.state, _bring_home(source, workspace, display))


def _slug(config: str, *sent: str) -> str:
    """The notebook's name: the config, and a hash of all that is sent."""
    digest = hashlib.sha256("\n".join(sent).encode()).hexdigest()[:8]
    words = re.sub("[^a-z0-9]+", "-", config.lower()).strip("-")
    return f"pcam-{words[: LONGEST_SLUG - 14].strip('-')}-{digest}"


def _check_quota(source: KernelSource) -> None:
    """Log the GPU hours that are left. Raises KaggleError where there are none."""
    if not source.accelerator:
        return
    quota = kaggle_client.gpu_quota()
    if quota.left is None:
        return
    until = "" if quota.refreshed is None else f" until {quota.refreshed:%Y-%m-%d %H:%M} UTC"
    if quota.left <= timedelta():
        raise KaggleError(
            f"no GPU hours are left at Kaggle{until}; nothing was sent",
            hint="wait, or train there without a GPU: --accelerator none",
        )
    log.info(f"GPU hours left at Kaggle{until}: {duration(quota.left.total_seconds())}")


def _provide(dataset: str, bundle: Bundle) -> None:
    """Make sure that the wheels are at Kaggle. Raises KaggleError."""
    status = kaggle_client.dataset_status(dataset)
    if status is None:
        size = sum(map(len, bundle.wheels.values())) / 1e6
        log.info(f"uploading {len(bundle.wheels)} wheels, {size:.1f} MB, as a private dataset")
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in bundle.wheels]
            for path in paths:
                path.write_bytes(bundle.wheels[path.name])
            title = dataset.partition("/")[2]
            kaggle_client.create_dataset(dataset, title, paths, licence=LICENCE)
        status = "processing"
    deadline, pause = time.monotonic() + DATASET_SECONDS, FIRST_POLL
    while status != "ready":
        url = f"https://www.kaggle.com/datasets/{dataset}"
        if status == "failed":
            raise KaggleError(
                f"Kaggle could not use the dataset {dataset}",
                hint=f"delete it ({url}), then run the same command again",
            )
        if time.monotonic() + pause > deadline:
            raise KaggleError(
                f"the dataset {dataset} is not ready after {duration(DATASET_SECONDS)}",
                hint=f"look at {url}; later run the same command again",
            )
        time.sleep(pause)
        status = kaggle_client.dataset_status(dataset) or "processing"


def _follow(kernel: str) -> KernelStatus:
    """Wait until the notebook has ended, and log what it prints; its status then.

    Raises KaggleError, Interrupted.
    """
    state, shown, pause = "", 0, FIRST_POLL
    try:
        while True:
            status = kaggle_client.kernel_status(kernel)
            if status is None:
                raise KaggleError(
                    f"Kaggle shows no notebook {kernel} any more",
                    hint="the same command sends it again",
                )
            if status.state != state:
                log.info(f"{kernel}: {status.state}")
            state = status.state
            lines = kaggle_client.kernel_log(kernel).splitlines() if state != "queued" else []
            for line in lines[shown:]:
                log.info(f"  {line.rstrip()}")
            shown = max(shown, len(lines))
            if state not in RUNNING:
                return status
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_POLL)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped following {kernel}, which runs on at Kaggle",
            hint="the same command follows it again; to stop it: "
            f"https://www.kaggle.com/code/{kernel}",
        ) from None


def _failure(kernel: str, status: KernelStatus) -> KaggleError:
    """The error for a notebook that did not end well; it quotes the end of its log."""
    lines = [line.rstrip() for line in kaggle_client.kernel_log(kernel).splitlines()]
    last = [line for line in lines if line][-LAST_LINES:]
    reason = f": {status.failure}" if status.failure else ""
    quoted = "".join(f"\n  {line}" for line in last)
    what = "was stopped" if status.state == "cancelled" else "failed"
    return KaggleError(
        f"{kernel} {what} at Kaggle{reason}{quoted}",
        hint=f"its page: https://www.kaggle.com/code/{kernel}; run it there once more: --again",
    )


def _bring_home(source: KernelSource, workspace: Workspace, display: Display) -> tuple[Run, ...]:
    """The runs that the notebook wrote, those of its own config last."""
    slug = source.kernel.partition("/")[2]
    target = workspace.runs / f".{slug}.zip"
    with display.work() as work:
        if not kaggle_client.download_output(source.kernel, OUTPUT, target, progress=work.bytes):
            raise KaggleError(
                f"{source.kernel} has ended, but wrote no {OUTPUT}",
                hint=f"read its log: https://www.kaggle.com/code/{source.kernel}",
            )
        try:
            return tuple(unpack_runs(target, workspace.runs, work))
        finally:
            target.unlink(missing_ok=True)
