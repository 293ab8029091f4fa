"""The Python interface: the whole road without the command line, and every block of its page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CHECKOUT, clean_env

PAGE = CHECKOUT / "docs" / "python.md"

ROAD = """
import json, logging
import numpy as np
from sklearn.metrics import roc_auc_score
import pcam_kit as pcam

store = pcam.synthetic(train=300, valid=100, test=60, workspace="w")
run = pcam.train("demo", overrides={"training.epochs": 1}, workspace="w")
again = pcam.load_run(workspace="w")
evaluation = pcam.evaluate(run, metrics={"mean": lambda y, p: p.mean()}, workspace="w")
several = pcam.evaluate([run, run], workspace="w")
prediction = pcam.predict(run, workspace="w")
submission = pcam.submit(prediction.csv.path, dry_run=True, workspace="w")
ensemble = pcam.ensemble([run, run], workspace="w")
shown = [store, run, evaluation, prediction, submission, ensemble, pcam.colour_shift(workspace="w")]
print(json.dumps({
    "same": again.path == run.path and pcam.runs(workspace="w")[0].path == run.path,
    "auc": evaluation.scores.auc,
    "json": evaluation.to_dict()["auc"],
    "computed": roc_auc_score(evaluation.labels, evaluation.probabilities),
    "extra": evaluation.extra["mean"],
    "compared": several[1].comparison.auc.value,
    "csv": str(prediction.csv.path),
    "status": submission.status,
    "submissions": len(pcam.list_submissions(workspace="w")),
    "ensemble": ensemble.evaluate().auc,
    "reprs": [repr(one) for one in shown],
    "html": [one._repr_html_() for one in shown],
}))
"""


def run_python(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code as a user does: another process, another folder, a clean environment."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=clean_env(folder / "home", **env),
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )


def test_the_whole_road_without_the_command_line(tmp_path: Path) -> None:
    done = run_python(ROAD, tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a library is silent where there is no terminal"
    values = json.loads(done.stdout)
    assert values["same"]
    assert values["auc"] == values["json"] > 0.5
    assert values["computed"] == pytest.approx(values["auc"], abs=1e-9)
    assert 0 < values["extra"] < 1
    assert values["compared"] == 0
    assert values["status"] == "dry-run"
    assert values["submissions"] == 1
    assert values["ensemble"] == pytest.approx(values["auc"], abs=1e-6)
    assert (tmp_path / "work" / values["csv"]).is_file()
    for text, html in zip(values["reprs"], values["html"], strict=True):
        assert 20 < len(text) < 700, text
        assert html.startswith("<table>")
        assert html.count("<tr>") >= 2


@pytest.mark.slow
def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 10
    done = run_python("\n".join(blocks), tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert "no run called 'no-such-run'" in done.stdout


def test_importing_it_is_quick_and_light(tmp_path: Path) -> None:
    heavy = ("tensorflow", "keras", "kaggle", "albumentations", "sklearn", "pydantic", "numpy")
    code = (
        "import sys, time; began = time.perf_counter(); import pcam_kit as pcam; "
        "print(time.perf_counter() - began); "
        f"print([name for name in {heavy} if name in sys.modules]); "
        "print(sorted(set(pcam.__all__) - set(dir(pcam)))); pcam.Workspace"
    )
    done = [run_python(code, tmp_path / "work") for _ in range(3)]
    assert all(one.returncode == 0 for one in done), done[0].stderr
    seconds = [float(one.stdout.splitlines()[0]) for one in done]
    assert min(seconds) < 0.05  # over bare Python; the fastest of three, as machines are noisy
    assert [one.stdout.splitlines()[1:] for one in done] == [["[]", "[]"]] * 3


def test_every_name_of_the_interface_is_there_and_says_what_it_is() -> None:
    import pcam_kit as pcam
    from pcam_kit import api

    assert set(pcam.__all__) - {"PcamError", "__version__"} == set(api.__all__)
    for name in pcam.__all__:
        value = getattr(pcam, name)
        assert name.startswith("__") or value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pcam.nothing


def test_overrides_are_those_of_the_command_line(tmp_path: Path) -> None:
    import pcam_kit as pcam

    first = pcam.load_config("demo", {"training.epochs": 3, "data.crop": None}, seed=4)
    second = pcam.load_config("demo", ["training.epochs=3", "data.crop=null", "seed=4"])
    assert first == second
    assert (first.training.epochs, first.seed) == (3, 4)
