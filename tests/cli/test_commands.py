"""What the commands print when all is well: data on stdout, all else on stderr."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from command_line import EVALUATE_KEYS, PREDICT_KEYS, SUBMIT_KEYS, TRAIN_KEYS, Project, command

from pcam_kit import Workspace, __version__, imagenet
from pcam_kit.cli.app import command_words
from pcam_kit.workflows.plan import default_config


def test_version_and_help(empty: Project) -> None:
    assert empty.pcam("--version").ok().out == f"pcam-kit {__version__}\n"
    assert empty.pcam("-h").ok().out == empty.pcam("--help").ok().out


@pytest.mark.parametrize("words", list(command_words()), ids=" ".join)
def test_every_command_has_a_help_and_json(words: tuple[str, ...], empty: Project) -> None:
    text = empty.pcam(*words, "--help").ok().out
    assert text.startswith(f"Usage: pcam {' '.join(words)}")
    assert words == ("lab",) or "--json" in text


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("train", "--nonsense"),
        ("evaluate", "--split", "all"),
        ("train", "--seed", "-1"),
    ],
)
def test_wrong_usage_ends_with_two(empty: Project, args: tuple[str, ...]) -> None:
    done = empty.pcam(*args)
    assert done.code == 2
    assert "Usage: pcam" in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_trouble(empty: Project, closed: str) -> None:
    line = f"{shlex.join(command('runs'))} {closed}"
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=empty.path,
        env=empty.env,
        capture_output=True,
        text=True,
        timeout=60,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(empty: Project) -> None:
    done = empty.pcam("fetch", "nothing", "--debug")
    assert done.code != 0
    assert "Traceback" in done.err
    assert "ConfigError" in done.err


def test_print_config_loads_back_equal(empty: Project) -> None:
    overrides = (
        "--set",
        "training.epochs=7",
        "--set",
        "augment.transforms=[{name: Blur, options: {blur_limit: [3, 5]}}]",
        "--seed",
        "11",
    )
    printed = empty.pcam("train", "lab", *overrides, "--print-config").ok().out
    (empty.path / "lab.yaml").write_text(printed, encoding="utf-8")
    assert empty.pcam("train", "lab.yaml", "--print-config").ok().out == printed
    values = empty.pcam("train", "lab.yaml", "--print-config", "--json").json
    assert values == empty.pcam("train", "lab", *overrides, "--print-config", "--json").json
    assert (values["seed"], values["training"]["epochs"]) == (11, 7)
    assert [path.name for path in empty.path.iterdir()] == ["lab.yaml"], "printing trains nothing"


def test_json_of_every_command(project: Project) -> None:
    fetched = project.pcam("fetch", "tiny", "--json").json
    assert set(fetched) == {"store", "fingerprint", "splits"}
    assert {name: set(split) for name, split in fetched["splits"].items()} == {
        name: {"n", "positive"} for name in ("train", "valid", "test")
    }
    trained = project.quick("train", "quick", "--seed", "5", "--json").json
    assert set(trained) == TRAIN_KEYS
    evaluated = project.pcam("evaluate", "--json").json
    assert set(evaluated) == EVALUATE_KEYS
    assert (
        evaluated["temperature"]
        == json.loads((project.path / trained["run"] / "result.json").read_text(encoding="utf-8"))[
            "temperature"
        ]
    )
    assert evaluated["interval"] == "patches", "two slides are too few, and said to be"
    assert "2 slides are too few" in project.pcam("evaluate").ok().err
    assert set(project.quick("predict", "--json").json) == PREDICT_KEYS
    assert set(project.pcam("submit", "--dry-run", "--json").json) == SUBMIT_KEYS
    listed = project.pcam("runs", "--json").json["runs"]
    finished = [run["result"]["valid_auc"] for run in listed]
    assert finished == sorted(finished, reverse=True), "best first"
    assert len(listed) == 4
    assert len(project.pcam("submissions", "--json").json["submissions"]) == 4


def test_without_json_the_tables_are_on_stdout(project: Project) -> None:
    evaluated = project.pcam("evaluate")
    assert "ROC AUC" in evaluated.out
    assert "newest finished run" in evaluated.err
    assert "validation AUC" in project.pcam("runs").ok().out
    assert "tiny0.csv" in project.pcam("submissions").ok().out
    assert "patches" in project.pcam("fetch", "tiny").ok().out


def test_without_arguments_the_newest_is_taken_and_named(project: Project) -> None:
    newest = project.runs()[-1]
    assert newest.name in project.pcam("evaluate").ok().err
    done = project.pcam("predict", "--json")
    assert newest.name in done.err
    assert done.json["runs"] == [f"runs/{newest.name}"]
    assert done.json["csv"] in project.pcam("submit", "--dry-run").ok().err


def test_default_config_is_that_of_the_competition_fetched_last(project: Project) -> None:
    (project.path / "configs" / "other.yaml").write_text(
        "model: {name: lab_cnn}\n", encoding="utf-8"
    )
    profile = project.path / "configs" / "competitions" / "faint.yaml"
    assert "config quick: the default for tiny" in project.pcam("train", "--print-config").ok().err
    profile.write_text(
        profile.read_text(encoding="utf-8").replace(
            "default_config: quick", "default_config: other"
        ),
        encoding="utf-8",
    )
    project.pcam("fetch", "pale").ok()
    done = project.pcam("train", "--print-config")
    assert "for faint" in done.err
    assert "config other" in done.err, "the profile as it is now"


def test_default_config_is_another_where_imagenet_s_weights_are(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "configs" / "better.yaml").write_text(
        "model: {name: transfer, backbone: EfficientNetLite1}\n", encoding="utf-8"
    )
    profile = project.path / "configs" / "competitions" / "tiny.yaml"
    text = profile.read_text(encoding="utf-8")
    profile.write_text(f"{text}imagenet_config: better\n", encoding="utf-8")
    project.pcam("fetch", "tiny").ok()
    monkeypatch.chdir(project.path)
    modules = {package.module for package in imagenet.PACKAGES.values()}
    own = {imagenet.PACKAGES["EfficientNetLite1"].module}
    for installed, name in ((own, "better"), (modules - own, "quick")):
        monkeypatch.setattr(imagenet, "find_spec", dict.fromkeys(installed, "").get)
        assert default_config(Workspace().competition(None)) == name


def test_the_mean_of_several_runs(project: Project) -> None:
    names = [path.name for path in project.runs() if "-tiny" in path.name]
    mean = project.pcam("predict", *names, "--json").json
    assert [Path(run).name for run in mean["runs"]] == names
    assert re.search(r"mean-of-2-[0-9a-f]{8}", mean["csv"])
    entry = next(
        e
        for e in project.pcam("submissions", "--json").json["submissions"]
        if e["csv"] == mean["csv"]
    )
    assert entry["runs"] == names
    both = project.pcam("evaluate", *names, "--json").json
    assert [Path(run["run"]).name for run in both["runs"]] == names
    assert [set(run) - EVALUATE_KEYS for run in both["runs"]] == [set(), {"compared"}]


def test_another_csv_at_the_same_place_is_kept(project: Project) -> None:
    target = project.path / "submissions" / "tiny0.csv"
    target.write_text("id,class\nnotes of my own\n", encoding="utf-8")
    run = next(path.name for path in project.runs() if "-tiny0-" in path.name)
    done = project.pcam("predict", run, "--out", "submissions/tiny0.csv").ok()
    (kept,) = (path for path in project.csvs() if path.name.startswith("tiny0.") and path != target)
    assert kept.read_text(encoding="utf-8") == "id,class\nnotes of my own\n"
    assert str(kept.relative_to(project.path)) in done.err


def test_nothing_of_the_machine_is_recorded(project: Project) -> None:
    for name in ("meta.json", "config.yaml", "result.json"):
        for run in project.runs():
            assert str(project.path) not in (run / name).read_text(encoding="utf-8")
    meta = json.loads((project.runs()[0] / "meta.json").read_text(encoding="utf-8"))
    assert {
        "argv",
        "overrides",
        "git",
        "packages",
        "backend",
        "device",
        "devices",
        "precision",
        "seed",
        "store_fingerprint",
        "split_hash",
        "started",
        "ended",
    } <= set(meta)
    assert meta["overrides"] == ["name=faint0", "competition=faint", "seed=0"]


def test_a_closed_pipe_is_no_accident(project: Project) -> None:
    shell = f"{' '.join(command('runs', '--json'))} | true"
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=project.path,
        env=project.env,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_predict_repeats_what_is_known_of_the_ids(project: Project) -> None:
    assert "row numbers" not in project.quick("predict").ok().err
    manifest = project.path / "data/tiny/store/manifest.json"
    values = json.loads(manifest.read_bytes())
    assert values["id_warnings"] == [], "synthetic tissue has no ids but its own"
    values["id_warnings"] = ["the ids are row numbers"]
    manifest.write_text(json.dumps(values), encoding="utf-8")
    done = project.quick("predict").ok()
    assert "warning: the ids are row numbers; compare them with the competition's" in done.err
    assert "row numbers" not in project.quick("predict", "--split", "valid").ok().err
