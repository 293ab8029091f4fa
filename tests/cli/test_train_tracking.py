"""`training.track` as typed: a real MLflow server, stopped and resumed trainings, servers down."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from command_line import Project

ALL = "training.track=[tensorboard, mlflow, trackio]"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An MLflow server on loopback."""
    pytest.importorskip("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{(tmp_path / 'server.db').as_posix()}"
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with open(tmp_path / "server.log", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, "--backend-store-uri", store],
            stdout=output,
            stderr=output,
            cwd=tmp_path,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                requests.get(f"{address}/health", timeout=2).raise_for_status()
                break
            except requests.RequestException:
                assert process.poll() is None, (tmp_path / "server.log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text(
                    encoding="utf-8"
                )
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it has nothing to keep
        process.wait(30)


@pytest.fixture
def callers() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that lets nothing through, and what was sent to it."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(200))

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen


def ask(server: str, path: str, **body: Any) -> dict[str, Any]:
    answer = requests.post(f"{server}/api/2.0/mlflow/{path}", json=body, timeout=20)
    answer.raise_for_status()
    return answer.json()


@pytest.mark.slow
def test_all_trackers_hear_of_one_run_though_it_was_stopped(
    started: Project, server: str, callers: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    pytest.importorskip("trackio")
    proxy, seen = callers
    env = {
        "MLFLOW_TRACKING_URI": server,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_TOKEN": "hf_of_somebody",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), proxy),
        "no_proxy": "127.0.0.1",
    }
    stop = {"on": "step", "at": 13, "signal": signal.SIGINT}  # 9 steps an epoch
    command = ("train", "quick", "--set", "training.epochs=3", "--set", ALL)
    started.quick(*command, hook=stop, **env).refused(130, "nothing is lost")
    (folder,) = started.runs()
    done = started.quick("train", "--resume", "--json", **env)
    assert done.json["epochs"] == 3
    assert "does not track" not in done.err
    lines = [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]

    runs = ask(server, "runs/search", experiment_ids=["1"])["runs"]
    assert len(runs) == 1, "resumed into the same run"
    assert runs[0]["info"]["status"] == "FINISHED"
    data = runs[0]["data"]
    params = {item["key"]: item["value"] for item in data["params"]}
    assert (params["training.epochs"], params["model.name"]) == ("3", "lab_cnn")
    tags = {item["key"]: item["value"] for item in data["tags"]}
    assert tags["pcam_kit.run"] == folder.name
    final = {item["key"]: item["value"] for item in data["metrics"]}
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    for name in ("valid_auc", "valid_auc_low", "valid_auc_high"):
        assert final[f"final_{name}"] == pytest.approx(result[name])
    history = requests.get(
        f"{server}/api/2.0/mlflow/metrics/get-history",
        params={"run_id": runs[0]["info"]["run_id"], "metric_key": "valid_loss"},
        timeout=20,
    ).json()["metrics"]
    assert [(item["step"], item["value"]) for item in history] == [
        (line["epoch"], pytest.approx(line["valid_loss"])) for line in lines
    ]
    assert seen == [], "nobody was called but the server"


def test_a_server_that_is_down_costs_one_warning(started: Project) -> None:
    pytest.importorskip("mlflow")
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = started.quick("train", "quick", "--set", "training.track=[mlflow]", "--json", **down)
    assert done.json["epochs"] == 1
    assert done.err.count("warning: mlflow does not track the rest of this training") == 1


def test_a_run_with_another_tracker_is_the_same_run(started: Project) -> None:
    pytest.importorskip("tensorboard")
    series = ("train", "quick", "--seeds", "1", "--set")
    first = started.quick(*series, "training.track=[tensorboard]").ok()
    (run,) = started.runs()
    assert list((run / "tensorboard").glob("events.*"))
    assert "tensorboard --logdir runs" in first.err
    again = started.quick(*series, "training.track=[]").ok()
    assert "is there already" in again.err
    assert started.runs() == [run]
    unknown = started.quick("train", "quick", "--set", "training.track=[wandb]")
    unknown.refused(2, "training.track", "'tensorboard', 'mlflow' or 'trackio'")
