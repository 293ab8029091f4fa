"""`pcam export`: what it writes, what it refuses, and that nothing is lost."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from command_line import Project, tree

from pcam_kit.api.exports import ExportFormat
from pcam_kit.cli.app import command_words
from pcam_kit.errors import MismatchError
from pcam_kit.exports import FORMATS
from pcam_kit.exports.card import MARKDOWN
from pcam_kit.run_folders import Predictions, Run, open_run
from pcam_kit.views import VIEWS
from pcam_kit.workflows.export import export
from pcam_kit.workspace import Workspace

KEYS = {"run", "path", "model", "format", "bytes", "size", "threshold", "temperature"}
KEYS |= {"check", "versions"}


def run_of(project: Project, name: str = "tiny0") -> Run:
    return open_run(next(path for path in project.runs() if f"-{name}-" in path.name))


def need(form: str) -> None:
    """Skip where the packages of a format are absent."""
    if missing := [name for name in FORMATS[form].modules if find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


def test_the_formats_of_the_command_and_of_python_are_those_there_are(empty: Project) -> None:
    assert ("export",) in list(command_words())
    assert set(get_args(ExportFormat)) == set(FORMATS)
    help_text = empty.pcam("export", "--help").ok().out
    assert "|".join(FORMATS) in re.sub(r"\s+", "", help_text)


@pytest.mark.parametrize("form", FORMATS)
def test_the_example_of_the_card_gives_the_probabilities_of_the_run(
    form: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(form)
    run = run_of(project)
    done = project.quick("export", run.name, "--format", form, "--json")
    result = done.json
    assert set(result) == KEYS
    folder = project.path / result["path"]
    assert folder == run.path / "exports" / form
    assert (project.path / result["model"]).exists()
    assert result["check"]["n"] == 100
    assert result["check"]["auc_run"] == pytest.approx(result["check"]["auc_export"], abs=5e-5)
    assert list(folder.parent.iterdir()) == [folder], "nothing half-written is left"

    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in ("Not a medical device", "synthetic tissue", "0.972 µm", "[n, 32, 32, 3]"):
        assert words in card
    assert f"threshold | {result['threshold']:.4f}" in card
    for name, version in result["versions"].items():
        assert f"{name} {version}" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(folder)
    store = Workspace.below(project.path).store_of(run)
    np.save("patches.npy", store.images[store.rows("valid")])
    names: dict[str, Any] = {}
    exec(code, names)
    kept = run.load_predictions("valid")
    assert kept is not None
    np.testing.assert_allclose(names["probabilities"], kept.probability("none"), atol=2e-6)


def test_what_is_there_is_kept(project: Project) -> None:
    run = run_of(project)
    made = project.quick("export", run.name, "--format", "keras", "--out", "shared").ok()
    assert made.out == "shared\n"
    assert "100 validation patches of the run: AUC " in made.err
    before = tree(project.path)
    again = ("export", run.name, "--format", "keras", "--out")
    project.quick(*again, "shared").refused(2, "shared is there already", "an export", "--out")
    project.quick(*again, "data").refused(2, "data is there already", "something else")
    inside = f"runs/{run.name}/result.json/onnx"
    project.quick(*again, inside).refused(8, f"cannot write {inside}", "--out FOLDER")
    assert tree(project.path) == before
    (project.path / "new").mkdir()
    project.quick(*again, "new").ok()
    facts = json.loads((project.path / "new" / "export.json").read_text(encoding="utf-8"))
    assert (facts["run_id"], facts["format"]) == (run.id, "keras")
    assert str(project.path) not in json.dumps(facts)


def test_without_its_store_a_run_is_checked_on_synthetic_tissue(project: Project) -> None:
    shutil.rmtree(project.path / "data" / "tiny")
    run = run_of(project)
    done = project.quick("export", run.name, "--format", "keras", "--json")
    assert "the check is on synthetic tissue instead" in done.err
    assert done.json["check"]["n"] == 500
    card = (run.path / "exports" / "keras" / "README.md").read_text(encoding="utf-8")
    assert "500 patches of synthetic tissue, as the run's store is gone" in card


def test_runs_without_a_finished_network_are_refused(project: Project) -> None:
    run = run_of(project)
    (project.path / "answers.csv").write_text(
        "id,probability\n" + "".join(f"{i},0.{i % 9 + 1}\n" for i in range(100)), encoding="utf-8"
    )
    arguments = ("--valid", "answers.csv", "--competition", "tiny", "--name", "elsewhere")
    project.quick("import", *arguments).ok()
    before = tree(project.path)
    project.quick("export", "elsewhere", "--format", "keras").refused(
        4, "predictions from elsewhere", "pcam runs"
    )
    assert tree(project.path) == before
    (run.path / "result.json").unlink()
    project.quick("export", run.name, "--format", "keras").refused(
        4, "is not complete", "pcam train --resume"
    )
    other = run_of(project, "tiny1")
    other.model_file.unlink()
    project.quick("export", other.name, "--format", "keras").refused(4, "no trained model")
    assert not list(project.path.rglob("exports"))


JAX = """
import sys
import pcam_kit as pcam
from pcam_kit.errors import UsageError

try:
    pcam.export(sys.argv[1], "onnx")
except UsageError as error:
    print(error, error.hint)
print(pcam.export(sys.argv[1], "keras").check.fault == "")
"""


@pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX: pip install jax")
def test_on_jax_the_way_to_tensorflow_is_told_and_keras_files_are_written(
    project: Project,
) -> None:
    need("onnx")
    done = subprocess.run(
        [sys.executable, "-c", JAX, run_of(project).path],
        cwd=project.path,
        env=project.env | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    assert "Keras computes on jax here" in done.stdout
    assert "KERAS_BACKEND=tensorflow" in done.stdout
    assert done.stdout.endswith("True\n")


def test_an_export_that_answers_otherwise_is_not_left_in_place(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, honest = run_of(project), FORMATS["keras"]

    def load(path: Path) -> Any:
        predict = honest.load(path)
        return lambda patches: predict(patches) + np.float32(1e-3)

    monkeypatch.setitem(FORMATS, "keras", dataclasses.replace(honest, load=load))
    before = tree(project.path)
    with pytest.raises(MismatchError, match=r"differ by up to 1.0e-03, expected at most") as caught:
        export(run, "keras", None, Workspace.below(project.path))
    assert "Nothing was kept" in str(caught.value)
    assert tree(project.path) == before


def test_the_card_tells_one_view_from_the_average(project: Project) -> None:
    run = run_of(project)
    kept = run.load_predictions("valid")
    assert kept is not None
    noise = np.random.default_rng(0).uniform(0.5, 1, (100, 7)).astype(np.float32)
    columns = np.concatenate([kept.probabilities, kept.probabilities * noise], axis=1)
    run.save_predictions(
        "valid", Predictions(kept.ids, kept.labels, columns, VIEWS["d4"], kept.groups)
    )
    result_file = run.path / "result.json"
    values = json.loads(result_file.read_text(encoding="utf-8"))
    result_file.write_text(json.dumps(values | {"tta": "d4"}), encoding="utf-8")
    place = Workspace.below(project.path)
    result = export(open_run(run.path), "keras", None, place)
    card = (result.path / "README.md").read_text(encoding="utf-8")
    assert "| of one view |" in card
    assert "| mean of 8 views |" in card
    assert "The run averages 8 (d4)" in card
    assert result.threshold == pytest.approx(values["threshold"]), "that of one view"
    run.predictions_file("valid").unlink()
    result = export(open_run(run.path), "keras", project.path / "other", place)
    card = (result.path / "README.md").read_text(encoding="utf-8")
    assert "| of one view |" not in card
    assert "Scores of one view are not known" in card


def test_names_cannot_become_markup(project: Project) -> None:
    run = run_of(project)
    meta = json.loads((run.path / "meta.json").read_text(encoding="utf-8"))
    meta["competition"]["title"] = "<script>a|b</script> [link](x)"
    (run.path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    result = export(open_run(run.path), "keras", None, Workspace.below(project.path))
    card = (result.path / "README.md").read_text(encoding="utf-8")
    assert r"\<script\>a\|b\</script\> \[link\](x)" in card
    assert MARKDOWN.search("<script>")
