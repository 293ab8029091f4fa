"""What a network with teachers learns: which runs they are, and what is made of their answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_factories import profile, write_lab

from pcam_kit.config.schema import Data, Experiment, Fold, LabCnn, Teachers, Training
from pcam_kit.data.folds import patch_names
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import Store, build_store
from pcam_kit.errors import ConfigError, RunError
from pcam_kit.run_folders import Predictions, Result, Run, create_run
from pcam_kit.views import VIEWS
from pcam_kit.workflows.distillation import (
    Recipe,
    blended_targets,
    teacher_recipes,
    teacher_seconds,
)
from pcam_kit.workflows.plan import Targets, plan_training
from pcam_kit.workspace import Workspace

MODEL = LabCnn(name="lab_cnn")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "one.yaml").write_text(
        "seed: 9\ndata: {crop: 16}\nmodel: {name: lab_cnn}\n", encoding="utf-8"
    )
    return build_store(
        open_raw(profile("lab_h5"), write_lab(tmp_path / "raw")),
        tmp_path / "data" / "tiny" / "store",
    )


def taught(*configs: str, weight: float = 0.7, data: Data | None = None) -> Experiment:
    training = Training(teachers=Teachers(configs=list(configs), weight=weight))
    return Experiment(name="x", seed=3, data=data or Data(), model=MODEL, training=training)


def complete(store: Store, experiment: Experiment, **meta: object) -> Run:
    origin = {
        "started": "now",
        "backend": "tensorflow",
        "seed": 0,
        "competition": store.profile.model_dump(mode="json"),
    }
    run = create_run(
        Path("runs"),
        experiment,
        origin | {"store_fingerprint": store.fingerprint, "split_hash": store.split_hash} | meta,
    )
    return run.complete(Result(1, 1, 8, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.4, 0.6, "none", 60.0))


def targets(run: Run, store: Store) -> Targets:
    workspace = Workspace(data=Path("data"), runs=Path("runs"))
    return blended_targets(run, plan_training(run.experiment, store), workspace)


def answers(store: Store, orbit: np.ndarray) -> Predictions:
    rows = store.rows("train")
    return Predictions(
        patch_names(store, rows),
        store.labels[rows],
        orbit.astype(np.float32),
        VIEWS["d4"],
        store.groups[rows],
    )


def test_teachers_see_the_same_patches_with_the_same_seed(store: Store) -> None:
    data = Data(crop=32, limit=7, drop_copies=True, fold=Fold(index=2, of=3))
    recipe, other = teacher_recipes(taught("one", "one", data=data), store)
    assert recipe == other
    assert isinstance(recipe, Recipe)
    assert recipe.config == "one"
    assert set(recipe.overrides) == {
        *(
            'competition="tiny"',
            "seed=3",
            "data.stain=null",
            "data.limit=7",
            "data.drop_copies=true",
        ),
        'data.fold={"index": 2, "of": 3, "seed": 0}',
    }
    assert teacher_recipes(Experiment(name="x", model=MODEL), store) == []


def test_the_patches_trained_on_are_counted_as_limited(store: Store) -> None:
    n, limited = len(store.rows("train")), Experiment(name="x", model=MODEL, data=Data(limit=7))
    text = plan_training(limited, store).describe_data()
    assert text.startswith(f"train 7 of {n}, valid ")
    text = plan_training(Experiment(name="x", model=MODEL), store).describe_data()
    assert text.startswith(f"train {n}, valid ")


def test_faults_are_told_before_anything_is_trained(store: Store) -> None:
    Path("configs/two.yaml").write_text(
        "model: {name: lab_cnn}\ntraining: {teachers: {configs: [one]}}\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="two has teachers itself"):
        teacher_recipes(taught("one", "two"), store)
    with pytest.raises(ConfigError, match="no config called 'onee'; did you mean 'one'"):
        teacher_recipes(taught("onee"), store)


@pytest.mark.parametrize("weight", [0.7, 1.0])
def test_targets_are_labels_mixed_with_the_mean_of_the_logits(store: Store, weight: float) -> None:
    rng = np.random.default_rng(0)
    n = len(store.rows("train"))
    # d4: the teachers average over the symmetries
    said = [rng.uniform(0.05, 0.95, (n, 8)), rng.uniform(0.05, 0.95, (n, 8))]
    teachers = [complete(store, Experiment(name=f"t{i}", model=MODEL)) for i in range(2)]
    for run, orbit in zip(teachers, said, strict=True):
        run.save_predictions("train", answers(store, orbit))
    student = complete(
        store,
        taught("one", weight=weight),
        teachers=[{"run": run.name, "seconds": 60.0} for run in teachers],
    )
    logits = np.mean([np.log(p / (1 - p)) for p in (orbit.mean(axis=1) for orbit in said)], axis=0)
    expected = store.labels.astype(float)
    rows = store.rows("train")
    expected[rows] = (1 - weight) * expected[rows] + weight / (1 + np.exp(-logits))
    found = targets(student, store)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert teacher_seconds(student) == 120
    plain = complete(store, Experiment(name="y", model=MODEL))
    assert targets(plain, store) is store.labels


def test_a_teacher_that_is_gone(store: Store) -> None:
    student = complete(
        store, taught("one"), teachers=[{"run": "20260101T000000-one-abcd", "seconds": 1.0}]
    )
    with pytest.raises(RunError, match="learns from 20260101T000000-one-abcd, and that is gone"):
        targets(replace(student, result=None), store)
