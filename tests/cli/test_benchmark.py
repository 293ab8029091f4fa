"""`pcam benchmark` as typed: stopped, resumed, used again; the test labels decide nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Project, Warm, clean_env, tree
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

CONFIG = """\
model: {name: lab_cnn, filters: [4], units: 4}
data: {crop: 32}
training: {epochs: 1, batch_size: 32, learning_rate: 1e-2}
evaluation: {tta: none}
"""
COUNTS = {"train": 128, "valid": 40, "test": 50}
STEM = "camelyonpatch_level_2_split"
TWICE = ("--config", "small", "--seeds", "2")


def tissue(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches of which the positive ones are darker, uint8 [n, 96, 96, 3], and labels [n]."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.uint8)
    images = rng.integers(0, 256, (n, 12, 12, 3)) * (1 - 0.5 * labels)[:, None, None, None]
    return images.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2), labels


def project_in(root: Path, warm: Warm) -> Project:
    """A working directory with the config `small`."""
    (root / "work" / "configs").mkdir(parents=True)
    (root / "work" / "configs" / "small.yaml").write_text(CONFIG, encoding="utf-8")
    return Project(root / "work", clean_env(root / "home"), warm)


def write_pcam(folder: Path) -> None:
    """PCam's files, ten slides a split; a test patch is also a train patch."""
    folder.mkdir()
    for seed, (split, n) in enumerate(COUNTS.items()):
        images, labels = tissue(n, seed)
        if split == "test":
            images[5] = tissue(COUNTS["train"], 0)[0][3]
        for key, array in (("x", images), ("y", labels)):
            with h5py.File(folder / f"{STEM}_{split}_{key}.h5", "w") as handle:
                handle[key] = array
        lines = ["wsi", *(f"{split}{i % 10}" for i in range(n))]
        (folder / f"{STEM}_{split}_meta.csv").write_text("\n".join(lines), encoding="utf-8")


def test_pcam_stopped_resumed_used_again_and_blind_to_the_test_labels(
    tmp_path: Path, warm: Warm
) -> None:
    project = project_in(tmp_path, warm)
    write_pcam(tmp_path / "raw")
    project.quick("fetch", "pcam", "--from", tmp_path / "raw").ok()
    stopped = project.quick(
        "benchmark", "pcam", *TWICE, hook={"on": "step", "at": 5, "signal": signal.SIGINT}
    )
    assert stopped.code == 130
    assert "1 of 2 runs done; the same command resumes" in stopped.err
    assert not list(project.path.glob("runs/benchmark*"))
    assert not list(project.path.glob("runs/*/predictions/test.npz"))

    done = project.quick("benchmark", "pcam", *TWICE, "--json")
    result = done.json
    assert "is there already" in done.err
    assert "resuming" in done.err
    assert [run["seed"] for run in result["runs"]] == [0, 1]
    assert len(project.runs()) == 3  # two runs and the result
    assert json.loads((project.path / result["file"]).read_text(encoding="utf-8")) == result
    assert (result["n"], result["positive"], result["interval"]) == (50, 25, "slides (10)")
    assert result["leaks"] == [
        "of the test patches 1 are exact and 0 near copies of train patches",
        "training left out the train patches with exact copies in other parts",
        "no slide in two parts",
    ]
    assert "128 of 262,144 train" in result["notes"][0]
    for run in result["runs"]:
        with np.load(project.path / run["run"] / "predictions" / "test.npz") as arrays:
            labels, p = arrays["labels"], arrays["orbit"][:, 0]
        assert run["auc"] == pytest.approx(roc_auc_score(labels, p))
        predicted = p >= run["threshold"]
        assert run["accuracy"] == pytest.approx((predicted == labels).mean())
        assert run["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
        for key in ("auc", "accuracy", "balanced_accuracy"):
            assert run[f"{key}_low"] <= run[key] <= run[f"{key}_high"]
    aucs = [run["auc"] for run in result["runs"]]
    assert min(aucs) > 0.7, "it learned something"
    assert result["auc_mean"] == pytest.approx(np.mean(aucs))
    assert result["auc_sd"] == pytest.approx(np.std(aucs, ddof=1))

    before = tree(project.path / "runs")
    again = project.quick("benchmark", "pcam", *TWICE, "--format", "markdown").ok()
    assert tree(project.path / "runs") == before, "the same command writes the same file"
    assert f"| small, mean ± sd | {np.mean(aucs):.4f} ± {np.std(aucs, ddof=1):.4f} |" in again.out
    assert "| P4M-DenseNet (Veeling 2018) | 0.963 | 0.898 | - | arXiv:1806.03962 |" in again.out

    # the same patches, other test labels: other scores of the very same runs
    with h5py.File(tmp_path / "raw" / f"{STEM}_test_y.h5", "r+") as handle:
        handle["y"][...] = np.random.default_rng(0).permutation(handle["y"][...])
    other = project_in(tmp_path / "other", warm)
    other.quick("fetch", "pcam", "--from", tmp_path / "raw").ok()
    permuted = other.quick("benchmark", "pcam", *TWICE, "--json").json
    assert permuted["store_fingerprint"] != result["store_fingerprint"]
    for run, blind in zip(result["runs"], permuted["runs"], strict=True):
        for key in ("seed", "valid_auc", "threshold", "best_epoch"):
            assert blind[key] == run[key]
        assert abs(blind["auc"] - run["auc"]) > 0.05
        kept = [
            np.load(where.path / name / "predictions" / "test.npz")
            for where, name in ((project, run["run"]), (other, blind["run"]))
        ]
        np.testing.assert_array_equal(kept[0]["orbit"], kept[1]["orbit"])


def test_mle_bench_splits_kaggles_patches_and_names_the_medal(tmp_path: Path, warm: Warm) -> None:
    import cv2

    project = project_in(tmp_path, warm)
    raw = tmp_path / "raw"
    for split, n, seed in (("train", 120, 0), ("test", 30, 1)):
        (raw / split).mkdir(parents=True)
        images, labels = tissue(n, seed)
        for i, image in enumerate(images):
            assert cv2.imwrite(str(raw / split / f"{split}{i}.tif"), image)
        if split == "train":
            lines = ["id,label", *(f"train{i},{label}" for i, label in enumerate(labels))]
            (raw / "train_labels.csv").write_text("\n".join(lines), encoding="utf-8")
    project.quick("fetch", "histopathologic-cancer-detection", "--from", raw).ok()
    command = ("benchmark", "mle-bench", "--config", "small", "--seeds", "1")
    done = project.quick(*command).ok()
    assert "split as MLE-bench does" in done.err
    assert "24 of 45,561 test" in done.err
    assert "gold medal" in done.out
    assert "mean" not in done.out
    (run,) = (path for path in project.runs() if path.is_dir())
    ids: list[str] = []
    for split in ("train", "valid", "test"):
        project.quick("evaluate", run.name, "--split", split).ok()
        with np.load(run / "predictions" / f"{split}.npz") as arrays:
            ids.extend(arrays["ids"].tolist())
    assert len(ids) == len(set(ids)) == 120
    assert all(name.startswith("train") for name in ids)

    again = project.quick(*command, "--json")
    assert "split as MLE-bench does" not in again.err
    assert "is there already" in again.err
    result = again.json
    assert set(result) & {"accuracy_mean", "balanced_accuracy_mean"} == set()
    assert (result["n"], result["auc_sd"]) == (24, None)
    assert result["runs"][0]["medal"] == result["medal"]
    # a damaged store is named with the command that builds it, and built anew by it
    manifest = project.path / "data" / "mle-bench" / "store" / "manifest.json"
    manifest.write_text("{", encoding="utf-8")
    project.quick("evaluate", run.name).refused(3, "pcam benchmark mle-bench")
    mended = project.quick(*command, "--json")
    assert "is built anew" in mended.err
    assert mended.json == result


def test_json_and_format_exclude_each_other(empty: Project) -> None:
    empty.pcam("benchmark", "pcam", "--json", "--format", "csv").refused(2, "exclude each other")
