"""What folders in storage cost: python benchmarks/remote.py [--mb N] [--repeats N]

A server that speaks S3 (moto, in a process of its own) on loopback, so what is measured is the
client, the mirror and that server, and no network. A store is uploaded, downloaded by another
cache, and copied on disk for comparison; a small network is trained with its runs here and there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pcam_kit as pcam
from pcam_kit import files, mirrors
from pcam_kit.progress import SILENT

BUCKET = "bench"
EPOCHS = 10
SERVER = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"


def serve() -> subprocess.Popen[bytes]:
    """Begin the server, lead the client there and make the bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER.format(port=port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import boto3

    for _ in range(100):
        try:
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            return server
        except Exception:  # it is not up yet
            time.sleep(0.2)
    raise RuntimeError("the server does not answer")


def machine(folder: Path, name: str) -> None:
    """Go on as another machine, which has a cache of its own."""
    os.environ["PCAM_CACHE_DIR"] = str(folder / name)
    mirrors._mirrors.clear()


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def store_seconds(folder: Path, megabytes: int, number: int) -> dict[str, float]:
    """Seconds to write so many MB as a store, upload, download and copy them."""
    url = f"s3://{BUCKET}/data-{number}"
    plain = folder / f"plain-{number}" / "store"
    plain.mkdir(parents=True)
    pixels = np.random.default_rng(number).integers(0, 256, megabytes * 1_000_000, np.uint8)
    (plain / "images.npy").write_bytes(pixels.tobytes())
    (plain / "index.npz").write_bytes(b"index")
    sums = {
        name: {"sha256": files.sha256_file(plain / name)} for name in ("images.npy", "index.npz")
    }
    (plain / "manifest.json").write_text(json.dumps({"files": sums}), encoding="utf-8")

    def copy() -> None:
        shutil.copytree(plain, folder / f"copy-{number}")
        files.sync_file(folder / f"copy-{number}" / "images.npy")

    copied = timed(copy)
    machine(folder, f"up-{number}")
    target = mirrors.folder_of(url, "data") / "tiny" / "store"
    target.parent.mkdir(parents=True)
    up = timed(lambda: files.move(plain, target))
    mirrors.flush()
    machine(folder, f"down-{number}")
    target = mirrors.folder_of(url, "data") / "tiny" / "store"
    down = timed(lambda: mirrors.bring(target))
    assert (target / "images.npy").stat().st_size == pixels.nbytes
    again = timed(lambda: mirrors.bring(target))
    for name in (f"copy-{number}", f"up-{number}", f"down-{number}"):
        shutil.rmtree(folder / name)
    return {"copy": copied, "upload": up, "download": down, "look again": again}


def training_seconds(folder: Path, number: int) -> dict[str, float]:
    """Seconds of a training of EPOCHS epochs with its run on disk, and in storage."""
    machine(folder, "training")
    data = folder / "data"
    local = pcam.Workspace(data, folder / f"runs-{number}")
    if not data.exists():
        pcam.synthetic(train=400, valid=200, test=100, workspace=local, display=SILENT)
    remote = pcam.Workspace.of(data, f"s3://{BUCKET}/runs-{number}")

    def train(workspace: pcam.Workspace) -> None:
        overrides = {"training.epochs": EPOCHS}
        pcam.train("demo", overrides=overrides, workspace=workspace, display=SILENT)

    if number == 0:
        train(local)  # what the first one costs beside the training
    return {
        "epochs here": timed(lambda: train(local)),
        "epochs there": timed(lambda: train(remote)),
    }


def listing_seconds(folder: Path, number: int, runs: int = 200) -> dict[str, float]:
    """Seconds to bring the small files of many runs, and to look at them again."""
    source = next((folder / "runs-0").iterdir())
    machine(folder, f"list-up-{number}")
    root = mirrors.folder_of(f"s3://{BUCKET}/many-{number}", "runs")
    for k in range(runs):
        part = root / f".part-{k}"
        part.mkdir()
        for name in ("config.yaml", "meta.json", "metrics.jsonl", "result.json"):
            shutil.copyfile(source / name, part / name)
        files.move(part, root / f"{source.name}-{k}")
    machine(folder, f"list-{number}")
    workspace = pcam.Workspace.of(folder / "data", f"s3://{BUCKET}/many-{number}")
    here = pcam.Workspace(folder / "data", folder / f"here-{number}")
    shutil.copytree(root, here.runs)
    return {
        "200 runs, first look": timed(lambda: pcam.runs(workspace=workspace)),
        "200 runs again": timed(lambda: pcam.runs(workspace=workspace)),
        "200 runs here": timed(lambda: pcam.runs(workspace=here)),
    }


def main() -> None:
    """Print the mean and the standard deviation of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    server = serve()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            results: list[dict[str, float]] = []
            for number in range(options.repeats):
                result = store_seconds(folder, options.mb, number)
                result |= training_seconds(folder, number)
                result |= listing_seconds(folder, number)
                results.append(result)
    finally:
        server.terminate()
        server.wait()
    for what in results[0]:
        values = [result[what] for result in results]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{what}: {statistics.mean(values):.3f} s ± {spread:.3f} (n = {len(values)})")


if __name__ == "__main__":
    main()
