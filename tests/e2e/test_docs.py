"""The pages of docs/: their links, commands, code and config keys are those of the program, the
quickstart runs as it stands there, and the site opens without another host.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import typer
from command_line import CHECKOUT, Project, Warm, clean_env
from pydantic import BaseModel
from typer.main import get_command

import pcam_kit as pcam
from pcam_kit.__main__ import with_resume_value
from pcam_kit.cli.app import app
from pcam_kit.config.schema import Experiment, FewDigits
from pcam_kit.errors import PcamError
from pcam_kit.exports import FORMATS
from pcam_kit.submissions.events import REQUIRED

REFUSED = typer.BadParameter.__bases__[0]  # click's UsageError, wherever Typer has it from
DOCS = CHECKOUT / "docs"
NAMES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = {
    path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*(CHECKOUT / name for name in NAMES), *sorted(DOCS.glob("*.md"))]
}
WRITTEN = {"docs/cli.md", "docs/faults.md"}  # by programs; other tests compare them
GUIDES = {name: text for name, text in PAGES.items() if name not in {*WRITTEN, *NAMES[1:]}}
SIZES = {"light": 1280, "dark": 360}  # pixels: a laptop by day, a phone at night
SHOWN = ("index", "quickstart", "faq", "faults", "quality", "data")


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines(text: str) -> list[list[str]]:
    """The commands of a page's sh blocks, as words."""
    parts = [line for block in blocks(text, "sh") for line in re.split(r"\n|&&", block)]
    return [words for line in parts if (words := shlex.split(line, comments=True))]


def commands(text: str) -> list[tuple[str, bool]]:
    """Every `pcam ...` of a page, and whether it is complete, as in a block.

    A sentence may name a command or an option without what it needs.
    """
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [(code, False) for code in re.findall(r"`(pcam [^`]+)`", prose)]
    return [*inline, *((shlex.join(words), True) for words in lines(text) if words[0] == "pcam")]


def site() -> ModuleType:
    """docs/build_site.py."""
    spec = importlib.util.spec_from_file_location("build_site", DOCS / "build_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS = sorted({(name, *command) for name, text in GUIDES.items() for command in commands(text)})


@pytest.mark.parametrize(
    ("page", "line", "complete"), COMMANDS, ids=[f"{name}: {line}" for name, line, _ in COMMANDS]
)
def test_every_command_named_exists_with_its_options(page: str, line: str, complete: bool) -> None:
    command: Any = get_command(app)
    words = with_resume_value(shlex.split(line)[1:])
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: pcam has no command {words[0]}"
        command = command.commands[words.pop(0)]
    options = {name for option in command.params for name in option.opts + option.secondary_opts}
    named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert named - options <= {"--help"}
    if complete and "--help" not in words:
        command.make_context(command.name, words)  # a wrong value, one too many or too few raises


def test_commands_that_do_not_exist_would_be_found() -> None:
    wrong = ("pcam trian lab", "pcam train lab --epochs 3", "pcam predict --tta seven")
    for line in (*wrong, "pcam train a b", "pcam train --seeds"):
        with pytest.raises((AssertionError, REFUSED)):
            test_every_command_named_exists_with_its_options("page", line, complete=True)
    assert commands("`pcam a`\n```sh\npcam b && pcam c  # d\n```\n") == [
        ("pcam a", False),
        ("pcam b", True),
        ("pcam c", True),
    ]


PYTHON = [(name, code) for name, text in GUIDES.items() for code in blocks(text, "python")]


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_python_names_only_what_there_is(page: str, code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pcam":
            assert hasattr(pcam, node.attr), f"{page}: pcam.{node.attr}"
        if isinstance(node, ast.Call) and re.fullmatch(r"pcam\.\w+", ast.unparse(node.func)):
            function = getattr(pcam, ast.unparse(node.func).removeprefix("pcam."))
            keywords = {word.arg: None for word in node.keywords if word.arg}
            inspect.signature(function).bind_partial(*[None] * len(node.args), **keywords)


def config_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a schema, with dots; of each member where there are several."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        kinds = [field.annotation]
        while kinds:
            kind = kinds.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from config_keys(kind, f"{prefix}{name}.")
            kinds.extend(get_args(kind))


@pytest.mark.parametrize("page", GUIDES)
def test_config_keys_named_exist(page: str) -> None:
    known = {*config_keys(Experiment), *config_keys(FewDigits)}
    assert {"training.epochs", "augment.stain.strength", "model.weights"} <= known
    code = " ".join([*blocks(GUIDES[page], "sh"), *re.findall(r"`([^`\n]+)`", GUIDES[page])])
    sections = "data|augment|model|training|evaluation"
    named = re.findall(rf"(?<![\w/.])((?:{sections})\.[a-z_]+(?:\.[a-z_]+)*)(?![\w/(])", code)
    exported = {Path(form.file).suffix[1:] for form in FORMATS.values()}
    # files, and modules of ours
    endings = {"py", "keras", "md", "yaml", "zip", "bin", *exported}
    wrong = {key for key in named if key not in known and key.rpartition(".")[2] not in endings}
    modules = {key for key in wrong if (CHECKOUT / "pcam_kit" / key.replace(".", "/")).exists()}
    modules |= {
        key for key in wrong if (CHECKOUT / "pcam_kit" / f"{key.replace('.', '/')}.py").exists()
    }
    assert wrong - modules == set()


def first_column(page: str, heading: str) -> list[str]:
    """The code in the first cells of the table below a heading."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_file_formats_are_those_of_a_run(finished: Project) -> None:
    page = PAGES["docs/formats.md"]
    run = finished.runs()[0]
    epoch = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first_column(page, "Epochs") == list(epoch)
    with np.load(run / "predictions" / "valid.npz") as arrays:
        assert first_column(page, "Predictions") == list(arrays)
    with np.load(finished.path / "data" / "tiny" / "store" / "index.npz") as arrays:
        named = re.search(r"\| `index.npz` \| (.*) \|", page)
        assert named is not None
        assert set(arrays) <= set(re.findall(r"`([^`]+)`", named[1]))
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    files = {re.sub("valid|test", "<split>", name) for name in files - {".lock"}}
    # a run that is complete has no checkpoint
    assert files | {"state.npz"} == set(first_column(page, "Run folder"))
    assert set(first_column(page, "Submissions")) == set(REQUIRED)
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == {0, *exit_codes(PcamError)}


def exit_codes(kind: type[PcamError]) -> set[int]:
    """That of an error, and those of its kinds."""
    return {kind.exit_code}.union(*map(exit_codes, kind.__subclasses__()))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_is_there(page: str) -> None:
    folder = (CHECKOUT / page).parent
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL))
    inside = [link for link in links if not link.startswith(("http", "mailto:"))]
    assert [link for link in inside if not (folder / link).is_file()] == []


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    settings = tomllib.loads((DOCS / "site" / "zensical.toml").read_text(encoding="utf-8"))

    def named(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            for target in entry.values():
                yield from [target] if isinstance(target, str) else named(target)

    assert sorted(named(settings["project"]["nav"])) == sorted(site().pages())


@pytest.mark.slow
def test_the_quickstart_runs_as_it_stands_there(tmp_path: Path, warm: Warm) -> None:
    text = PAGES["docs/quickstart.md"]
    folder = tmp_path / "work"
    folder.mkdir()
    here = Project(folder, clean_env(tmp_path / "home"), warm)
    words = [line[1:] for line in lines(text) if line[0] == "pcam" and line[1] != "demo"]
    assert [line[0] for line in words[:5]] == ["fetch", "train", "evaluate", "predict", "submit"]
    for line in words:
        run = here.runs()[0].name if here.runs() else ""
        # nobody is there to look at a browser
        here.quick(*[run if word == "RUN" else word for word in line if word != "--open"]).ok()
    assert len(here.csvs()) == 1
    (code,) = blocks(text, "python")
    (folder / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=folder,
        env=here.env,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^0\.\d+ .*\n.*submissions.*\.csv", done.stdout), done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's folder, built as `make docs-site` does: a broken link fails."""
    pytest.importorskip("zensical", reason="the site needs zensical: pip install --group docs")
    build = tmp_path_factory.mktemp("docs")
    module = site()
    assert module.stage(build) == [], "links that lead nowhere"
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=build, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "site"


def test_the_site_has_every_page_and_all_that_its_pages_name(built: Path) -> None:
    assert {path.stem for path in built.glob("*.html")} - {"404"} == {
        Path(name).stem for name in site().pages()
    }
    for page in built.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:src|href)=\"?([^\s\">#]+)", html):
            if not re.match(r"[a-z]+:", target) and page.name != "404.html":
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    broken: list[str] = []
    text = "[a](nowhere.md), [b](../nowhere.py), [c](lab.md#x)\n```\n[d](e.md)\n```\n"
    site().as_markdown(text, DOCS / "index.md", tmp_path, broken)
    assert broken == ["docs/index.md: nowhere.md", "docs/index.md: ../nowhere.py"]


def test_lists_of_github_are_lists_of_the_site(tmp_path: Path) -> None:
    page = "Text:\n- a\n  - b\n- c\n\n```\nText:\n- d\n```\n"
    staged = site().as_markdown(page, DOCS / "index.md", tmp_path, [])
    assert staged == page.replace("Text:\n- a", "Text:\n\n- a")


@pytest.mark.parametrize("scheme", SIZES)
def test_the_site_opens_from_a_folder_without_another_host(built: Path, scheme: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="drives a browser")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser_path = next(filter(None, map(shutil.which, names)), None)
    if browser_path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        size = {"width": SIZES[scheme], "height": 800}
        page = browser.new_page(viewport=size, color_scheme=scheme)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in SHOWN:
            page.goto((built / f"{name}.html").as_uri())
            page.wait_for_selector("h1")
            across = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert across <= 0, f"{name} scrolls sideways"
        page.keyboard.press("/")  # into the search
        page.keyboard.type("accuracy")
        page.wait_for_selector("a:has-text('Quality')", timeout=10_000)
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        colours = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", colours)[:3]))
        assert (brightness > 384) == (scheme == "light"), colours
        browser.close()
