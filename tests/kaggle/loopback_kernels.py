"""The loopback Kaggle's notebooks: datasets that are made, scripts that run, what they wrote.

A script runs as at Kaggle: in a process of its own, with /kaggle in a folder of the test, read-only
input, and no way to any network.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from loopback import Loopback

OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
HOUR = 3600


@dataclass
class Kernel:
    """A notebook. looks: how often its status is still "queued", then "running"."""

    slug: str
    asked: dict[str, Any]
    folder: Path
    looks: list[str]
    status: str = ""
    failure: str = ""
    log: str = ""
    versions: int = 1
    process: subprocess.Popen[bytes] | None = None

    @property
    def working(self) -> Path:
        return self.folder / "working"


@dataclass
class Kernels:
    """What the server knows of datasets and notebooks.

    root: where notebooks run. looks: what the first looks at a new one find. quota: seconds of GPU
    allowed and used. refuses: why no notebook is taken. invalid: put into an answer.
    instead: what happens instead of a run; the status then.
    """

    METHODS: ClassVar[frozenset[str]] = frozenset(
        {
            "StartBlobUpload",
            "CreateDataset",
            "GetDatasetStatus",
            "SaveKernel",
            "GetKernelSessionStatus",
            "ListKernelSessionOutput",
            "GetAcceleratorQuotaStatistics",
        }
    )
    server: Loopback
    root: Path = Path()
    looks: list[str] = field(default_factory=lambda: ["QUEUED", "RUNNING"])
    quota: tuple[int, int] = (30 * HOUR, 2 * HOUR)
    refuses: str = ""
    invalid: dict[str, Any] = field(default_factory=dict)
    instead: Callable[[Kernel], str] | None = None
    dataset_looks: list[str] = field(default_factory=lambda: ["BLOBS_RECEIVED"])
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    kernels: dict[str, Kernel] = field(default_factory=dict)

    def api(self, method: str, asked: dict[str, Any]) -> tuple[int, Any]:
        match method:
            case "StartBlobUpload":
                return 200, self.server.start_upload(asked["name"], asked["contentLength"])
            case "CreateDataset":
                return self._create_dataset(asked)
            case "GetDatasetStatus":
                name = f"{asked['ownerSlug']}/{asked['datasetSlug']}"
                if name not in self.datasets:
                    return 403, {"code": 403, "message": "Permission 'datasets.get' was denied"}
                looks = self.dataset_looks
                return 200, {"status": looks.pop(0) if looks else "READY"}
            case "SaveKernel":
                return self._save(asked)
            case "GetAcceleratorQuotaStatistics":
                allowed, used = self.quota
                gpu = {"totalTimeAllowed": f"{allowed}s", "timeUsed": f"{used}s"}
                return 200, {"gpuQuota": gpu, "quotaRefreshTime": "2026-12-05T00:00:00Z"}
        kernel = self.kernels.get(f"{asked['userName']}/{asked['kernelSlug']}")
        if kernel is None:
            return 403, {"code": 403, "message": "Permission 'kernels.get' was denied"}
        if method == "GetKernelSessionStatus":
            status = kernel.looks.pop(0) if kernel.looks else self._run(kernel)
            failure = {"failureMessage": kernel.failure} if status == "ERROR" else {}
            return 200, {"status": status} | failure
        files = []
        if kernel.status:
            competition = self.server.serve(f"output-{kernel.slug}", kernel.working, hashes=False)
            files = [
                {"fileName": name, "url": self.server.sign(competition, name)}
                for name in competition.names()
            ]
        return 200, {"files": files, "log": kernel.log}

    def _create_dataset(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['ownerSlug']}/{asked['slug']}"
        assert asked["isPrivate"] is True, "nothing of a user is public"
        if name in self.datasets:
            return 200, {"status": "error", "error": "The requested slug is already in use"}
        files = [self.server.uploaded(file["token"]) for file in asked["files"]]
        if None in files:
            return 400, {"code": 400, "message": "The uploaded file was not found"}
        self.datasets[name] = dict(file for file in files if file is not None)
        return 200, {"status": "ok", "ref": f"/{name}", "url": "", "error": ""}

    def _save(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if self.refuses:
            return 200, {"ref": "", "url": "", "error": self.refuses}
        name, old = asked["slug"], self.kernels.get(asked["slug"])
        assert asked["isPrivate"] is True, "nothing of a user is public"
        assert name.partition("/")[2] == asked["newTitle"], "else Kaggle changes the address"
        versions = 1 if old is None else old.versions + 1
        folder = self.root / f"{name.replace('/', '-')}-{versions}"
        kernel = Kernel(name.replace("/", "-"), asked, folder, [*self.looks], versions=versions)
        self.kernels[name] = kernel
        return 200, {"ref": f"/{name}", "url": "", "versionNumber": versions} | self.invalid

    def _run(self, kernel: Kernel) -> str:
        """Run a notebook to its end, once; its status now."""
        if kernel.status:
            return kernel.status
        if self.instead is not None:
            kernel.working.mkdir(parents=True)
            kernel.status = self.instead(kernel)
            return kernel.status
        if kernel.process is None:
            kernel.process = self._start(kernel)
        code = kernel.process.poll()
        said = (kernel.folder / "log").read_text(encoding="utf-8", errors="replace")
        lines = said.splitlines(keepends=True)
        kernel.log = json.dumps([{"stream_name": "stdout", "time": 1.0, "data": s} for s in lines])
        if code is None:
            return "RUNNING"
        kernel.status = "COMPLETE" if code == 0 else "ERROR"
        kernel.failure = "" if code == 0 else f"exit code {code}"
        return kernel.status

    def _start(self, kernel: Kernel) -> subprocess.Popen[bytes]:
        asked, place = kernel.asked, kernel.folder
        inputs = place / "input"
        for folder in (inputs, kernel.working):
            folder.mkdir(parents=True)
        for name in asked.get("datasetDataSources", []):
            (inputs / name.partition("/")[2]).mkdir()
            for file, data in self.datasets[name].items():
                (inputs / name.partition("/")[2] / file).write_bytes(data)
        for slug in asked.get("competitionDataSources", []):
            (inputs / slug).symlink_to(self.server._competitions[slug].folder)
        text, count = re.subn(r'Path\("/kaggle"\)', f"Path({str(place)!r})", asked["text"])
        assert count == 1
        script = place / "script.py"
        script.write_text(text, encoding="utf-8")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with open(place / "log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", str(script)],
                cwd=kernel.working,
                env=kept | OFFLINE | {"HOME": str(place), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
