"""Where jobs run: in processes of this machine, or on a Ray cluster. Both tell only that one ended.

What a job has to say is in its files, so a pool needs nothing but a shared folder.
"""

# pyright: basic

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

from pcam_kit.errors import ConfigError, UsageError
from pcam_kit.files import write_json
from pcam_kit.worker import own_group
from pcam_kit.workflows.sweep.job import Job, Outcome, job_of, read_outcome, run_job

log = logging.getLogger(__name__)

INSTALL = 'pip install "pcam-kit[ray]"'
NO_CLUSTER = "on the head machine: ray start --head; or begin a cluster here: --ray local"
CONNECT_SECONDS = 10.0
STOP_SECONDS = 60.0  # that a job may take to write its checkpoint
JobT = TypeVar("JobT", bound=Job)

# what libraries take their number of threads from
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS")


# A terminal's Ctrl-C reaches the sweep alone, which then interrupts its jobs, once.
INTERRUPT: int = signal.SIGINT
if sys.platform == "win32":
    INTERRUPT = signal.CTRL_BREAK_EVENT


POLL = 0.2  # seconds between two looks at the jobs
ATTEMPTS = 3  # of a job whose process dies


@dataclass(frozen=True)
class Where:
    """Where jobs run.

    jobs: side by side on this machine; None: one for each GPU, without one for every two
    processors. ray: a cluster's address; "local" begins one here. cpus: processors of a job there.
    """

    jobs: int | None = None
    ray: str | None = None
    cpus: int = 1


HERE = Where()


class Pool(Protocol):
    """Runs jobs side by side."""

    def size(self) -> int:
        """How many jobs may run at once, now."""
        ...

    def start(self, job: Job) -> None:
        """Begin a job."""
        ...

    def ended(self) -> list[tuple[Job, str]]:
        """The jobs that ended since the last call, and why one died, "" where none did."""
        ...

    def close(self) -> None:
        """Ask what still runs to stop, and wait for it."""
        ...


class Attempts(Generic[JobT]):
    """The jobs of a pool; one whose process dies is started again, from its checkpoint.

    what: what messages call a job, "trial". running: by name.
    """

    def __init__(self, pool: Pool, what: str) -> None:
        self._pool, self._what = pool, what
        self._counts: dict[str, int] = {}
        self.running: dict[str, JobT] = {}

    @property
    def has_room(self) -> bool:
        """Whether the pool takes another job now."""
        return len(self.running) < self._pool.size()

    def start(self, job: JobT) -> None:
        """Begin a job."""
        for suffix in (".stop", ".outcome.json"):  # of an earlier attempt
            job.path(suffix).unlink(missing_ok=True)
        self._counts[job.name] = self._counts.get(job.name, 0) + 1
        self.running[job.name] = job
        self._pool.start(job)

    def ended(self) -> list[tuple[JobT, Outcome]]:
        """The jobs that ended since the last call; those that died ATTEMPTS times have failed."""
        found: list[tuple[JobT, Outcome]] = []
        for ended, why in self._pool.ended():
            job = self.running.pop(ended.name)
            outcome = read_outcome(job)
            if outcome is None or outcome.ending == "interrupted":
                reason = why or (outcome.error if outcome is not None else "it left no word")
                if self._counts[job.name] < ATTEMPTS:
                    log.warning(f"{self._what} {job.trial}: {reason}; again, from its checkpoint")
                    self.start(job)
                    continue
                outcome = Outcome("failed", error=f"died {ATTEMPTS} times; {reason}")
            found.append((job, outcome))
        return found


class LocalPool:
    """Processes of this machine; each has its share of the processors, or a GPU."""

    def __init__(self, size: int, gpus: int = 0) -> None:
        self._size, self._gpus = size, gpus
        self._running: dict[int, tuple[Job, subprocess.Popen[Any]]] = {}  # by slot

    def size(self) -> int:
        """How many jobs may run at once."""
        return self._size

    def start(self, job: Job) -> None:
        """Begin a job in a free slot."""
        slot = next(i for i in range(self._size) if i not in self._running)
        write_json(job.path(".job.json"), asdict(job))
        command = [sys.executable, "-m", f"{__package__}.job", str(job.path(".job.json"))]
        with open(job.path(".log"), "ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | self._share(slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **own_group(),
            )
        self._running[slot] = job, process

    def ended(self) -> list[tuple[Job, str]]:
        """The jobs that ended since the last call."""
        found: list[tuple[Job, str]] = []
        for slot, (job, process) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[slot]
            why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            found.append((job, "" if code == 0 else f"{why}; its log: {job.path('.log')}"))
        return found

    def close(self) -> None:
        """Interrupt all, so that they write their checkpoints; what does not end is killed."""
        for _, process in self._running.values():
            with suppress(OSError):
                process.send_signal(INTERRUPT)
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _share(self, slot: int) -> dict[str, str]:
        """The environment in which a job takes no more than its share."""
        threads = str(max(1, (os.cpu_count() or 1) // self._size))
        share = {name: os.environ.get(name, threads) for name in THREADS}
        if self._gpus > 0:
            share["CUDA_VISIBLE_DEVICES"] = str(slot % self._gpus)
        return share


class RayPool:
    """A Ray cluster; each job is a task in a process of its own, which Ray places.

    address: of the cluster; "local" begins one on this machine. cpus: processors of a job; it has a
    GPU, too, where the cluster has any. Ray does not retry: the sweep does, and counts.
    """

    def __init__(self, address: str, cpus: int = 1) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(f"--ray needs Ray ({error})", hint=INSTALL) from error
        self._ray, self._cpus = ray, cpus
        # usage statistics and a token in the home folder are nobody's wish here
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        _check_reachable(address)
        local = address == "local"
        try:
            ray.init(
                address="local" if local else address,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
            raise UsageError(
                f"no Ray cluster can be reached at {address}: {reason}",
                hint=NO_CLUSTER,
            ) from error
        gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
        self._gpus = gpus
        # max_calls: a process of its own, so that nothing is left of the training before
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)
        self._run: Any = remote(_run_here)
        self._running: dict[Any, Job] = {}
        # a thread of Ray's prints about workers that died; stdout is for the result
        self._stdout, sys.stdout = sys.stdout, sys.stderr

    def size(self) -> int:
        """How many jobs the cluster holds at once, as it is now."""
        there = self._ray.cluster_resources()
        most = int(there.get("CPU", 0) // self._cpus)
        return max(1, min(most, int(there["GPU"])) if self._gpus else most)

    def start(self, job: Job) -> None:
        """Hand a job to the cluster."""
        self._running[self._run.remote(asdict(job))] = job

    def ended(self) -> list[tuple[Job, str]]:
        """The jobs that ended since the last call."""
        found: list[tuple[Job, str]] = []
        if not self._running:
            return found
        done, _ = self._ray.wait(
            list(self._running), num_returns=len(self._running), timeout=0, fetch_local=False
        )
        for reference in done:
            job = self._running.pop(reference)
            try:
                self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                why = str(error).strip().splitlines()[0]
                found.append((job, f"{type(error).__name__}: {why}"))
            else:
                found.append((job, ""))
        return found

    def close(self) -> None:
        """Have what runs stop after its epoch, then leave the cluster."""
        for job in self._running.values():
            job.path(".stop").touch()
        with suppress(Exception):
            self._ray.wait(
                list(self._running), num_returns=len(self._running), timeout=STOP_SECONDS
            )
        for reference in self._running:
            with suppress(Exception):
                self._ray.cancel(reference, force=True)
        for job in self._running.values():
            job.path(".stop").unlink(missing_ok=True)
        self._ray.shutdown()
        sys.stdout = self._stdout


def _check_reachable(address: str) -> None:
    """Raises UsageError where nobody listens: Ray itself would end the process."""
    if address in {"local", "auto"}:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--ray {address}: expected local, auto or HOST:PORT", hint=NO_CLUSTER)
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"no Ray cluster can be reached at {address}: {reason}", hint=NO_CLUSTER
        ) from error


def _run_here(values: dict[str, Any]) -> None:
    """A job in a process of Ray's."""
    run_job(job_of(values))


def open_pool(where: Where) -> Pool:
    """The pool that `where` describes, to be closed. Raises ConfigError, UsageError."""
    if where.ray is not None:
        return RayPool(where.ray, where.cpus)
    gpus = count_gpus()
    # one training alone uses about two processors
    return LocalPool(where.jobs or gpus or max(1, (os.cpu_count() or 1) // 2), gpus)


def count_gpus() -> int:
    """The NVIDIA GPUs that this process may use, without a backend; 0 where none is found."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
