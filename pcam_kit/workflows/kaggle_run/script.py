"""Train with pcam-kit at Kaggle, without internet. Written by `pcam kaggle-run`."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

TASK = json.loads("{}")
KAGGLE = Path("/kaggle")
INPUT, WORKING, SCRATCH = KAGGLE / "input", KAGGLE / "working", KAGGLE / "temp" / "pcam"
STATE = "state.npz"  # checkpoints, of no use once a run is complete


def main() -> None:
    site, work = SCRATCH / "site", SCRATCH / "work"
    wheel = next(INPUT.rglob("pcam_kit-*.whl"), None)
    if wheel is None:
        sys.exit(f"no wheel of pcam-kit in {INPUT}")
    for path in sorted(wheel.parent.glob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(site)
    for name, text in TASK["files"].items():
        path = work / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    def pcam(*arguments: object) -> int:
        print("$ pcam", *arguments, flush=True)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
            "PCAM_DATA_DIR": str(SCRATCH / "data"),
            "PCAM_RUNS_DIR": str(SCRATCH / "runs"),
            "PCAM_SUBMISSIONS_DIR": str(SCRATCH / "submissions"),
        }
        command = [sys.executable, "-m", "pcam_kit", *map(str, arguments)]
        return subprocess.run(command, cwd=work, env=environment, check=False).returncode

    # each training has a GPU of its own
    several = list(TASK["several"])
    if several and count_gpus() > 1:
        several += ["--jobs", count_gpus()]
    slug = TASK["competition"]
    mounts = [INPUT / slug, INPUT / "competitions" / slug]
    files = next((folder for folder in mounts if folder.is_dir()), INPUT)
    for step in (["fetch", slug, "--from", files], ["train", TASK["config"], *several]):
        code = pcam(*step)
        if code != 0:
            sys.exit(f"pcam {step[0]} ended with exit code {code}")
    # so that the answers for the test patches come home with the runs
    done = sorted((SCRATCH / "runs").glob(f"*-{TASK['config']}-*/result.json"))
    pcam("predict", *(path.parent.name for path in done if several))
    pack(SCRATCH / "runs", WORKING / TASK["output"])


def count_gpus() -> int:
    """The NVIDIA GPUs of this machine."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", check=False
    )
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def pack(runs: Path, target: Path) -> None:
    """All runs as a zip that appears only when it is complete."""
    part = SCRATCH / target.name
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(runs.rglob("*")):
            inside = path.relative_to(runs)
            if path.is_file() and path.name != STATE and not path.name.startswith("."):
                archive.write(path, inside.as_posix())
    shutil.move(part, target)


if __name__ == "__main__":
    main()
