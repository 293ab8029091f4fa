"""`pcam embed` and `pcam probe`: what they print, and that other commands take such a run."""

from __future__ import annotations

import numpy as np
from command_line import TRAIN_KEYS, Project, tree

from pcam_kit.features import open_features

EMBED = ("embed", "--model", "MobileNetV3Small", "--weights", "random", "--dtype", "float32")


def test_from_features_to_a_report(project: Project) -> None:
    done = project.quick(*EMBED, "--data", "tiny").ok()
    assert "licence none: random weights" in done.err
    assert "460 patches, 576 values each (float32)" in done.err
    features = open_features(project.path / done.out.strip())
    assert features.values.shape == (460, 576)
    assert np.ptp(features.values, axis=0).max() > 0
    before = tree(features.path)
    again = project.pcam(*EMBED, "--data", "tiny", "--json")  # nothing is loaded for that
    assert again.json["features"] == done.out.strip()
    assert "is there already" in again.err
    assert tree(features.path) == before

    run = project.quick("probe", "--json").json
    assert set(run) == TRAIN_KEYS
    name = run["run"].rpartition("/")[2]
    assert project.quick("evaluate", name, "--json").json["n"] == 100
    assert "licence: none: random weights" in project.pcam("show", name).ok().out
    assert project.quick("predict", name, "--json").json["rows"] == 60
    both = project.quick("predict", name, "tiny0", "--weights", "fitted", "--json").json
    assert len(both["members"]) == 2
    page = project.quick("report", name).ok().out.strip()
    text = (project.path / page).read_text(encoding="utf-8")
    for words in (
        "Each probability is the answer of a head (logistic) to the patch&#39;s features.",
        f"pcam probe {features.name} --head logistic --name probe",
        "pcam embed --model MobileNetV3Small --weights random --data tiny --dtype float32",
        "This run holds predictions of a probe: there is no network to make maps of.",
    ):
        assert words in text, words


def test_what_cannot_be_is_refused_and_nothing_is_written(project: Project) -> None:
    before = tree(project.path)
    project.pcam("probe").refused(2, "no features below data", "pcam embed --model")
    project.pcam("embed", "--model", "ResNet5", "--data", "gone").refused(2, "gone")
    project.pcam("embed", "--model", "ResNet50", "--weights", "no.h5").refused(2, "at no.h5")
    project.pcam("embed", "--model", "ResNet50", "--batch", "0").refused(2, "1 to 4,096")
    assert tree(project.path) == before
