"""What a training computes with: chosen for a new run, kept for a resumed one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, get_args

from pcam_kit.config.schema import AskedPrecision, Custom, Model, Precision
from pcam_kit.errors import ConfigError, RunError, UsageError
from pcam_kit.pipeline.batches import Workers, threads_for
from pcam_kit.run_folders import Run
from pcam_kit.training.backend import backend_name, quiet_import
from pcam_kit.training.hardware import Hardware, count_cores, read_hardware
from pcam_kit.training.nodes import ALONE, Group
from pcam_kit.training.precision import PrecisionChoice, choose_precision, measure_precision
from pcam_kit.workflows.plan import TrainingPlan

log = logging.getLogger(__name__)

MOST_PROCESSES = 4  # 8 made steps on an H100 at most a tenth shorter


@dataclass(frozen=True)
class Resources:
    """What the caller gives to a training.

    workers: threads that prepare batches, for a GPU processes; None: as many as serve it. devices:
    GPUs that share each batch; None: one, and for a resumed run as many as it began with. group:
    the processes that these devices are in.
    """

    workers: int | None = None
    devices: int | None = None
    group: Group = ALONE


DEFAULT_RESOURCES = Resources()


@dataclass(frozen=True)
class Compute:
    """What a training computes with.

    device: in words, e.g. "2 x Tesla T4". unused: accelerators that the backend sees besides.
    """

    backend: str
    device: str
    devices: int
    unused: int
    precision: PrecisionChoice
    workers: Workers

    def to_meta(self) -> dict[str, Any]:
        """Its entries in meta.json."""
        return {
            "backend": self.backend,
            "device": self.device,
            "devices": self.devices,
            "precision": self.precision.to_meta(),
        }

    def report(self) -> None:
        """Log one line."""
        workers = f"; batches from {self.workers.count} processes" if self.workers.processes else ""
        log.info(f"computing on {self.device} in {self.precision.describe()}{workers}")
        if self.unused:
            count = self.devices + self.unused
            log.info(f"{self.unused} more are there: --devices {count} with KERAS_BACKEND=jax")


def choose_compute(plan: TrainingPlan, resources: Resources) -> Compute:
    """What a new run computes with. Imports the backend.

    Raises ConfigError and UsageError for a precision and devices that this machine does not have.
    """
    devices = 1 if resources.devices is None else resources.devices
    return _compute(plan, plan.experiment.training.precision, devices, resources.workers)


def check_backend(run: Run) -> None:
    """Raises UsageError where a stopped run began with another backend."""
    with quiet_import():
        backend = backend_name()
    if run.meta["backend"] != backend:
        raise UsageError(
            f"{run.name} was begun with Keras on {run.meta['backend']}, this is {backend}",
            hint=f"set KERAS_BACKEND to {run.meta['backend']}: pcam train --resume {run.name}",
        )


def restore_compute(run: Run, plan: TrainingPlan, resources: Resources) -> Compute:
    """What a stopped run computes with: in the precision it began with, on as many devices.

    Raises UsageError where these are not there, RunError where this machine does not have the
    precision.
    """
    # a run of a pcam without auto has its precision in the config
    kept = run.meta.get("precision", {"used": run.experiment.training.precision})
    precision: Any = kept.get("used") if isinstance(kept, dict) else None
    devices = run.meta.get("devices", 1)
    if precision not in get_args(Precision) or not isinstance(devices, int):
        raise RunError(
            f"{run.path / 'meta.json'}: expected a precision in use and a number of devices, found "
            f"{kept!r} and {devices!r}",
            hint="the run folder is damaged: train again",
        )
    if resources.devices is not None:
        devices = resources.devices
    try:
        compute = _compute(plan, precision, devices, resources.workers)
    except ConfigError as error:
        raise RunError(
            f"{run.name} was begun in {precision} on {run.meta['device']}, and here it cannot "
            f"continue: {error.message}",
            hint="resume it on such a machine, or train again: pcam train",
        ) from error
    return replace(compute, precision=replace(compute.precision, why="as it was begun"))


def choose_workers(plan: TrainingPlan, asked: int | None, hardware: Hardware) -> Workers:
    """What prepares the batches for `hardware`, for a GPU processes; asked: how many."""
    if hardware.accelerators and not plan.augmenter.is_custom:
        return Workers(asked or min(MOST_PROCESSES, count_cores()), processes=True)
    return threads_for(plan.crop) if asked is None else Workers(asked)


def _compute(
    plan: TrainingPlan, asked: AskedPrecision, devices: int, workers: int | None
) -> Compute:
    with quiet_import():
        from pcam_kit.training.devices import check_devices

        hardware = read_hardware()
    check_devices(devices, plan.batches().size)
    used = hardware.first(devices)
    return Compute(
        backend=hardware.backend,
        device=used.describe() if used.accelerators or devices == 1 else f"{devices} x CPU",
        devices=devices,
        unused=len(hardware.accelerators) - len(used.accelerators),
        precision=_choose_precision(plan.experiment.model, asked, used),
        workers=choose_workers(plan, workers, used),
    )


def _choose_precision(model: Model, asked: AskedPrecision, hardware: Hardware) -> PrecisionChoice:
    if asked == "auto" and isinstance(model, Custom) and model.is_saved:
        return PrecisionChoice(asked, "float32", "a saved network has its own precision")
    return choose_precision(asked, hardware, measure_precision)
