"""The machine: what Keras computes with, and how much memory there is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcam_kit.commands.checks import Check, beside, size

BACKEND_SECONDS = 60.0
LITTLE = 3e9  # bytes of memory; TensorFlow and a small network take about 1.5 GB
HUGE = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"

# Names devices without starting to use them: no memory of a GPU that another process trains on is
# taken. Keras would import matplotlib, which makes a list of fonts and leaves it in the home
# folder: for Keras it is not installed.
LOOK = """
import json, sys
sys.modules["matplotlib"] = None
import keras
backend, gpus = keras.backend.backend(), []
if backend == "tensorflow":
    import tensorflow as module
    for device in module.config.list_physical_devices("GPU"):
        details = module.config.experimental.get_device_details(device)
        gpus.append(details.get("device_name", device.name))
elif backend == "jax":
    import jax as module
    gpus = [device.device_kind for device in module.devices() if device.platform != "cpu"]
elif backend == "torch":
    import torch as module
    gpus = [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]
else:
    import numpy as module
found = {"keras": keras.__version__, "backend": backend, "version": module.__version__}
print(json.dumps(found | {"gpus": gpus}))
"""


@contextmanager
def looking_at_backend(
    seconds: float = BACKEND_SECONDS,
) -> Generator[Callable[[], Iterator[Check]]]:
    """Import Keras in another process while the block runs, since that takes seconds; the result
    waits for it and tells.
    """
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    # Keras would write one; where it cannot it goes on without
    if not (home / "keras.json").is_file():
        variables["KERAS_HOME"] = f"{os.devnull}/keras"
    with beside(LOOK, seconds=seconds, **variables) as ended:
        yield lambda: _backend(ended, seconds)


def _backend(ended: Callable[[], tuple[int, str, str]], seconds: float) -> Iterator[Check]:
    wanted = os.environ.get("KERAS_BACKEND", "")
    chosen = f" (KERAS_BACKEND={wanted})" if wanted else ""
    try:
        code, out, err = ended()
    except subprocess.TimeoutExpired:
        yield Check(
            "backend",
            "problem",
            f"importing Keras takes more than {seconds:.0f} s{chosen}",
            "try by hand: python -c 'import keras'",
        )
        return
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    if code != 0:
        why = (
            f"killed by signal {-code}" if code < 0 else lines[-1] if lines else f"exit code {code}"
        )
        fix = (
            "unset KERAS_BACKEND"
            if wanted not in {"", "tensorflow"}
            else 'pip install --force-reinstall "tensorflow>=2.21,<3" "keras>=3.15,<4"'
        )
        yield Check("backend", "problem", f"Keras cannot be imported{chosen}: {why}", fix)
        return
    told: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    gpus: list[str] = told["gpus"]
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    devices = ", ".join(gpus) if gpus else f"CPU only ({cores} core{'s' if cores != 1 else ''})"
    text = f"keras {told['keras']} on {told['backend']} {told['version']}, {devices}"
    unused = "" if gpus else _gpu_of_the_driver()
    if unused and os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in {"", "-1"}:
        yield Check("backend", "ok", f"{text}; CUDA_VISIBLE_DEVICES hides {unused}")
    elif unused:
        fix = (
            'pip install "tensorflow[and-cuda]"'
            if told["backend"] == "tensorflow"
            else f"install {told['backend']} with CUDA"
        )
        yield Check(
            "backend",
            "warning",
            f"{text}; the driver shows {unused}, which {told['backend']} does not see",
            fix,
        )
    else:
        yield Check("backend", "ok", text)


def _gpu_of_the_driver() -> str:
    """The first GPU that the NVIDIA driver shows, "" when there is none."""
    if shutil.which("nvidia-smi") is not None:
        try:
            done = subprocess.run(
                ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            if names := done.stdout.split("\n")[0].strip():
                return names
        except (OSError, subprocess.SubprocessError):
            pass
    return "an NVIDIA GPU" if any(Path("/proc/driver/nvidia/gpus").glob("*")) else ""


@dataclass(frozen=True)
class Memory:
    """Bytes of memory. `limited`: a container has less than the machine."""

    total: int
    available: int
    limited: bool


def memory(root: Path = Path("/")) -> Iterator[Check]:
    """Is there enough memory to train?"""
    found = read_memory(root)
    text = (
        f"{size(found.available)} available of "
        f"{size(found.total)}{' (the limit of this container)' if found.limited else ''}"
    )
    if found.available < LITTLE:
        fix = (
            "close other programs"
            + (", or give the container more" if found.limited else "")
            + "; less is needed with --set training.batch_size=32"
        )
        yield Check("memory", "warning", f"{text}; training wants about {size(LITTLE)}", fix)
    else:
        yield Check("memory", "ok", text)


def read_memory(root: Path = Path("/")) -> Memory:
    """Memory in all and memory to be had, of the machine or of the container, whichever is less.

    `root`: where proc/ and sys/ are.
    """
    try:
        lines = dict(
            line.split(":", 1)
            for line in (root / "proc/meminfo").read_text().splitlines()
            if ":" in line
        )
        total, available = (
            int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")
        )
    except (OSError, KeyError, ValueError, IndexError):  # not Linux
        page = os.sysconf("SC_PAGE_SIZE")
        total = available = page * os.sysconf("SC_PHYS_PAGES")
    limited = False
    for limit, used in _container_limits(root):
        limited |= limit < total
        total, available = min(total, limit), min(available, max(0, limit - used))
    return Memory(total, available, limited)


def _container_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) of the control groups this process is in, cgroup v2 and v1.

    File cache that can be dropped is not counted as used.
    """
    try:
        groups = [
            line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()
        ]
    except OSError:
        groups = []
    v2 = root / "sys/fs/cgroup"
    # inside a container its own group is the mounted root
    paths = {"v2": {v2}, "v1": {v2 / "memory"}}
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if controllers == "" or "memory" in controllers.split(","):
            version, base = ("v2", v2) if controllers == "" else ("v1", v2 / "memory")
            inner = base / path.lstrip("/")
            paths[version] |= {
                inner,
                *(parent for parent in inner.parents if parent.is_relative_to(base)),
            }
    names = {
        "v2": ("memory.max", "memory.current", "inactive_file"),
        "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for version, (limit_name, used_name, cache_name) in names.items():
        for path in sorted(paths[version]):
            limit = _number(path / limit_name)
            if limit is not None and limit < HUGE:
                yield (
                    limit,
                    max(
                        0,
                        (_number(path / used_name) or 0)
                        - _statistic(path / "memory.stat", cache_name),
                    ),
                )


def _number(path: Path) -> int | None:
    """The number in a file; None for "max" and for no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        return int(
            dict(line.split(" ", 1) for line in path.read_text().splitlines() if " " in line).get(
                name, "0"
            )
        )
    except (OSError, ValueError):
        return 0
