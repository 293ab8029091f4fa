"""`pcam predict --jobs`: the patches in parts, in processes of their own."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from command_line import Project

import pcam_kit as pcam
from pcam_kit.workflows.sweep import shards
from pcam_kit.workflows.sweep.job import job_of
from pcam_kit.workflows.sweep.shards import ShardJob

pytestmark = pytest.mark.slow


def values(project: Project, name: str, split: str) -> np.ndarray:
    with np.load(project.path / "runs" / name / "predictions" / f"{split}.npz") as kept:
        return kept["orbit"]


def test_the_parts_are_what_one_process_predicts(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = next(path.name for path in project.runs() if "-tiny" in path.name)
    alone = project.quick("predict", name, "--tta", "d4", "--out", "alone.csv").ok()
    assert alone.out.strip() == "alone.csv"
    expected = {split: values(project, name, split) for split in ("valid", "test")}
    for split in expected:
        (project.path / "runs" / name / "predictions" / f"{split}.npz").unlink()

    # of a call that was stopped: it is not computed again
    known = np.full((len(expected["test"]) // 2, 8), 0.25, np.float32)
    folder = project.path / "runs" / f".parts-{name}-test-d4-2"
    folder.mkdir()
    np.save(folder / f"{name}-test-00001.npy", known)

    monkeypatch.setattr(shards, "LEAST", 16)
    caplog.set_level(logging.INFO, "pcam_kit")
    result = pcam.predict(name, tta="d4", jobs=2, workspace=project.path)
    assert "4 parts, 2 at once" in caplog.text
    assert result.csv.rows == len(expected["test"])
    np.testing.assert_allclose(values(project, name, "valid"), expected["valid"], atol=1e-6)
    test = values(project, name, "test")
    np.testing.assert_array_equal(test[: len(known)], known)
    np.testing.assert_allclose(test[len(known) :], expected["test"][len(known) :], atol=1e-6)
    assert not folder.exists()

    caplog.clear()
    pcam.predict(name, tta="d4", jobs=2, workspace=project.path)
    assert "at once" not in caplog.text, "all is kept"


def test_a_job_is_read_back() -> None:
    job = ShardJob(1, 2, "folder", "run", "test", "d4", "data", "runs", str(Path.cwd()))
    assert job_of(asdict(job)) == job
