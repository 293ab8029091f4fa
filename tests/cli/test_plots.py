"""Plots, wrong patches, scores by slide and tables, of a run on real patches with known slides."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from command_line import Layout, Project, clean_env

import pcam_kit as pcam
from pcam_kit import metrics, plots
from pcam_kit.cli.plot import Kind
from pcam_kit.errors import UsageError
from pcam_kit.evaluation.calibration import apply_temperature
from pcam_kit.plots.style import ROC_POINT
from pcam_kit.progress import SILENT
from pcam_kit.run_folders import Run
from pcam_kit.workflows.plot import KINDS

VALID, SLIDES = 200, 8
SMALL = {
    "competition": "pcam",
    "model": {"name": "lab_cnn", "filters": [4, 8], "units": 8},
    "training.epochs": 2,
    "training.batch_size": 32,
    "evaluation.tta": "none",
}


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory, real_patches: Layout) -> tuple[Path, Run]:
    """A workspace and a run on real patches, whose slides are drawn."""
    made, _ = real_patches("pcam", "--train", "300", "--valid", str(VALID), "--test", "40")
    files = tmp_path_factory.mktemp("raw")
    for path in made.iterdir():
        (files / path.name).symlink_to(path)
    for split, n in (("train", 300), ("valid", VALID), ("test", 40)):
        slides = "".join(f"{i},{split}_{i % SLIDES}\n" for i in range(n))
        meta = files / f"camelyonpatch_level_2_split_{split}_meta.csv"
        meta.write_text(f"patch,wsi\n{slides}", encoding="utf-8")
    workspace = tmp_path_factory.mktemp("tissue")
    pcam.fetch("pcam", files=files, workspace=workspace, display=SILENT)
    runs = [
        pcam.train("lab", overrides=SMALL, seed=seed, workspace=workspace, display=SILENT)
        for seed in (0, 1)
    ]
    return workspace, runs[0]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_plot(kind: str, tissue: tuple[Path, Run], tmp_path: Path) -> None:
    workspace, run = tissue
    plot = pcam.plot(kind, run, workspace=workspace, display=SILENT)
    assert plot.caption.endswith(".")
    if kind not in ("curves", "samples"):
        assert f"{VALID} patches" in plot.caption
    path = plot.save(tmp_path / f"{kind}.png")
    assert path.with_suffix(".txt").read_text(encoding="utf-8").startswith(plot.caption)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 4  # it is not empty


def test_every_format(tissue: tuple[Path, Run], tmp_path: Path) -> None:
    workspace, run = tissue
    plot = pcam.plot("roc", run, workspace=workspace, display=SILENT)
    for ending in plots.FORMATS:
        path = plot.save(tmp_path / f"roc.{ending}")
        data = path.read_bytes()
        plot.save(path)  # its own file may be replaced, and is the same again
        assert path.read_bytes() == data
    assert ElementTree.fromstring((tmp_path / "roc.svg").read_bytes()).tag.endswith("svg")
    assert (tmp_path / "roc.pdf").read_bytes().startswith(b"%PDF")
    page = plot._repr_html_()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_draws_nothing_with_scikit_learn_does_not_wait_for_it(tmp_path: Path) -> None:
    code = "import sys, pcam_kit.workflows.evaluate, pcam_kit.workflows.plot; "
    code += "print('sklearn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_env(tmp_path),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout == "False\n", done.stderr


def test_the_command_knows_all_plots() -> None:
    assert set(get_args(Kind)) == set(KINDS)


def test_the_point_is_the_threshold(tissue: tuple[Path, Run]) -> None:
    workspace, run = tissue
    scores = pcam.evaluate(run, workspace=workspace, display=SILENT).scores
    figure = pcam.plot("roc", run, workspace=workspace, display=SILENT).figure
    (point,) = [line for line in figure.axes[0].lines if line.get_gid() == ROC_POINT]
    counts = scores.confusion
    expected = [counts.fp / (counts.fp + counts.tn), counts.tp / (counts.tp + counts.fn)]
    assert point.get_xydata().ravel().tolist() == pytest.approx(expected)


def test_a_foreign_file_stays(tissue: tuple[Path, Run], tmp_path: Path) -> None:
    workspace, run = tissue
    plot = pcam.plot("roc", run, workspace=workspace, display=SILENT)
    for name in ("roc.png", "roc.txt"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
        with pytest.raises(UsageError, match=f"{name} exists"):
            plot.save(tmp_path / "roc.png")
        assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        plot.save(tmp_path / "roc.jpg")


def test_wrong_patches_are_those_of_the_confusion_matrix(
    tissue: tuple[Path, Run], tmp_path: Path
) -> None:
    workspace, run = tissue
    evaluation = pcam.evaluate(run, workspace=workspace, display=SILENT)
    wrong = pcam.wrong_patches(run, workspace=workspace, display=SILENT)
    counts = evaluation.scores.confusion
    assert (int((wrong.labels == 0).sum()), int((wrong.labels == 1).sum())) == (
        counts.fp,
        counts.fn,
    )
    distance = np.abs(wrong.probabilities - wrong.labels)
    assert (np.diff(distance) <= 0).all()
    kept = run.load_predictions("valid")
    assert kept is not None
    assert kept.ids[wrong.indices].tolist() == wrong.ids.tolist()
    path = wrong.save(tmp_path / "wrong.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == wrong.ids.tolist()
    assert np.array([row["probability"] for row in rows], np.float32).tolist() == (
        wrong.probabilities.tolist()
    )
    assert {int(row["slide"]) for row in rows} <= set(np.unique(kept.groups).tolist())


def test_scores_by_slide(tissue: tuple[Path, Run]) -> None:
    workspace, run = tissue
    evaluation = pcam.evaluate(run, workspace=workspace, display=SILENT)
    scores = evaluation.by_slide()
    assert [score.n for score in scores] == [VALID // SLIDES] * SLIDES
    correct = sum(score.confusion.tn + score.confusion.tp for score in scores)
    assert correct / VALID == pytest.approx(evaluation.scores.accuracy)
    first = evaluation.groups == scores[0].slide
    labels, p = evaluation.labels[first], evaluation.probabilities[first]
    assert scores[0].auc == metrics.roc_auc(labels, p)
    found = evaluation.to_dict(slides=True)
    assert json.loads(json.dumps(found))["slides"][0]["sensitivity"] is not None


def test_tables(tissue: tuple[Path, Run]) -> None:
    workspace, _ = tissue
    runs = pcam.runs(workspace=workspace)
    from pcam_kit.workflows.score_table import by_config, by_slide

    evaluations = pcam.evaluate(runs, workspace=workspace, display=SILENT)
    table = by_config(evaluations)
    (row,) = csv.DictReader(io.StringIO(table.render("csv")))
    aucs = [x.scores.auc for x in evaluations]
    assert row["runs"] == "2"
    assert float(row["auc"]) == pytest.approx(np.mean(aucs))
    assert float(row["auc_sd"]) == pytest.approx(np.std(aucs, ddof=1))
    shown = f"{np.mean(aucs):.4f} ± {np.std(aucs, ddof=1):.4f}"
    assert f"| {shown} |" in table.render("markdown")
    in_latex = shown.replace("±", r"$\pm$")
    assert f"& {in_latex} &" in table.render("latex")
    assert len(by_slide(evaluations).render("csv").splitlines()) == 1 + 2 * SLIDES


def test_on_the_command_line(project: Project) -> None:
    run = next(path.name for path in project.runs() if "-tiny0-" in path.name)
    done = project.quick("plot", "roc", run).ok()
    assert done.out == f"roc-{run}.png\n"
    assert "AUC" in done.err
    assert (project.path / f"roc-{run}.png").is_file()
    refused = project.quick("plot", "confusion", *(path.name for path in project.runs()[:2]))
    assert refused.code == 2
    assert "2 are given" in refused.err
    assert not list(project.path.glob("confusion-*"))
    listed = project.quick("errors", run).ok()
    assert listed.out.startswith("id,label,probability,slide\n")
    said = project.quick("evaluate", run, "--json", "--format", "csv")
    assert said.code == 2
    latex = project.quick("evaluate", run, "--format", "latex").ok()
    assert latex.out.startswith("\\begin{tabular}")


def test_probabilities_where_classes_are_wanted(project: Project) -> None:
    run = next(path for path in project.runs() if "-tiny0-" in path.name)
    before = (project.path / "submissions" / "ledger.jsonl").read_bytes()
    plain = project.quick("predict", run.name, "--probabilities").ok()
    calibrated = project.quick("predict", run.name, "--probabilities", "--calibrated").ok()
    assert "no submission" in plain.err
    values = [
        np.loadtxt(project.path / done.out.strip(), delimiter=",", skiprows=1, dtype=np.float32)
        for done in (plain, calibrated)
    ]
    header = (project.path / plain.out.strip()).read_text(encoding="utf-8").splitlines()[0]
    assert header == "id,probability"
    temperature = json.loads((run / "result.json").read_text(encoding="utf-8"))["temperature"]
    expected = apply_temperature(values[0][:, 1], temperature)
    assert values[1][:, 1] == pytest.approx(expected, rel=1e-5)
    assert (project.path / "submissions" / "ledger.jsonl").read_bytes() == before
    refused = project.quick("predict", run.name, "--calibrated")
    assert refused.code == 2
    assert "--probabilities --calibrated" in refused.err
