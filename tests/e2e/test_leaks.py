"""Copies planted between the splits: found, told when training begins, and weighed before a
submission.
"""

from __future__ import annotations

import json
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import Project, Warm, clean_env

PROFILE = """\
slug: leaky
title: Leaky tissue
layout: lab_h5
image_size: 32
target_column: class
target: class
metric: accuracy
counts: {train: 120, valid: 40, test: 40}
default_config: quick
"""
FED = (
    PROFILE.replace("leaky", "fed").replace("Leaky", "Fed")
    + "overlaps: [{competition: leaky, split: train, why: it was sold}]\n"
)
RELATED = PROFILE + "overlaps: [{competition: fed, split: valid, why: why not}]\n"
CONFIG = """\
competition: leaky
model: {name: lab_cnn, filters: [4], units: 4}
training: {epochs: 1, batch_size: 32}
evaluation: {tta: none}
"""
LABEL = "train~test 4 exact 0 near"


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Project:
    """Of 40 validation patches 3 and of 40 test patches 4 are in train; no run yet."""
    root = tmp_path_factory.mktemp("leaky")
    project = Project(root / "work", clean_env(root / "home"), warm)
    (project.path / "configs" / "competitions").mkdir(parents=True)
    for name, text in (
        ("competitions/leaky", RELATED),
        ("competitions/fed", FED),
        ("quick", CONFIG),
    ):
        (project.path / "configs" / f"{name}.yaml").write_text(text, encoding="utf-8")
    images = (
        np.random.default_rng(0)
        .integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
        .repeat(4, axis=1)
        .repeat(4, axis=2)
    )
    images[120:123] = images[:3]
    images[160:164] = images[10:14]
    for name, first, last in (("train", 0, 120), ("valid", 120, 160), ("test_x", 160, 200)):
        with h5py.File(root / f"{name}.h5", "w") as handle:
            handle["x"] = images[first:last]
            if name != "test_x":
                handle["y"] = (np.arange(first, last) % 2).astype(np.uint8)
    project.quick("fetch", "leaky", "--from", root).ok()
    return project


@pytest.fixture(scope="module")
def kept(leaky: Project) -> tuple[dict[str, Any], str]:
    """The meta of a run with the copies, and what was said when it began; its CSV is `kept.csv`."""
    done = leaky.quick("train", "quick", "--set", "data.drop_copies=false").ok()
    leaky.quick("predict", "--out", "submissions/kept.csv").ok()
    return json.loads(
        (leaky.path / done.out.strip() / "meta.json").read_text(encoding="utf-8")
    ), done.err


def test_the_command_finds_what_was_planted(leaky: Project) -> None:
    found = leaky.quick("leaks", "--list", "2", "--json").json
    counts = {
        (one["there"]["split"], one["here"]["split"]): (one["exact"], one["turned"], one["near"])
        for one in found["copies"]
    }
    assert counts[("valid", "train")] == (3, 0, 0)
    assert counts[("test", "train")] == (4, 0, 0)
    assert {
        counts[pair] for pair in counts if pair not in {("valid", "train"), ("test", "train")}
    } == {(0, 0, 0)}
    (shown,) = (
        one["examples"]
        for one in found["copies"]
        if (one["there"]["split"], one["here"]["split"]) == ("test", "train")
    )
    assert shown == [
        {"kind": "exact", "here": "10", "there": "0"},
        {"kind": "exact", "here": "11", "there": "1"},
    ]
    assert found["known"] == [
        {"slug": "leaky", "split": "train", "in": "fed", "as": "test", "why": "it was sold"}
    ]
    table = leaky.quick("leaks", "leaky").ok()
    assert "leaky train is in fed test" in table.err
    first = next(line.split() for line in table.out.splitlines() if line.startswith("test"))
    assert first == ["test", "train", "40", "4", "0", "0", "-"]


def test_what_is_not_there(leaky: Project, empty: Project) -> None:
    leaky.quick("leaks", "--centre", "33").refused(2, "--centre 33", "the 32 pixels a side")
    leaky.quick("leaks", "fed").refused(3, "does not exist", "pcam fetch fed")
    leaky.quick("leaks", "--data-dir", empty.path).refused(
        2, "no competition's data", "pcam fetch COMPETITION"
    )


def test_a_relation_in_the_profile_builds_no_store_anew(leaky: Project) -> None:
    """Stores do not remember relations, so those built before a profile had some are taken as they
    are.
    """
    assert "overlaps" not in (leaky.path / "data" / "leaky" / "store" / "manifest.json").read_text(
        encoding="utf-8"
    )
    assert "nothing to do" in leaky.quick("fetch", "leaky").ok().err


def test_a_run_with_the_copies_is_labelled_and_told(kept: tuple[dict[str, Any], str]) -> None:
    meta, said = kept
    assert meta["leaks"] == ["train~valid 3 exact 0 near", LABEL, "leaky-train↔fed-test"]
    assert meta["test_seen"] == 0.1
    assert "exact copies of valid patches: 3 in train" in said
    assert "exact copies of test patches: 4 in train" in said
    assert "it was sold" in said


@pytest.mark.usefixtures("kept")
def test_submission_is_refused_unless_allowed(leaky: Project) -> None:
    done = leaky.quick("submit", "submissions/kept.csv", "--dry-run").refused(
        6, "10.0% of the test patches of leaky", "--allow-leak"
    )
    assert f"leak: {LABEL}" in done.err
    assert "everything is in order" not in done.err
    allowed = leaky.quick("submit", "submissions/kept.csv", "--dry-run", "--allow-leak", "--json")
    assert allowed.json["status"] == "dry-run"
    assert f"leak: {LABEL}" in allowed.err


@pytest.mark.usefixtures("kept")
def test_the_table_of_submissions_says_it(leaky: Project) -> None:
    assert f"leak: {LABEL}" in leaky.quick("submissions").ok().out
    (entry,) = leaky.quick("submissions", "--json").json["submissions"]
    assert LABEL in entry["leaks"]
    assert leaky.quick("submissions", "--csv").ok().out.splitlines()[0].endswith(",error,leaks")
