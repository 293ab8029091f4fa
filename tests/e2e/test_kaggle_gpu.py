"""`pcam kaggle-run` from an empty folder to a CSV: the real client, and a Kaggle on this machine
that runs the script as Kaggle would.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from command_line import Project
from loopback import USERNAME, Loopback
from test_notebook import COUNTS, write_tifs

from pcam_kit.data.synthetic import synthetic_parts
from pcam_kit.run_folders import open_run

SLUG = "histopathologic-cancer-detection"
QUICKLY = {
    "set": {
        "pcam_kit.workflows.kaggle_run.run.FIRST_POLL": 0.2,
        "pcam_kit.workflows.kaggle_run.run.LONGEST_POLL": 0.5,
    }
}
CONFIG = """\
# pcam train small
model: {name: resnet, widths: [4], stem_stride: 4}
training: {epochs: 1, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: none}
"""


def two_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that says that there are two; TensorFlow finds none, and takes the CPU."""
    folder.mkdir()
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho GPU 0: T4\necho GPU 1: T4\n", encoding="utf-8", newline="\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for a tool")
def test_from_an_empty_folder_to_a_csv(
    empty: Project,
    kaggle: Loopback,
    account: dict[str, str],
    tmp_path: Path,
    warm: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two_gpus(tmp_path / "bin", monkeypatch)
    files = tmp_path / "competition"
    parts = {part.split: part for part in synthetic_parts(COUNTS, 96, 0)}
    ids = write_tifs(files, parts)
    kaggle.serve(SLUG, files)
    kaggle.kernels.root = tmp_path / "kaggle"
    (empty.path / "configs").mkdir()
    (empty.path / "configs" / "small.yaml").write_text(CONFIG, encoding="utf-8")
    project = Project(empty.path, empty.env, warm)  # type: ignore[arg-type]
    command = ("kaggle-run", "small", "--competition", SLUG, "--seed", "3", "--seeds", "2")
    done = project.quick(*command, hook=QUICKLY, **account).ok()

    (kernel,) = kaggle.kernels.kernels
    assert kernel.startswith(f"{USERNAME}/pcam-small-")
    asked = kaggle.kernels.kernels[kernel].asked
    assert asked["enableInternet"] is False
    assert asked["machineShape"] == "NvidiaTeslaT4"
    assert "28h00m" in done.err, "the GPU hours that are left"
    assert "2 trainings, 2 at once" in done.err, "the log there is shown here"

    paths = project.runs()
    assert sorted(done.out.split()) == sorted(f"runs/{path.name}" for path in paths)
    runs = [open_run(path) for path in paths]
    assert sorted(run.experiment.seed for run in runs) == [3, 4]
    path, run = paths[0], runs[0]
    assert run.experiment.name == "small"
    assert all(run.load_predictions("test") is not None for run in runs)
    assert run.meta["git"] is None, "it was the wheel that ran, not this checkout"
    assert not list((project.path / "runs").glob(".*pcam*")), "nothing is left beside it"

    again = project.quick(*command, hook=QUICKLY, **account).ok()
    assert "at Kaggle already" in again.err
    assert len(kaggle.seen("SaveKernel")) == len(kaggle.seen("CreateDataset")) == 1
    assert project.runs() == paths

    project.quick("evaluate", path.name).ok()
    project.quick("fetch", SLUG, "--from", files).ok()
    project.quick("predict", path.name, "--out", "s.csv").ok()
    with open(project.path / "s.csv", encoding="utf-8", newline="") as handle:
        assert sorted(row["id"] for row in csv.DictReader(handle)) == sorted(ids)
