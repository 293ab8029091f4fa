"""Write what can be read off the code: docs/cli.md from --help, docs/config.md from the schema,
docs/api.md and docs/structure.md from docstrings, the published scores in docs/benchmarks.md.

With --check it writes nothing and fails when a page is not what would be written.
"""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pcam_kit import api
from pcam_kit.cli.app import command_words
from pcam_kit.cli.config import markdown
from pcam_kit.config.reference import all_settings
from pcam_kit.evaluation.published import HEADINGS, MEDALS, PCAM
from pcam_kit.formatting import as_markdown

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {
    "configs/*.yaml": "experiments, each with its command, time and expected score",
    "configs/mnist/*.yaml": "recipes for few digits, likewise",
    "configs/competitions/*.yaml": "where data comes from and where predictions go",
    "submissions/": "CSVs and ledger.jsonl, the record of what was sent",
    "tests/unit, property": "functions by themselves, and on random input (Hypothesis)",
    "tests/framework": "what needs Keras: models, training, exact resume",
    "tests/kaggle, faults": "the real Kaggle client against a server of the tests",
    "tests/cli, e2e": "the commands and the Python interface, as a user calls them",
    "tests/windows.py": "Windows' rules, imitated on Linux",
    "benchmarks/": "measurements that take too long for a test; each writes a page of docs/",
    "notebooks/kaggle.ipynb": "the whole road in a Kaggle notebook, offline",
    "notebooks/quickstart.ipynb": "for students: own augmentation, own network, CSV; offline",
    "docs/*.md": "the pages, readable by themselves; generate.py writes some of them",
    "docs/build_site.py": "makes a site of them with Zensical: make docs-site",
    "docs/site/": "what the site has beside the pages: settings, colours, logo, its scripts",
    "Makefile": "demo, test, quick, check, faults, fmt, docs, ...; installs into .venv by itself",
    "pyproject.toml": "the package, its dependencies, the layers, tool settings",
    ".ci/run": "what must pass on a clean checkout: make check",
}


def help_text(*arguments: str) -> str:
    """The help text, 100 columns wide whatever the terminal."""
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    environment["PYTHONIOENCODING"] = "utf-8"
    command = [sys.executable, "-m", "pcam_kit", *arguments, "--help"]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, env=environment, cwd=ROOT
    )
    return done.stdout.strip()


def cli_page() -> str:
    """docs/cli.md."""
    words = list(command_words())
    with ThreadPoolExecutor() as pool:  # each is a process
        whole, *texts = pool.map(lambda words: help_text(*words), [(), *words])
    parts = [
        "# Commands",
        "Written by `make docs` from `--help`; change the help texts in `pcam_kit/cli/`.",
        f"```text\n{whole}\n```",
    ]
    for command, text in zip(words, texts, strict=True):
        parts += [f"## pcam {' '.join(command)}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def config_page() -> str:
    """docs/config.md."""
    return "\n".join(markdown(all_settings())) + "\n"


def signature(function: Callable[..., Any]) -> str:
    """As it is defined; what does not fit into a line has one for each argument."""
    shown: list[str] = []
    described = inspect.signature(function)
    for argument in described.parameters.values():
        if argument.kind is argument.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        default = argument.default
        text = f'"{default}"' if isinstance(default, str) else f"{default!r}"
        value = "" if default is argument.empty else f" = {text}"
        shown.append(f"{argument.name}: {argument.annotation}{value}")
    line = f"def {function.__name__}({', '.join(shown)}) -> {described.return_annotation}: ..."
    if len(line) <= 100:
        return line
    below = "".join(f"    {argument},\n" for argument in shown)
    return line.replace(", ".join(shown), f"\n{below}")


def api_page() -> str:
    """docs/api.md: every function of the Python interface."""
    parts = [
        "# Functions",
        "Written by `make docs` from the docstrings of `pcam_kit/api/`. By example: "
        "[Python interface](python.md).",
        inspect.cleandoc(api.__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[2],
    ]
    for name in api.__all__:
        value = getattr(api, name)
        shown = signature(value) if inspect.isfunction(value) else f"class {name}: ..."
        parts += [f"## {name}", f"```python\n{shown}\n```", inspect.getdoc(value) or ""]
    return "\n\n".join(parts) + "\n"


def structure_page() -> str:
    """docs/structure.md: a line a file, the first line of its docstring."""
    lines: dict[str, str] = {}
    for path in sorted((ROOT / "pcam_kit").rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = docstring.split("\n")[0].rstrip(".")
        lines[path.relative_to(ROOT).as_posix()] = first
    lines |= OTHERS
    width = max(map(len, lines)) + 2
    tree = "\n".join(f"{name:<{width}}{text}" for name, text in lines.items())
    return (
        "# Every file\n\nWritten by `make docs` from the first lines of docstrings. "
        f"How they fit together: [ARCHITECTURE.md](../ARCHITECTURE.md).\n\n```text\n{tree}\n```\n"
    )


def benchmarks_page() -> str:
    """docs/benchmarks.md with today's table between its two comments."""
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    before, start, rest = text.partition("published.py -->\n")
    end, after = rest.partition("<!-- end -->")[1:]
    rows = [
        [other.name, *(other.text(key) for key in HEADINGS), other.source]
        for other in (*PCAM, *MEDALS)
    ]
    headings = ["", *HEADINGS.values(), "source"]
    return f"{before}{start}\n{as_markdown(headings, rows)}\n{end}{after}"


def main() -> None:
    """Write or check."""
    pages = {
        "api.md": api_page(),
        "benchmarks.md": benchmarks_page(),
        "cli.md": cli_page(),
        "config.md": config_page(),
        "structure.md": structure_page(),
    }
    stale: list[str] = []
    for name, text in pages.items():
        path = ROOT / "docs" / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(f"docs/{name}")
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; run: make docs")


if __name__ == "__main__":
    main()
