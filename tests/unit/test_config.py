"""YAML and --set into typed experiments, and back."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from pcam_kit.config import load
from pcam_kit.config.faults import suggestion
from pcam_kit.config.schema import (
    Augment,
    Experiment,
    External,
    LabCnn,
    ReportCnn,
    ResNet,
    Stain,
    Training,
    Transform,
)
from pcam_kit.errors import ConfigError

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
EXPERIMENTS = [
    Experiment(name="a", model=LabCnn(name="lab_cnn")),
    Experiment(
        name="all-of_it.2",
        competition="tnm-112-lab-2-2024",
        seed=2**31 - 1,
        augment=Augment(
            d4=False,
            stain=Stain(strength=0.2, shift=0.01),
            transforms=[
                Transform(
                    name="ColorJitter",
                    p=1.0,
                    options={
                        "hue": [-0.05, 0.05],
                        "on": True,
                        "mode": "yes",
                        "none": None,
                        "text": "1e-3",
                    },
                ),
                Transform(name="Blur"),
            ],
        ),
        model=ReportCnn(name="report_cnn", filters=[1, 2], l2=1e-7),
        training=Training(
            learning_rate=3e-5,
            optimizer="sgd",
            weight_decay=1e-10,
            ema=0.999,
            early_stopping=3,
            clip_norm=0.1,
        ),
    ),
    Experiment(name="0", model=ResNet(name="resnet", widths=[8], stem_stride=4)),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without configs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_what_is_printed_loads_back_equal(experiment: Experiment) -> None:
    Path("printed.yaml").write_text(load.dump_yaml(experiment), encoding="utf-8")
    assert load.load_experiment("printed.yaml") == experiment


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_load_by_name_and_round_trip(path: Path) -> None:
    experiment = load.load_experiment(path.stem)
    assert experiment.name == path.stem
    Path("printed.yaml").write_text(load.dump_yaml(experiment), encoding="utf-8")
    assert load.load_experiment("printed.yaml") == experiment


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_begin_with_command_time_and_score(path: Path) -> None:
    head = "".join(
        line
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)[:12]
        if line.startswith("#")
    )
    assert f"pcam train {path.stem}" in head or (path.stem == "demo" and "pcam demo" in head)
    if "Time and score: not measured" in " ".join(head.replace("#", " ").split()):
        return
    assert re.search(r"\d\s*(s|seconds?|min|minutes?|h|hours?)\b", head), "how long it takes"
    assert re.search(r"AUC\D{0,40}0\.\d+", head, re.DOTALL), "the score to expect"
    assert "±" in head or "sd" in head or "n =" in head, "with its spread, or that there is none"


def test_epochs_that_are_asked_for_are_trained() -> None:
    Path("mine.yaml").write_text(
        "model: {name: lab_cnn}\ntraining: {epochs: 4, most_patches: 300, least_patches: 200}\n",
        encoding="utf-8",
    )

    def epochs(*overrides: str) -> list[tuple[int, int]]:
        training = load.load_experiment("mine.yaml", overrides).training
        fitted = [training.fitted_to(patches) for patches in (10, 60, 1000)]
        return [(one.epochs, one.passes) for one in fitted]

    assert epochs() == [(4, 5), (4, 1), (1, 1)]
    assert epochs("training.epochs=7") == [(7, 1), (7, 1), (7, 1)]
    assert epochs("training.epochs=7", "training.most_patches=300") == [(7, 1), (5, 1), (1, 1)]
    assert epochs("training.least_patches=100") == [(4, 3), (4, 1), (1, 1)]
    assert epochs("training.passes=2") == [(4, 5), (4, 2), (1, 2)]
    with pytest.raises(ConfigError, match="least_patches, 400, is above most_patches, 300"):
        epochs("training.least_patches=400")


def test_every_competition_has_a_shipped_default_config() -> None:
    from pcam_kit.competitions import find_competition

    for slug in load.list_configs(kind="competitions"):
        competition = find_competition(slug)
        assert competition.default_config in load.list_configs(), slug
        assert competition.imagenet_config in {None, *load.list_configs()}, slug


def test_the_working_directory_comes_first(tmp_path: Path) -> None:
    Path("configs").mkdir()
    Path("configs/lab.yaml").write_text("model: {name: lab_cnn}\nseed: 77\n", encoding="utf-8")
    Path("configs/mine.yaml").write_text("model: {name: lab_cnn}\n", encoding="utf-8")
    assert load.load_experiment("lab").seed == 77
    assert load.load_experiment("mine").name == "mine"
    assert {"lab", "mine", "demo"} <= set(load.list_configs())
    shutil.rmtree("configs")
    assert load.load_experiment("lab").seed != 77


def test_name_comes_from_the_file_unless_it_has_one() -> None:
    Path("mine.yaml").write_text("model: {name: lab_cnn}\n", encoding="utf-8")
    assert load.load_experiment("mine.yaml").name == "mine"
    assert load.load_experiment("mine.yaml", ["name=other"]).name == "other"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.learning_rate=1e-3", 1e-3),
        ("training.learning_rate=2", 2),
        ("training.ema=null", None),
        ("training.ema=", None),
        ("training.ema=0.5", 0.5),
    ],
)
def test_set_reads_yaml_values(override: str, value: object) -> None:
    experiment = load.load_experiment("lab", [override])
    assert getattr(experiment.training, override.split("=")[0].split(".")[1]) == value


def test_set_lists_and_mappings_and_the_last_of_two_counts() -> None:
    overrides = [
        "model={name: lab_cnn}",
        "model.filters=[1, 2, 3]",
        "seed=1",
        "seed=2",
        "augment.transforms=[]",
    ]
    experiment = load.load_experiment("lab", overrides)
    assert experiment.model == LabCnn(name="lab_cnn", filters=[1, 2, 3])
    assert experiment.seed == 2
    assert experiment.augment.transforms == []


def test_set_changes_nothing_else() -> None:
    plain = load.load_experiment("lab")
    changed = load.load_experiment("lab", ["training.epochs=1"])
    assert changed.model_copy(update={"training": plain.training}) == plain
    values = {"training": {"epochs": 3}}
    load.apply_overrides(values, ["training.epochs=1"])
    assert values == {"training": {"epochs": 3}}


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "1.0e-3"])
def test_yaml_numbers_are_numbers(text: str) -> None:
    assert load.read_yaml(f"x: {text}", "here") == {"x": 0.001}


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_yaml_words_are_words(word: str) -> None:
    assert load.read_yaml(f"x: {word}", "here") == {"x": word}


@pytest.mark.parametrize("value", ['"3"', "3.5", "true", "null", "[3]"])
def test_types_are_not_guessed(value: str) -> None:
    Path("bad.yaml").write_text(
        f"model: {{name: lab_cnn}}\ntraining: {{epochs: {value}}}\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        load.load_experiment("bad.yaml")


def test_weight_decay_needs_an_optimizer_that_knows_it() -> None:
    with pytest.raises(ConfigError, match="weight_decay needs optimizer adamw or sgd"):
        load.load_experiment("lab", ["training.optimizer=adam", "training.weight_decay=0.1"])


def test_all_faults_at_once_whatever_their_place() -> None:
    with pytest.raises(ConfigError) as caught:
        load.load_experiment(
            "lab",
            ["training.epochs=0", "model.width=[1]", "sed=1", "augment.transforms=[{nam: Blur}]"],
        )
    message = caught.value.message
    for fault in (
        "training.epochs",
        "model.width: unknown key; did you mean 'widths'?",
        "sed: unknown key; did you mean 'seed'?",
    ):
        assert fault in message
    assert "augment.transforms.0.nam: unknown key; did you mean 'name'?" in message
    assert "augment.transforms.0.name: missing" in message
    assert "5 faults" in message


def test_experiments_are_frozen() -> None:
    with pytest.raises(ValidationError):
        EXPERIMENTS[0].seed = 3  # type: ignore[misc]


def test_duplicate_keys_are_told_with_their_line() -> None:
    with pytest.raises(ConfigError, match=r"here, line 4: .*epochs.* second time"):
        load.read_yaml("a: 1\ntraining:\n  epochs: 1\n  epochs: 2\n", "here")


def test_suggestions_are_near_or_absent() -> None:
    assert suggestion("epoch", ["epochs", "seed"]) == "; did you mean 'epochs'?"
    assert suggestion("xyz", ["epochs", "seed"]) == ""


def test_unreadable_file() -> None:
    with pytest.raises(ConfigError, match=r"cannot read gone\.yaml"):
        load.read_yaml_file(Path("gone.yaml"))


def test_a_recipe_is_what_seeds_share_and_of_predictions_from_elsewhere_their_name() -> None:
    plain = load.load_experiment("lab")
    other = ("seed=3", "name=mine", "competition=pcam", "training.track=[mlflow]")
    assert load.load_experiment("lab", other).recipe() == plain.recipe()
    for change in ("training.epochs=7", "evaluation.tta=none", "data.limit=100"):
        assert load.load_experiment("lab", [change]).recipe() != plain.recipe()
    torch, jax = (
        Experiment(name=name, model=External(name="external")) for name in ("torch", "jax")
    )
    assert torch.recipe() != jax.recipe()
