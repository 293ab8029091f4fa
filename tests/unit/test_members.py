"""An ensemble as a run: what its config says, what is made of its members, by which name it goes.

Its members have predictions and no networks, so nothing is trained here.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_factories import profile, write_lab

import pcam_kit as pcam
from pcam_kit.config.load import dump_yaml, load_experiment
from pcam_kit.config.schema import Ensemble
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import Store, build_store
from pcam_kit.errors import ConfigError, RunError, UsageError
from pcam_kit.run_folders import Predictions, Result, Run, create_run
from pcam_kit.views import VIEWS
from pcam_kit.workflows.distillation import teacher_recipes
from pcam_kit.workflows.expected_time import reference_seconds, seconds_each
from pcam_kit.workflows.members import member_recipes

CONFIGS = {
    "one": "data: {crop: 16}\nmodel: {name: lab_cnn}\nevaluation: {tta: none}\n",
    "two": "seed: 5\nmodel: {name: lab_cnn}\nevaluation: {tta: shifts}\n",
    "pair": "competition: tiny\nmodel: {name: ensemble, members: [one, two]}\n",
    "elsewhere": "competition: pcam\nmodel: {name: lab_cnn}\n",
    "folded": "data: {fold: {index: 1, of: 3}}\nmodel: {name: lab_cnn}\n",
    "large": "data: {crop: 64}\nmodel: {name: lab_cnn}\n",
}
RESULT = Result(1, 1, 8, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.4, 0.6, "none", 60.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """In the working directory, with the configs above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for name, text in CONFIGS.items():
        (tmp_path / "configs" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return build_store(
        open_raw(profile("lab_h5"), write_lab(tmp_path / "raw")),
        tmp_path / "data" / "tiny" / "store",
    )


def trained(store: Store, config: str, seed: int, **changes: Any) -> Run:
    """A complete run of a config, with random answers on valid and test."""
    experiment = load_experiment(config, [f"seed={seed}"])
    meta = {
        "started": "now",
        "backend": "tensorflow",
        "seed": seed,
        "competition": store.profile.model_dump(mode="json"),
        "store_fingerprint": store.fingerprint,
        "split_hash": store.split_hash,
    }
    run = create_run(Path("runs"), experiment, meta | changes)
    tta = experiment.evaluation.tta
    rng = np.random.default_rng(seed)
    for split in ("valid", "test"):
        rows = store.rows(split)
        values = rng.random((len(rows), len(VIEWS[tta])), np.float32)
        ids = np.array([str(i) for i in store.ids[rows]])
        run.save_predictions(
            split, Predictions(ids, store.labels[rows], values, VIEWS[tta], store.groups[rows])
        )
    return run.complete(replace(RESULT, tta=tta))


def answers(run: Run, split: str) -> np.ndarray:
    kept = run.load_predictions(split)
    assert kept is not None
    return kept.probability(run.outcome.tta).astype(float)


def odds(p: np.ndarray) -> np.ndarray:
    return p / (1 - p)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_complete_members_are_combined_as_predict_combines_them(store: Store, average: str) -> None:
    members = [trained(store, "one", 0), trained(store, "two", 5)]
    run = pcam.train("pair", overrides=[f"model.average={average}"])
    assert run.members == [member.name for member in members]
    assert run.outcome.seconds == 120
    p, q = (answers(member, "valid") for member in members)
    root = np.sqrt(odds(p) * odds(q))
    mean = {"logits": root / (1 + root), "probabilities": (p + q) / 2}[average]
    np.testing.assert_allclose(answers(run, "valid"), mean, atol=1e-6)

    together = pcam.predict("pair")
    by_name = pcam.predict(members, averaging=average, out="named.csv")  # type: ignore[arg-type]
    assert together.csv.path.read_bytes() == Path("named.csv").read_bytes()
    assert together.threshold == by_name.threshold
    assert together.csv.path.name == f"{run.name}-own.csv"
    assert pcam.evaluate("pair").scores.auc == by_name.valid.auc
    assert pcam.load_run("pair").name == run.name
    with pytest.raises(RunError, match="each with views of its own: none with those of d4") as told:
        pcam.predict("pair", tta="d4")
    assert told.value.hint is not None
    assert f"pcam predict {members[0].name} {members[1].name} --tta d4" in told.value.hint


def test_the_same_members_are_one_run_and_others_another(store: Store) -> None:
    trained(store, "one", 0)
    trained(store, "two", 5)
    first = pcam.train("pair")
    again = pcam.train("pair")
    assert again.name == first.name
    (first.path / "result.json").unlink()  # as if it was killed
    found = pcam.train("pair")
    assert (found.name, found.outcome) == (first.name, first.outcome)
    (first.path / "result.json").unlink()
    found = pcam.train(resume=first)
    assert (found.name, found.outcome) == (first.name, first.outcome)

    others = [trained(store, "one", 7), trained(store, "two", 7)]
    second = pcam.train("pair", seed=7)
    assert second.members == [run.name for run in others]
    assert pcam.load_run("pair").name == second.name, "the newest"
    assert len(pcam.runs(name="-pair-")) == 2


def test_a_member_that_is_gone(store: Store) -> None:
    members = [trained(store, "one", 0), trained(store, "two", 5)]
    run = pcam.train("pair")
    pcam.predict("pair")
    shutil.rmtree(members[1].path)
    assert pcam.predict("pair").csv.rows == len(store.rows("test")), "what was kept"
    run.predictions_file("test").unlink()
    with pytest.raises(RunError, match=f"made of {members[1].name}, and that is gone") as told:
        pcam.predict("pair")
    assert told.value.hint is not None
    assert told.value.hint.endswith("pcam train pair")


def test_an_ensemble_that_was_not_trained_names_the_command(store: Store) -> None:
    with pytest.raises(RunError, match="no run called 'pair'") as told:
        pcam.predict("pair")
    assert told.value.hint == "train it: pcam train pair"


def test_what_is_shown_of_an_ensemble_names_its_members(store: Store) -> None:
    members = [trained(store, "one", 0), trained(store, "two", 5)]
    pcam.train("pair")
    names = f"{members[0].name}, {members[1].name}"
    shown = pcam.show("pair").summary()
    assert shown["network"] == f"mean of logits: {names}"
    assert shown["validation AUC"].endswith("views of each network")
    assert "training" not in shown
    page = pcam.report("pair").path.read_text(encoding="utf-8")
    assert f"Each probability is the mean of 2 networks: {names}." in page
    assert f"Maps are of one network, such as {members[0].name}, not of the mean." in page


def test_an_ensemble_has_no_network_of_its_own(store: Store) -> None:
    members = [trained(store, "one", 0), trained(store, "two", 5)]
    pcam.train("pair")
    with pytest.raises(RunError, match="is the mean of 2 networks, not one") as told:
        pcam.export("pair", "keras")
    assert told.value.hint == f"choose one of them: {members[0].name}, {members[1].name}"


def test_what_the_ensemble_sets_it_sets_for_every_member(store: Store) -> None:
    overrides = ["training.epochs=3", "data.fold={index: 1, of: 2}", "seed=4", "data.crop=null"]
    experiment = load_experiment("pair", overrides)
    recipes = member_recipes(experiment)
    members = [load_experiment(recipe.config, recipe.overrides) for recipe in recipes]
    assert [(member.name, member.seed) for member in members] == [("one", 4), ("two", 4)]
    for member in members:
        assert (member.training.epochs, member.training.batch_size) == (3, 128)
        assert (member.data.fold and member.data.fold.of, member.data.crop) == (2, None)
    assert [member.evaluation.tta for member in members] == ["none", "shifts"], "their own"
    # what lies in the run folder is the same recipe, and nothing that members have differently
    Path("again.yaml").write_text(dump_yaml(experiment), encoding="utf-8")
    again = load_experiment("again.yaml")
    assert again == experiment
    assert member_recipes(again) == recipes


def test_seeds_count_from_that_of_the_config_or_of_the_option(store: Store) -> None:
    members = "model.members=[one, {config: two, seeds: [0, 2]}]"
    for option, seeds in (([], [0, 5, 7]), (["seed=10"], [10, 10, 12])):
        experiment = load_experiment("pair", [members, *option])
        recipes = member_recipes(experiment)
        found = [load_experiment(recipe.config, recipe.overrides).seed for recipe in recipes]
        assert found == seeds


def test_paths_of_members_start_at_the_file(store: Store) -> None:
    Path("far").mkdir()
    Path("far/near.yaml").write_text("model: {name: lab_cnn}\n", encoding="utf-8")
    Path("far/mine.yaml").write_text(
        "model: {name: ensemble, members: [near.yaml, {config: near.yaml, seeds: [1]}, one]}\n",
        encoding="utf-8",
    )
    model = load_experiment("far/mine.yaml").model
    assert isinstance(model, Ensemble)
    path = str(Path("far/near.yaml").resolve())
    assert [member.config for member in model.members] == [path, path, "one"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ("[one, twoo]", "model.members: no config called 'twoo'; did you mean 'two'"),
        ("[one, pair]", "model.members: pair is an ensemble itself"),
        ("[one, elsewhere]", "elsewhere is for pcam, the ensemble for tiny"),
        ("[one, folded]", "one has data.fold null, folded has {index: 1, of: 3, seed: 0}"),
        ("[one, large]", "large: data.crop: 64 is larger than the patches of tiny"),
        ("[one, one]", "one with seed 0 is there twice"),
        ("[one]", "an ensemble has two networks or more"),
        ("[one, {config: two, sed: 1}]", "members.1.sed: unknown key; did you mean 'seeds'"),
        ("[]", "model.members: list should have at least 1 item"),
    ],
)
def test_a_bad_recipe_is_told_before_anything_is_trained(
    store: Store, members: str, words: str
) -> None:
    with pytest.raises(ConfigError) as told:
        pcam.train("pair", overrides=[f"model.members={members}"])
    assert words in told.value.message
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"overrides": ["model.average=ranks"]}, "model.average: input should be 'logits' or"),
        ({"overrides": ["model.dropout=0.1"]}, "model.dropout: unknown key"),
        ({"overrides": ["training.epoch=1"]}, "training.epoch: unknown key; did you mean"),
        ({"model": lambda size: size}, "model and augmentation are those of its members"),
    ],
)
def test_bad_options_of_an_ensemble(store: Store, arguments: Any, words: str) -> None:
    with pytest.raises((ConfigError, UsageError), match=words):
        pcam.train("pair", **arguments)
    assert not Path("runs").exists()


def test_an_ensemble_teaches_nobody(store: Store) -> None:
    student = load_experiment("one", ["training.teachers={configs: [pair]}"])
    with pytest.raises(ConfigError, match="teachers: pair is an ensemble"):
        teacher_recipes(student, store)


def test_a_member_that_is_a_teacher_of_another_is_trained_once(store: Store) -> None:
    members = "model.members=[lab-p4m, lab-distilled]"
    recipes = member_recipes(load_experiment("pair", [members, "seed=3"]))
    member, taught = (load_experiment(recipe.config, recipe.overrides) for recipe in recipes)
    teachers = [
        load_experiment(recipe.config, recipe.overrides)
        for recipe in teacher_recipes(taught, store)
    ]
    assert member in teachers


def test_the_time_of_members_counts_and_what_two_of_them_need_counts_once(store: Store) -> None:
    names = ("lab-p4m-small", "lab-p4m", "lab-distilled")
    small, large, taught = (load_experiment(name) for name in names)
    alone = [reference_seconds(part, 5000) for part in (small, large)]
    total = reference_seconds(taught, 5000)
    assert None not in (*alone, total)
    together = load_experiment("pair", ["model.members=[lab-p4m, lab-distilled]"])
    assert reference_seconds(together, 5000) == pytest.approx(total)
    assert seconds_each([large, taught], [], 5000) == pytest.approx([alone[1], total - alone[1]])  # type: ignore[operator]
    assert seconds_each([large, taught], [large], 5000) == pytest.approx([0, total - alone[1]])  # type: ignore[operator]
    assert seconds_each([taught, large], [], 5000) == pytest.approx([total, 0])
    short = load_experiment("lab-p4m", ["training.epochs=1"])
    found = seconds_each([short, taught], [], 5000)
    assert found[1] == pytest.approx(total), "the teacher is another training"
    assert reference_seconds(load_experiment("pair", ["model.members=[pair, one]"]), 5000) is None
