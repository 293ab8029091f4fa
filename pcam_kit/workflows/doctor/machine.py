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

from pcam_kit.formatting import counted, size
from pcam_kit.training.hardware import count_cores
from pcam_kit.workflows.doctor import Check, ProcessResult, background_python
from pcam_kit.workflows.doctor.packages import own_requirements

BACKEND_SECONDS = 60.0
ENOUGH_MEMORY = 3e9  # bytes; TensorFlow and a small network take about 1.5 GB
NO_LIMIT = 1 << 60  # bytes; cgroup v1 writes a number near 2^63 for "no limit"

# Names devices without starting to use them: no memory of a GPU that another process trains on is
# taken. Keras would import matplotlib, which makes a list of fonts and leaves it in the home
# folder: for Keras it is not installed. Logs go to stderr, which is only read after a failure.
BACKEND_CODE = """
import importlib, json, sys
sys.modules["matplotlib"] = None
import keras
from pcam_kit.training.hardware import read_hardware
from pcam_kit.training.precision import choose_precision, measure_precision
hardware = read_hardware()
known = hardware.backend in ("tensorflow", "jax", "torch")
module = importlib.import_module(hardware.backend if known else "numpy")
print(json.dumps({
    "keras": keras.__version__,
    "backend": hardware.backend,
    "version": module.__version__,
    "gpus": [accelerator.name for accelerator in hardware.accelerators],
    "precision": choose_precision("auto", hardware, measure_precision).describe(),
}))
"""

# of each version of control groups: the files with the limit and the use of memory, and the line
# of memory.stat with the part of it that is cache
CGROUP_FILES = {
    "v2": ("memory.max", "memory.current", "inactive_file"),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@contextmanager
def backend_checks(
    seconds: float = BACKEND_SECONDS,
) -> Generator[Callable[[], Iterator[Check]]]:
    """Import Keras in another process while the block runs, since that takes seconds.

    The yielded function waits for it and returns the checks.
    """
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    # Keras would write this file; in a folder that cannot be written to it works without
    if not (home / "keras.json").is_file():
        variables["KERAS_HOME"] = f"{os.devnull}/keras"
    with background_python(BACKEND_CODE, seconds=seconds, **variables) as wait:
        yield lambda: _backend(wait, seconds)


def _backend(wait: Callable[[], ProcessResult], seconds: float) -> Iterator[Check]:
    name = os.environ.get("KERAS_BACKEND", "")
    setting = f" (KERAS_BACKEND={name})" if name else ""
    try:
        process = wait()
    except subprocess.TimeoutExpired:
        yield Check(
            "backend",
            "problem",
            f"importing Keras takes more than {seconds:.0f} s{setting}",
            "try by hand: python -c 'import keras'",
        )
        return
    if process.exit_code != 0:
        _, required = own_requirements()
        needed = [text for text in required if text.startswith(("tensorflow", "keras"))]
        fix = " ".join(["pip install --force-reinstall", *(f'"{text}"' for text in needed)])
        if name not in {"", "tensorflow"}:
            fix = "unset KERAS_BACKEND"
        message = f"Keras cannot be imported{setting}: {process.failure}"
        yield Check("backend", "problem", message, fix)
        return
    versions: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    yield _devices(versions)


def _devices(versions: dict[str, Any]) -> Check:
    """Does the backend use the GPU that the machine has? `versions`: what BACKEND_CODE printed."""
    backend: str = versions["backend"]
    gpus: list[str] = versions["gpus"]
    devices = ", ".join(gpus) if gpus else f"CPU only ({_cores()})"
    text = (
        f"keras {versions['keras']} on {backend} {versions['version']}, {devices}, trains in "
        f"{versions['precision']}"
    )
    unused = "" if gpus else _gpu_of_the_driver()
    if not unused:
        return Check("backend", "ok", text)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in {"", "-1"}:
        return Check("backend", "ok", f"{text}; CUDA_VISIBLE_DEVICES hides {unused}")
    fix = f"install {backend} with CUDA"
    if backend == "tensorflow":
        fix = 'pip install "tensorflow[and-cuda]"'
    message = f"{text}; the driver shows {unused}, which {backend} does not see"
    return Check("backend", "warning", message, fix)


def _cores() -> str:
    """`1 core`, `8 cores`: those that this process may use."""
    return counted(count_cores(), "core")


def _gpu_of_the_driver() -> str:
    """The first GPU that the NVIDIA driver shows, "" when there is none."""
    if shutil.which("nvidia-smi") is not None:
        try:
            process = subprocess.run(
                ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=10,
                check=True,
            )
            if name := process.stdout.split("\n")[0].strip():
                return name
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
    """Is there enough memory to train? `root`: as for `read_memory`."""
    ram = read_memory(root)
    text = f"{size(ram.available)} available of {size(ram.total)}"
    more = "close other programs"
    if ram.limited:
        text += " (the limit of this container)"
        more += ", or give the container more"
    if ram.available >= ENOUGH_MEMORY:
        yield Check("memory", "ok", text)
        return
    fix = f"{more}; less is needed with --set training.batch_size=32"
    yield Check("memory", "warning", f"{text}; training needs about {size(ENOUGH_MEMORY)}", fix)


def read_memory(root: Path = Path("/")) -> Memory:
    """The memory of the machine or of the container, whichever has less.

    `root`: where proc/ and sys/ are.
    """
    import psutil

    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    limited = False
    for limit, used in _container_limits(root):
        limited |= limit < total
        total = min(total, limit)
        available = min(available, max(0, limit - used))
    return Memory(total, available, limited)


def _container_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) bytes of the control groups this process is in, cgroup v2 and v1.

    File cache that can be dropped is not counted as used.
    """
    for version, folders in _cgroup_folders(root).items():
        limit_name, used_name, cache_name = CGROUP_FILES[version]
        for folder in sorted(folders):
            limit = _number(folder / limit_name)
            if limit is None or limit >= NO_LIMIT:
                continue
            used = _number(folder / used_name) or 0
            cache = _statistic(folder / "memory.stat", cache_name)
            yield limit, max(0, used - cache)


def _cgroup_folders(root: Path) -> dict[str, set[Path]]:
    """Of each version, the folders of this process's control groups and of those above them."""
    v2 = root / "sys/fs/cgroup"
    bases = {"v2": v2, "v1": v2 / "memory"}
    # inside a container its own group is the mounted root
    folders = {version: {base} for version, base in bases.items()}
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return folders
    for line in lines:
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        _, controllers, path = fields
        if controllers and "memory" not in controllers.split(","):
            continue
        version = "v1" if controllers else "v2"
        group = bases[version] / path.lstrip("/")
        above = {parent for parent in group.parents if parent.is_relative_to(bases[version])}
        folders[version] |= {group} | above
    return folders


def _number(path: Path) -> int | None:
    """The number in a file; None for "max" and without the file."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _statistic(path: Path, name: str) -> int:
    """The number after `name` in a file of `name number` lines; 0 when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        values = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return int(values.get(name, "0"))
    except (OSError, ValueError):
        return 0
