"""Where a config's file of weights is looked for, and what a transferred network may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcam_kit.config import load
from pcam_kit.config.schema import Transfer
from pcam_kit.errors import ConfigError


def weights(config: str, *overrides: str) -> str | None:
    model = load.load_experiment(config, overrides).model
    assert isinstance(model, Transfer)
    return model.weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config in a folder of its own, that names `w.weights.h5`."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.yaml").write_text(
        "model: {name: transfer, backbone: ResNet50, weights: w.weights.h5}\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_weights_are_found_beside_the_config_then_in_the_current_folder(folder: Path) -> None:
    assert weights("other/mine.yaml") == "w.weights.h5"  # nowhere: told as it was given
    (folder / "w.weights.h5").touch()
    assert weights("other/mine.yaml") == str(folder / "w.weights.h5")
    (folder / "other" / "w.weights.h5").touch()
    assert weights("other/mine.yaml") == str(folder / "other" / "w.weights.h5")


def test_what_set_names_is_seen_from_the_current_folder(folder: Path) -> None:
    for place in (folder, folder / "other"):
        (place / "w.weights.h5").touch()
    assert weights("other/mine.yaml", "model.weights=w.weights.h5") == str(folder / "w.weights.h5")
    assert weights("other/mine.yaml", "model.weights=null") is None


def test_imagenet_is_a_word_and_no_file(folder: Path) -> None:
    for place in (folder, folder / "other"):
        (place / "imagenet").touch()
    assert weights("other/mine.yaml", "model.weights=imagenet") == "imagenet"


def test_the_whole_path_is_printed_and_loads_back_equal(folder: Path) -> None:
    (folder / "other" / "w.weights.h5").touch()
    experiment = load.load_experiment("other/mine.yaml")
    Path("mine.yaml").write_text(load.dump_yaml(experiment), encoding="utf-8")
    assert load.load_experiment("mine.yaml") == experiment


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.backbone=ResNet51", r"model\.backbone: .*'ResNet50'.*found 'ResNet51'"),
        ("model.input_size=31", r"model\.input_size: .*32, found 31"),
        ("model.weights=", None),
        ("model.weights=''", r"model\.weights: "),
        ("model.backbone_rate=0", r"model\.backbone_rate: "),
        ("model.layer_decay=1.1", r"model\.layer_decay: "),
        ("model.rate=1", r"model\.rate: unknown key"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_faults_are_named(override: str, words: str | None) -> None:
    if words is None:
        assert weights("other/mine.yaml", override) is None
        return
    with pytest.raises(ConfigError, match=words):
        load.load_experiment("other/mine.yaml", [override])


def test_few_digits_are_not_for_transfer(folder: Path) -> None:
    with pytest.raises(ConfigError, match="model transfer is for patches: pcam train"):
        load.load_few_digits("other/mine.yaml")
