"""The hardware that Keras' backend computes with: its accelerators, or the CPU and what it can do.

Asking does not take memory of a GPU.
"""

# pyright: basic

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pcam_kit.training.backend import backend_name

# they make oneDNN, or TensorFlow, leave instructions of the CPU unused
INSTRUCTION_LIMITS = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@dataclass(frozen=True)
class Accelerator:
    """A GPU or TPU.

    kind: "cuda", "tpu", or "gpu" for all that is not NVIDIA's. compute_capability: NVIDIA's version
    of the architecture, (7, 5) for a T4; None where it is not known.
    """

    kind: str
    name: str
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Hardware:
    """What a training computes with.

    backend: "tensorflow", "jax" or "torch". accelerators: those the backend sees. processor:
    "x86_64", "arm64" and so on, in lower case. flags: the CPU's instruction sets as Linux names
    them, or None where the system does not list them. limits: environment variables that keep the
    backend from using some of these.
    """

    backend: str
    accelerators: tuple[Accelerator, ...] = ()
    processor: str = "x86_64"
    flags: frozenset[str] | None = None
    limits: tuple[str, ...] = ()

    def first(self, devices: int) -> Hardware:
        """The same with the first so many accelerators."""
        return replace(self, accelerators=self.accelerators[:devices])

    def describe(self) -> str:
        """`2 x Tesla T4`, `NVIDIA A100, Tesla T4`, `CPU`."""
        names = [accelerator.name for accelerator in self.accelerators]
        if not names:
            return "CPU"
        if len(names) > 1 and len(set(names)) == 1:
            return f"{len(names)} x {names[0]}"
        return ", ".join(names)


def read_hardware(environment: Mapping[str, str] = os.environ) -> Hardware:
    """Ask the backend and the system. Imports the backend."""
    backend = backend_name()
    return Hardware(
        backend=backend,
        accelerators=tuple(_accelerators(backend)),
        processor=platform.machine().lower(),
        flags=_cpu_flags(),
        limits=tuple(
            f"{name}={environment[name]}" for name in INSTRUCTION_LIMITS if name in environment
        ),
    )


def count_cores() -> int:
    """Those that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux alone
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _accelerators(backend: str) -> list[Accelerator]:
    match backend:
        case "tensorflow":
            tf: Any = import_module("tensorflow")
            config = tf.config
            return [
                _tensorflow_gpu(gpu.name, config.experimental.get_device_details(gpu))
                for gpu in config.list_physical_devices("GPU")
            ]
        case "jax":
            jax: Any = import_module("jax")
            return [_jax_device(device) for device in jax.devices() if device.platform != "cpu"]
        case "torch":
            cuda: Any = import_module("torch").cuda
            return [
                Accelerator("cuda", cuda.get_device_name(i), cuda.get_device_capability(i))
                for i in range(cuda.device_count())
            ]
        case _:
            return []


def _tensorflow_gpu(name: str, details: dict[str, Any]) -> Accelerator:
    capability = details.get("compute_capability")
    kind = "gpu" if capability is None else "cuda"
    return Accelerator(kind, details.get("device_name", name), capability)


def _jax_device(device: Any) -> Accelerator:
    if device.platform == "tpu":
        return Accelerator("tpu", device.device_kind)
    capability = str(getattr(device, "compute_capability", ""))
    major, _, minor = capability.partition(".")
    if major.isdecimal() and minor.isdecimal():
        return Accelerator("cuda", device.device_kind, (int(major), int(minor)))
    return Accelerator("gpu", device.device_kind)


def _cpu_flags() -> frozenset[str] | None:
    """The instruction sets of this CPU; None where the system does not list them."""
    match platform.system():
        case "Linux":
            return parse_cpuinfo(_read("/proc/cpuinfo"))
        case "Darwin":
            return _mac_features()
        case _:
            return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def parse_cpuinfo(text: str) -> frozenset[str] | None:
    """The flags in the text of /proc/cpuinfo; None when it has none.

    The line is called `flags` on x86, `Features` on Arm.
    """
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return None


def _mac_features() -> frozenset[str]:
    """`bf16` on chips of Apple that have it, else nothing."""
    command = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset({"bf16"}) if done.stdout.strip() == "1" else frozenset()
