"""Two processes train one network as one process with two devices does, also after a SIGKILL."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from test_python import clean_env

from pcam_kit import synthetic

CONFIG = """\
# pcam train both
competition: synthetic
model: {name: report_cnn, filters: [4, 8], units: 8}
augment: {transforms: [{name: ColorJitter, p: 0.8}]}
training: {epochs: 6, batch_size: 64, precision: float32, ema: 0.9, weight_decay: 0.01}
evaluation: {tta: none}
"""


def begin(folder: Path, runs: str, devices: int, *options: str) -> subprocess.Popen[str]:
    """`pcam train` on JAX, on so many virtual devices of the CPU."""
    return subprocess.Popen(
        [sys.executable, "-m", "pcam_kit", "train", "both.yaml", "--runs-dir", runs, *options],
        cwd=folder,
        env=clean_env(
            folder / "home",
            KERAS_BACKEND="jax",
            # unoptimised code is compiled in half the time
            XLA_FLAGS=f"--xla_force_host_platform_device_count={devices} "
            "--xla_backend_optimization_level=0",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def begin_both(folder: Path) -> list[subprocess.Popen[str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = ("--nodes", "2", "--coordinator", f"127.0.0.1:{port}")
    return [begin(folder, f"at-{i}", 1, *place, "--node", str(i)) for i in range(2)]


def epochs(folder: Path, runs: str) -> list[dict[str, float]]:
    files = list((folder / runs).glob("*/metrics.jsonl"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    return [json.loads(line) for text in texts for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX: pip install jax")
@pytest.mark.skipif(sys.platform == "win32", reason="JAX joins CPUs on Linux and macOS")
def test_two_processes_train_as_one_with_two_devices(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(CONFIG, encoding="utf-8")
    synthetic(train=320, valid=100, test=60, workspace=tmp_path)
    alone = begin(tmp_path, "alone", 2, "--devices", "2")
    _, said = alone.communicate(timeout=120)
    assert alone.returncode == 0, said

    first, second = begin_both(tmp_path)
    end = time.monotonic() + 60
    while not epochs(tmp_path, "at-0") and first.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=20)
    second.communicate(timeout=20)
    assert first.returncode == 5, said
    assert "error: node 1 of 2 is gone" in said
    assert "Traceback" not in said
    assert 1 <= len(epochs(tmp_path, "at-0")) < 6

    again = begin_both(tmp_path)
    answers = [process.communicate(timeout=120) for process in again]
    assert [process.returncode for process in again] == [0, 0], answers
    assert "resuming" in answers[0][1]
    assert Path(tmp_path, answers[0][0].strip(), "result.json").is_file()
    assert not (tmp_path / "at-1").exists(), "only node 0 writes"
    assert answers[1][0] == ""
    # measured: 0
    for one, two in zip(epochs(tmp_path, "alone"), epochs(tmp_path, "at-0"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert two["valid_auc"] == pytest.approx(one["valid_auc"], abs=1e-4)
    (kept,), (shared,) = (
        list((tmp_path / runs).glob("*/predictions/valid.npz")) for runs in ("alone", "at-0")
    )
    with np.load(kept) as a, np.load(shared) as b:
        np.testing.assert_allclose(a["orbit"], b["orbit"], atol=1e-4)
