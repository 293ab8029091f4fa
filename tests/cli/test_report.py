"""`pcam report`: the file, what is in it, and what is said where something is missing."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import Project

import pcam_kit as pcam
from pcam_kit.config.sweep import Range, Sweep
from pcam_kit.errors import ConfigError, RunError, UsageError
from pcam_kit.progress import SILENT
from pcam_kit.workflows.sweep.result import summarise
from pcam_kit.workflows.sweep.study import Trial
from pcam_kit.workspace import Workspace

REPORT_KEYS = {"report", "bytes", "split", "runs", "notes"}
# attributes whose values a browser fetches
FETCHED = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All texts, spaces as one."""
        return " ".join(" ".join(self.texts).split())

    def ids(self) -> list[str]:
        """All ids, in order."""
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def report(project: Project, *runs: str, **options: object) -> Page:
    """The page of these runs, written in this process and without TensorFlow."""
    paths = [str(project.path / "runs" / name) for name in runs]
    result = pcam.report(
        paths[0] if len(paths) == 1 else paths,
        workspace=project.path,
        display=SILENT,
        **{"saliency": False, **options},  # type: ignore[arg-type]
    )
    return Page(result.path)


@pytest.fixture
def tiny(project: Project) -> list[str]:
    """The names of the two runs of the competition `tiny`."""
    return [path.name for path in project.runs() if "-tiny" in path.name]


def test_the_command_writes_a_page_into_the_run_folder(project: Project, tiny: list[str]) -> None:
    before = {path.name for path in (project.path / "runs" / tiny[0]).iterdir()}
    done = project.quick("report", tiny[0]).ok()
    path = project.path / done.out.strip()
    assert path == project.path / "runs" / tiny[0] / "report.html"
    after = {one.name for one in path.parent.iterdir() if not one.name.startswith(".lock")}
    assert after - before == {"report.html"}
    page = Page(path)
    assert page.source.count('<img class="map"') > 5, "the network was looked into"
    assert "occlusion sensitivity" in page.text
    score = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))
    assert f"{score['valid_auc']:.4f}" in page.text
    assert "Synthetic tissue" in page.text
    again = project.quick("report", tiny[0], "--no-saliency", "--json").json
    assert set(again) == REPORT_KEYS
    assert (again["split"], again["bytes"]) == ("valid", path.stat().st_size)
    assert 'class="map"' not in path.read_text(encoding="utf-8")


def test_nothing_is_loaded_from_anywhere(project: Project, tiny: list[str]) -> None:
    for page in (report(project, tiny[0]), report(project, *tiny)):
        assert len(page.source.encode()) < 5_000_000
        fetched = [
            value
            for _, attributes in page.elements
            for name, value in attributes.items()
            if name in FETCHED
        ]
        assert fetched
        assert [value for value in fetched if not value.startswith(("#", "data:image/"))] == []
        assert "@import" not in page.source
        assert set(re.findall(r"url\(([^)]*)\)", page.source)) <= {
            f"#{name}" for name in page.ids()
        }
        policies = [x["content"] for tag, x in page.elements if x.get("http-equiv")]
        assert policies
        assert policies[0].startswith("default-src 'none'")
        ids = page.ids()
        assert len(ids) == len(set(ids)), "an id is there once"
        targets = {x["href"][1:] for _, x in page.elements if x.get("href", "").startswith("#")}
        targets |= {x["for"] for tag, x in page.elements if "for" in x}
        assert targets <= set(ids)


def test_a_comparison_has_differences_agreement_and_the_ensemble(
    project: Project, tiny: list[str]
) -> None:
    page = report(project, *tiny, saliency=True)
    evaluations = pcam.evaluate(
        [project.path / "runs" / name for name in tiny], workspace=project.path, display=SILENT
    )
    comparison = evaluations[1].comparison
    assert comparison is not None
    assert f"{comparison.auc.value:+.4f}".replace("-", "−") in page.text
    together = pcam.ensemble(
        [project.path / "runs" / name for name in tiny], workspace=project.path, display=SILENT
    )
    assert f"all together – {together.evaluate().auc:.4f}" in page.text
    a, b = (evaluation.probabilities.astype(float) for evaluation in evaluations)
    correlation = np.corrcoef(np.log(a / (1 - a)), np.log(b / (1 - b)))[0, 1]
    assert f"{correlation:.3f}" in page.text
    scores = [evaluation.scores.auc for evaluation in evaluations]
    assert f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}" in page.text
    assert "in the report of each run" in page.text
    assert [path.name for path in (project.path / "runs").glob("report-*.html")], "in runs/"


def test_only_reports_are_overwritten(project: Project, tiny: list[str]) -> None:
    target = project.path / "page.html"
    report(project, tiny[0], out=target)
    report(project, tiny[0], out=target)
    target.write_text("<html>my notes</html>", encoding="utf-8")
    project.quick("report", tiny[0], "--out", "page.html").refused(2, "page.html", "--out")
    assert target.read_text(encoding="utf-8") == "<html>my notes</html>"
    (project.path / "folder.html").mkdir()
    for name in ("notes.csv", "folder.html", "report"):
        with pytest.raises(UsageError, match=name) as caught:
            report(project, tiny[0], out=project.path / name)
        assert "--out" in caught.value.hint
    new = project.path / "new" / "folder" / "r.html"
    assert report(project, tiny[0], out=new).source.startswith("<!DOCTYPE html>")


def test_runs_that_do_not_belong_together_are_refused(project: Project, tiny: list[str]) -> None:
    faint = next(path.name for path in project.runs() if "-faint0-" in path.name)
    project.quick("report", tiny[0], faint).refused(
        2, tiny[0], faint, "different stores", f"pcam report {faint}"
    )
    with pytest.raises(UsageError, match="twice"):
        report(project, tiny[0], tiny[0])


def test_an_unfinished_run_and_unknown_labels_are_refused(
    project: Project, tiny: list[str]
) -> None:
    (project.path / "runs" / tiny[0] / "result.json").unlink()
    with pytest.raises(RunError, match="not complete") as unfinished:
        report(project, tiny[0])
    assert unfinished.value.hint == f"pcam train --resume {tiny[0]}"
    with pytest.raises(RunError, match="not complete"):
        report(project, tiny[1], tiny[0])
    run = pcam.load_run(project.path / "runs" / tiny[1])
    kept = run.load_predictions("valid")
    assert kept is not None
    run.save_predictions("test", replace(kept, labels=np.full_like(kept.labels, -1)))
    shutil.rmtree(project.path / "data" / "tiny")  # it would say that these are valid's
    with pytest.raises(UsageError, match="labels of the test split are not known") as unknown:
        report(project, tiny[1], split="test")
    assert "--split valid" in unknown.value.hint


def test_another_split_has_a_file_of_its_own(project: Project, tiny: list[str]) -> None:
    done = project.quick("report", tiny[0], "--split", "train", "--no-saliency").ok()
    assert done.out.strip().endswith("report-train.html")
    page = Page(project.path / done.out.strip())
    assert "training patches" in page.text
    assert "so it is a little optimistic" not in page.text, "the threshold is from elsewhere"


@pytest.mark.parametrize("how", ["gone", "another"])
def test_without_the_store_there_are_no_patches_and_a_line_says_so(
    project: Project, tiny: list[str], how: str
) -> None:
    if how == "gone":
        shutil.rmtree(project.path / "data" / "tiny")
    else:
        meta = project.path / "runs" / tiny[0] / "meta.json"
        values = json.loads(meta.read_text(encoding="utf-8")) | {"store_fingerprint": "f" * 64}
        meta.write_text(json.dumps(values), encoding="utf-8")
    page = report(project, tiny[0])
    assert "No patches and no stain are shown" in page.text
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "pcam fetch" in page.text
    if how == "gone":
        with pytest.raises(ConfigError, match="tiny"):
            report(project, tiny[0], split="train")


def test_a_missing_model_is_told_in_a_line(project: Project, tiny: list[str]) -> None:
    (project.path / "runs" / tiny[0] / "model.keras").unlink()
    done = project.quick("report", tiny[0]).ok()
    assert "no trained model" in done.err
    page = Page(project.path / done.out.strip())
    assert "No maps of what the network looks at" in page.text
    assert 'class="map"' not in page.source


def test_imported_predictions_have_no_network_to_look_into(project: Project) -> None:
    store = pcam.open_store("tiny", workspace=project.path)
    rows = store.rows("valid")
    rng = np.random.default_rng(0)
    p = np.clip(0.5 + 0.3 * (store.labels[rows] - 0.5) + rng.normal(0, 0.15, len(rows)), 0, 1)
    run = pcam.import_predictions(
        dict(zip(store.ids[rows].tolist(), p.tolist(), strict=True)),
        name="elsewhere",
        competition="tiny",
        workspace=project.path,
    )
    done = project.quick("report", run.name).ok()
    page = Page(project.path / done.out.strip())
    assert "there is no network to make maps of" in page.text
    assert "Training" not in {text.strip() for text in page.texts}, "there was none here"
    assert "pcam import --valid FILE --name elsewhere" in page.text
    assert len([tag for tag, _ in page.elements if tag == "img"]) > 5


def test_names_are_text_and_nothing_else(project: Project, tiny: list[str]) -> None:
    """A folder's name, what meta.json says and what the ledger says cannot become markup."""
    hostile = "<script>alert(1)<img src=x onerror=alert(2)>\"'&\x1b[2J"
    folder = project.path / "runs" / tiny[0]
    values = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    values |= {
        "python": hostile,
        "platform": {"nested": [hostile]},
        "packages": {hostile: hostile},
        "overrides": [hostile],
        "argv": hostile,
        "precision": [1, 2],
        "git": None,
    }
    (folder / "meta.json").write_text(json.dumps(values), encoding="utf-8")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    more = '{"epoch": "<b>", "loss": "x"}\n[1]\n{"epoch": 9, "best": true}\n{"epoch": 7, "loss": 1}'
    (folder / "metrics.jsonl").write_text(lines + more, encoding="utf-8")
    renamed = folder.rename(folder.with_name(hostile.replace("/", "")))
    for page in (report(project, renamed.name), report(project, renamed.name, tiny[1])):
        check_no_markup_of(page)
        assert "<script>alert(1)" in page.text
        assert "\x1b" not in page.source
        assert html.escape("<script>alert(1)") in page.source
        assert "cannot be read: pcam plot curves" in page.text


def check_no_markup_of(page: Page) -> None:
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len(scripts) == 2, "the data and the page's own"
    handlers = [name for _, x in page.elements for name in x if name.startswith("on")]
    assert handlers == []
    assert [x for tag, x in page.elements if tag == "img" and x.get("src") == "x"] == []


def test_submissions_and_commands_are_listed(project: Project, tiny: list[str]) -> None:
    page = report(project, tiny[0])
    name = tiny[0].split("-")[1]
    assert f"{name}.csv" in page.text
    assert f"pcam train runs/{tiny[0]}/config.yaml" in page.text
    assert f"pcam report {tiny[0]}" in page.text
    assert "pcam fetch tiny" in page.text
    assert str(project.path) not in page.source, "a report that is passed on tells no folders"


def test_each_slide_has_a_row(project: Project, tiny: list[str]) -> None:
    page = report(project, tiny[0])
    store = pcam.open_store("tiny", workspace=project.path)
    names = {store.manifest["slides"][group] for group in store.groups[store.rows("valid")]}
    assert names
    assert all(name in page.text for name in names)
    path = project.path / "runs" / tiny[1] / "predictions" / "valid.npz"
    forget_slides(path)
    assert "The slides of these patches are not known" in report(project, tiny[1]).text


def forget_slides(path: Path) -> None:
    """Rewrite predictions as if no slide were known."""
    run = pcam.load_run(path.parents[1])
    kept = run.load_predictions("valid")
    assert kept is not None
    run.save_predictions("valid", replace(kept, groups=np.full_like(kept.groups, -1)))


def test_the_function_opens_like_a_path(project: Project, tiny: list[str]) -> None:
    result = pcam.report(
        tiny[0], workspace=project.path, display=SILENT, saliency=False, split="valid"
    )
    assert Path(result).is_file()
    assert "AUC" in repr(result)
    with pytest.raises(RunError):
        pcam.report("nothing", workspace=project.path)
    many = [project.path / "runs" / tiny[0]]
    for i in range(20):
        copy = project.path / "runs" / f"copy{i}"
        shutil.copytree(many[0], copy)
        many.append(copy)
    with pytest.raises(UsageError, match="at most 20"):
        pcam.report(many, workspace=project.path, display=SILENT)


def sweep_of(project: Project, *runs: str) -> None:
    """A sweep in `sweeps/rates` of which each run is a trial, and one more was stopped."""
    plan = Sweep(
        name="rates",
        config="tiny",
        search={"training.learning_rate": Range(low=1e-4, high=1e-1, log=True)},
    )
    trials = [
        Trial(i, {"training.learning_rate": 10.0**-i}, "complete", 0.8 + i / 100, (run,), 3)
        for i, run in enumerate(runs, 1)
    ]
    stopped = Trial(9, {"training.learning_rate": 0.05}, "stopped", 0.6, (), 1)
    folder = project.path / "sweeps" / "rates"
    folder.mkdir(parents=True)
    summarise(plan, [*trials, stopped], folder, Workspace.below(project.path))


def test_a_run_of_a_sweep_shows_the_search(project: Project, tiny: list[str]) -> None:
    sweep_of(project, *tiny)
    page = report(project, tiny[0])
    assert "This run comes from the sweep rates of tiny, 3 trials." in page.text
    assert "train it with other seeds before you believe it: pcam train tiny" in page.text
    assert [a.get("class") for tag, a in page.elements if tag == "tr"].count("own") == 1
    assert len(page.ids()) == len(set(page.ids()))
    assert "search" in page.ids()

    summary = project.path / "sweeps" / "rates" / "summary.json"
    whole = summary.read_text(encoding="utf-8")
    for damaged in (whole[: len(whole) // 2], "{}", whole.replace('"trials": [', '"trials": [3, ')):
        summary.write_text(damaged, encoding="utf-8")
        assert "the sweep rates" not in report(project, tiny[0]).text
    summary.write_text(whole.replace(tiny[0], "another"), encoding="utf-8")
    assert "the sweep rates" not in report(project, tiny[0]).text
