"""`pcam lab ...` as typed: the three tasks, small, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Project, tree

# nothing listens there
NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
LAYERS_KEYS = {
    "layers",
    "parameters",
    "accuracy_keras",
    "accuracy_numpy",
    "loss_keras",
    "loss_numpy",
    "n",
    "seconds",
}
MNIST_KEYS = {"config", "runs", "accuracy_mean", "accuracy_sd", "loss_mean", "loss_sd", "per_run"}
SHORT = (
    "--set",
    "training.epochs=2",
    "--set",
    "images=32",
    "--set",
    "model={name: lab_cnn, filters: [4], units: null}",
)


@pytest.fixture(scope="module")
def small(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's small network, trained on scikit-learn's digits."""
    path = tmp_path_factory.mktemp("model") / "small.keras"
    done = finished.quick(
        "lab",
        "layers",
        "--from",
        "digits",
        "--save",
        path,
        "--images",
        "10",
        "--pictures",
        path.parent,
    ).ok()
    assert "scikit-learn digits" in done.err
    assert {file.name for file in path.parent.iterdir()} == {
        "small.keras",
        "kernels.png",
        "feature-maps.png",
    }
    assert (path.parent / "kernels.png").read_bytes().startswith(b"\x89PNG")
    return path


def test_layers_of_a_model_file(finished: Project, small: Path) -> None:
    result = finished.quick("lab", "layers", small, "--from", "digits", "--json").json
    assert set(result) == LAYERS_KEYS
    assert [layer["kind"] for layer in result["layers"]] == [
        *(
            "Rescaling",
            "Conv2D relu",
            "MaxPooling2D",
            "Conv2D relu",
            "MaxPooling2D",
            "Flatten",
            "Dense",
            "Activation softmax",
        ),
    ]
    assert [layer["shape"] for layer in result["layers"]][1:3] == [[28, 28, 4], [14, 14, 4]]
    assert all(
        0 <= layer["max_abs_diff"] <= layer["sum_abs_diff"] + 1e-12 < 1e-2
        for layer in result["layers"]
    )
    assert result["parameters"] == 40 + 296 + 3930
    assert result["n"] == 500
    assert result["accuracy_numpy"] == result["accuracy_keras"] > 0.8
    assert result["loss_numpy"] == pytest.approx(result["loss_keras"], abs=1e-5)


def test_layers_as_a_table(finished: Project, small: Path) -> None:
    done = finished.quick("lab", "layers", small, "--from", "digits", "--images", "20").ok()
    assert "max_pooling2d_1" in done.out
    assert "20 test images of scikit-learn digits, 4,266 weights" in done.out
    assert "differ by at most" in done.err


def test_layers_of_a_run_are_tried_on_its_own_validation_patches(finished: Project) -> None:
    result = finished.quick("lab", "layers", finished.runs()[-1].name, "--json").json
    assert result["n"] == 100
    assert result["layers"][-1]["kind"] == "Activation sigmoid"
    assert result["accuracy_numpy"] == result["accuracy_keras"]


def test_layers_of_a_run_by_its_model_file_and_of_a_stray_one(
    project: Project, tmp_path: Path
) -> None:
    model = project.runs()[-1] / "model.keras"
    assert project.quick("lab", "layers", model, "--json").json["n"] == 100
    stray = tmp_path / "stray.keras"
    stray.write_bytes(model.read_bytes())
    done = project.quick("lab", "layers", stray, "--images", "7").ok()
    assert "7 patches of synthetic tissue" in done.out
    project.quick("lab", "layers", model, "--images", "101").refused(
        2, "--images 101: there are 100 validation patches"
    )


def test_a_tolerance_that_is_not_met_is_an_error_with_the_table(
    finished: Project, small: Path
) -> None:
    done = finished.quick("lab", "layers", small, "--from", "digits", "--tolerance", "0", "--json")
    done.refused(9, "differ by more than 0", "probabilit", "--tolerance")
    assert "max_pooling2d" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("layers", "gone.keras"), 2, ("no file gone.keras", "pcam runs")),
        (("layers", "gone"), 4, ("no run called 'gone'",)),
        (("layers", "--from", "gone.npz"), 3, ("no file gone.npz", "--from digits")),
        (("layers", "SMALL", "--save", "x.keras"), 2, ("--save keeps",)),
        (
            ("layers", "SMALL", "--from", "digits", "--images", "501"),
            2,
            ("--images 501: there are 500 test images",),
        ),
        (("layers", "configs/quick.yaml"), 4, ("no run called",)),
        (("mnist", "lab"), 2, ("no config called 'lab'", "lab-mnist, lab-mnist-report")),
        (
            ("mnist", "--from", "digits", "--set", "images=2000"),
            2,
            ("images: 2,000 are asked for", "1,297 training images"),
        ),
        (
            ("mnist", "--set", "training.epochs=0"),
            2,
            ("training.epochs", "pcam lab mnist --print-config"),
        ),
        (
            ("mnist", "--set", "augment.transforms=[{name: Blurr}]"),
            2,
            ("no such transform; did you mean 'Blur'?",),
        ),
        (("pcam", "gone"), 2, ("gone",)),
        (("pcam", "tiny", "--from", "gone"), 3, ("no such file or folder: gone",)),
    ],
)
def test_what_is_wrong_is_told(
    project: Project, small: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    before = tree(project.path)
    project.quick(
        "lab", *(small if argument == "SMALL" else argument for argument in arguments), **NO_NETWORK
    ).refused(code, *words)
    assert tree(project.path) == before


def test_training_a_digit_config_names_the_command_for_it(finished: Project) -> None:
    finished.quick("train", "lab-mnist").refused(2, "few digits", "pcam lab mnist lab-mnist")


def test_digits_learnt_offline_say_which_digits(finished: Project) -> None:
    done = finished.quick(
        "lab", "mnist", *SHORT, "--runs", "3", "--seed", "5", "--json", **NO_NETWORK
    )
    result = done.json
    assert set(result) == MNIST_KEYS
    assert "MNIST cannot be downloaded" in done.err
    assert (result["config"], result["runs"]) == ("lab-mnist", 3)
    assert [run["seed"] for run in result["per_run"]] == [5, 6, 7]
    assert {run["digits"] for run in result["per_run"]} == {"scikit-learn digits"}
    accuracies = [run["accuracy"] for run in result["per_run"]]
    assert result["accuracy_mean"] == pytest.approx(sum(accuracies) / 3)
    assert result["accuracy_sd"] > 0
    again = finished.quick(
        "lab", "mnist", *SHORT, "--runs", "1", "--seed", "6", "--from", "digits", "--json"
    ).json
    # a run depends on its seed alone
    assert again["per_run"][0]["accuracy"] == result["per_run"][1]["accuracy"]
    assert again["accuracy_sd"] == 0


@pytest.mark.slow
def test_what_each_regulariser_contributes_and_the_pictures(
    finished: Project, tmp_path: Path
) -> None:
    options = (
        "--from",
        "digits",
        *SHORT,
        "--runs",
        "1",
        "--ablation",
        "--pictures",
        tmp_path / "pictures",
    )
    done = finished.quick("lab", "mnist", *options).ok()
    for words in (
        "all of them",
        "none of them",
        "only weight decay",
        "only averaged weights",
        "and flips",
        "and rotations up to 180°",
    ):
        assert words in done.out
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == {
        "digits-augmented.png",
        "over-fitting.png",
    }


def test_a_digit_config_can_be_printed(finished: Project, tmp_path: Path) -> None:
    done = finished.quick(
        "lab", "mnist", "lab-mnist-report", "--set", "images=64", "--print-config"
    ).ok()
    (tmp_path / "mine.yaml").write_text(done.out, encoding="utf-8")
    assert (
        finished.quick("lab", "mnist", tmp_path / "mine.yaml", "--print-config").ok().out
        == done.out
    )
    assert "images: 64" in done.out
    assert finished.quick("lab", "mnist", "--print-config", "--json").json["images"] == 128


@pytest.mark.slow
def test_the_two_recipes_side_by_side_and_finished_runs_are_used_again(
    started: Project, tmp_path: Path
) -> None:
    options = (
        "--set",
        "training.epochs=1",
        "--set",
        "model={name: lab_cnn, filters: [4], units: 4}",
        "--seeds",
        "2",
    )
    first = started.quick("lab", "pcam", "tiny", *options, "--pictures", tmp_path, "--json").json
    assert [recipe["config"] for recipe in first["recipes"]] == ["lab-report", "lab"]
    runs = [run for recipe in first["recipes"] for run in recipe["runs"]]
    assert [run["seed"] for run in runs] == [0, 1, 0, 1]
    assert all((started.path / run["csv"]).is_file() and 0 < run["valid_auc"] <= 1 for run in runs)
    assert (tmp_path / "tissue-augmented.png").is_file()
    again = started.quick("lab", "pcam", "tiny", *options)
    assert len(started.runs()) == 4
    assert "is there already" in again.err
    for words in (
        "lab-report",
        "0.74473",
        "0.8119",
        "Not comparable",
        "best of several",
        "±",
        ".csv",
    ):
        assert words in again.out
    entries = [
        json.loads(line)
        for line in (started.path / "submissions" / "ledger.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert {entry["event"] for entry in entries} == {"written"}
